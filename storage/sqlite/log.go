package sqlite

import "github.com/ncruces/go-sqlite3/vfs"

// filesName is under which files are registered with the driver.
const filesName = "tenantry"

func init() { vfs.Register(filesName, files{vfs.Find("").(vfs.VFSFilename)}) }

// files are the driver's own, but for the write-ahead log.
type files struct{ vfs.VFSFilename }

func (f files) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, flags, err := f.VFSFilename.OpenFilename(name, flags)
	if err == nil && flags&vfs.OPEN_WAL != 0 {
		file = &logFile{File: file}
	}
	return file, flags, err
}

// Sizes of a logFile, in bytes.
const (
	gatherAtMost = 256 << 10
	growAtLeast  = 64 << 10
	growAtMost   = 1 << 20
)

var zeros [growAtLeast]byte

// logFile is the write-ahead log as one connection has it open. SQLite writes a commit in pieces, two for each page and each a system
// call, and syncs them before anybody is told of them, since synchronous is FULL: here they are gathered, and written as one when they are
// synced or read.
//
// A log that must grow is made longer than it has to be, by zeros, which are no commit. To sync what overwrites them takes half as
// long: the file's length and the blocks it has stay as they are. Who writes to the log holds SQLite's lock of it, so nobody else
// makes it longer meanwhile.
type logFile struct {
	vfs.File
	gathered []byte
	at       int64 // where they belong
	length   int64 // of the file, as far as is known
}

func (f *logFile) WriteAt(p []byte, at int64) (int, error) {
	if at != f.at+int64(len(f.gathered)) || len(f.gathered)+len(p) > gatherAtMost {
		if err := f.flush(); err != nil {
			return 0, err
		}
		f.at = at
	}
	f.gathered = append(f.gathered, p...)
	return len(p), nil
}

// flush writes what was gathered. After an error SQLite takes none of it for written.
func (f *logFile) flush() error {
	if len(f.gathered) == 0 {
		return nil
	}
	from := f.at
	n, err := f.File.WriteAt(f.gathered, from)
	f.at, f.gathered = from+int64(n), f.gathered[:0]
	if err == nil && (f.at > f.length || from == 0) { // from 0 on it starts over, and another process may have emptied it before
		f.lengthen()
	}
	return err
}

// lengthen makes the log longer than it has become by as much as it is long, within bounds. Where that fails, commits make it longer.
func (f *logFile) lengthen() {
	size, err := f.File.Size()
	if f.length = size; err != nil || size > f.at {
		return
	}
	for until := size + min(max(size, growAtLeast), growAtMost); f.length < until && err == nil; {
		var n int
		n, err = f.File.WriteAt(zeros[:], f.length)
		f.length += int64(n)
	}
}

func (f *logFile) ReadAt(p []byte, at int64) (int, error) {
	if err := f.flush(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, at)
}

func (f *logFile) Sync(flags vfs.SyncFlag) error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Sync(flags)
}

func (f *logFile) Truncate(size int64) error {
	f.length = 0
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *logFile) Size() (int64, error) {
	if err := f.flush(); err != nil {
		return 0, err
	}
	return f.File.Size()
}
