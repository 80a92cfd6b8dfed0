package baseline

import "os"

// ahead is how many bytes of a log are written as zeros before they are used: a sync of what overwrites them has only
// them to write, not the file's length and blocks too.
const ahead = 16 << 20

// Log is a file that every write is appended to, and synced.
type Log struct {
	file      *os.File
	at, ready int64 // where the next write begins; where the zeros end
}

// OpenLog creates a log.
func OpenLog(path string) (*Log, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	l := &Log{file: f}
	return l, l.extend()
}

func (l *Log) extend() error {
	if _, err := l.file.WriteAt(make([]byte, ahead), l.ready); err != nil {
		return err
	}
	l.ready += ahead
	return l.file.Sync()
}

// Append writes b and returns when it is on disk.
func (l *Log) Append(b []byte) error {
	for l.at+int64(len(b)) > l.ready {
		if err := l.extend(); err != nil {
			return err
		}
	}
	n, err := l.file.WriteAt(b, l.at)
	l.at += int64(n)
	if err != nil {
		return err
	}
	return datasync(l.file)
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }
