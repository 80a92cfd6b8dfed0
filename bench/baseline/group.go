package baseline

import (
	"errors"
	"sync"

	"github.com/ncruces/go-sqlite3"
)

// checkpointEvery is how many pages the write-ahead log grows by between two checkpoints, as in Tenantry.
const checkpointEvery = 1000

// Group is a group commit by hand: one goroutine inserts what others send it, and acknowledges after COMMIT; a second copies
// the write-ahead log into the file.
type Group struct {
	conn, other   *sqlite3.Conn
	statements    []*sqlite3.Stmt
	command, data []byte
	queue         chan insert
	goroutines    sync.WaitGroup
}

type insert struct {
	pk, sk string
	done   chan error
}

// OpenGroup opens the store in dir for rows with the documents command and data.
func OpenGroup(dir string, command, data []byte) (*Group, error) {
	g := &Group{command: command, data: data, queue: make(chan insert, 64)}
	var err error
	if g.conn, err = open(dir, writing); err != nil {
		return nil, err
	}
	if g.other, err = open(dir, reading); err != nil {
		return nil, err
	}
	for _, query := range []string{
		"BEGIN IMMEDIATE",
		"INSERT INTO command (pk, sk, version, doc) VALUES (?1, ?2, 1, ?3) ON CONFLICT DO NOTHING",
		"INSERT INTO data (pk, sk, version, deleted, doc) VALUES (?1, ?2, 1, 0, ?3) ON CONFLICT DO NOTHING",
		"COMMIT",
	} {
		s, err := prepare(g.conn, query)
		if err != nil {
			return nil, err
		}
		g.statements = append(g.statements, s)
	}
	checkpoint := make(chan struct{}, 1)
	copied := 0
	g.conn.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error {
		if pages < copied || pages-copied >= checkpointEvery {
			copied = pages
			select {
			case checkpoint <- struct{}{}:
			default:
			}
		}
		return nil
	})
	g.goroutines.Go(func() {
		for range checkpoint {
			g.other.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		}
	})
	g.goroutines.Go(func() {
		defer close(checkpoint)
		g.run()
	})
	return g, nil
}

// Create makes a command and a record, and returns when they are on disk.
func (g *Group) Create(pk, sk string) error {
	in := insert{pk: pk, sk: sk, done: make(chan error, 1)}
	g.queue <- in
	return <-in.done
}

func (g *Group) run() {
	var group []insert
	for first := range g.queue {
		group = append(group[:0], first)
		err := g.statements[0].Exec()
		for i := 0; i < len(group) && err == nil; i++ {
			err = errors.Join(group[i].into(g.statements[1], g.command), group[i].into(g.statements[2], g.data))
			select {
			case in, open := <-g.queue:
				if open {
					group = append(group, in)
				}
			default:
			}
		}
		err = errors.Join(err, g.statements[3].Exec())
		for _, in := range group {
			in.done <- err
		}
	}
}

func (in insert) into(s *sqlite3.Stmt, doc []byte) error {
	if err := s.BindText(1, in.pk); err != nil {
		return err
	}
	if err := s.BindText(2, in.sk); err != nil {
		return err
	}
	if err := s.BindRawText(3, doc); err != nil {
		return err
	}
	return s.Exec()
}

// Close ends both goroutines. No Create is under way.
func (g *Group) Close() error {
	close(g.queue)
	g.goroutines.Wait()
	var errs []error
	for _, s := range g.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, g.conn.Close(), g.other.Close())...)
}
