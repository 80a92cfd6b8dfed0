package baseline

import (
	"os"
)

// Log is a file that every write is appended to, and synced.
type Log struct{ file *os.File }

// OpenLog creates a log.
func OpenLog(path string) (*Log, error) {
	f, err := os.Create(path)
	return &Log{f}, err
}

// Append writes b and returns when it is on disk.
func (l *Log) Append(b []byte) error {
	if _, err := l.file.Write(b); err != nil {
		return err
	}
	return datasync(l.file)
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }
