package sqlite

import (
	"context"
	"time"
)

// looker finds the commits of other processes by looking.
type looker struct {
	connect func() (*conn, error)
	every   time.Duration // between two looks
}

// look notifies when another connection has committed. What happened before the first look, or while looking failed, is
// not known, so they notify too.
func (l *looker) look(ctx context.Context, notify func()) {
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	var c *conn
	var seen int64
	for {
		if version, err := l.version(&c); err == nil && version != seen {
			seen = version
			notify()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if c != nil {
				c.close()
			}
			return
		}
	}
}

// version returns a number that changes when another connection than *c commits. It opens *c where it is nil and
// closes it after an error.
func (l *looker) version(c **conn) (version int64, err error) {
	if *c == nil {
		if *c, err = l.connect(); err != nil {
			*c = nil
			return 0, err
		}
	}
	version, err = (*c).integer("PRAGMA data_version")
	if err != nil {
		(*c).close()
		*c = nil
	}
	return version, err
}
