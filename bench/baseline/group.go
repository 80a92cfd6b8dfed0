package baseline

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
)

// Sizes of the write-ahead log, in pages, and of a group, in rows, as in Tenantry.
const (
	checkpointEvery = 2000
	checkpointLimit = 4000
	groupLimit      = 256
)

// widths are how many rows of a table one statement inserts: the more, the seldomer AUTOINCREMENT reads and writes its counter.
var widths = []int{16, 4, 1}

// Group is a group commit by hand: one goroutine inserts what others want, and acknowledges after COMMIT; a second copies the
// write-ahead log into the file. Keys that are there already fail, and with them their group.
type Group struct {
	conn, other         *sqlite3.Conn
	begin, commit       *sqlite3.Stmt
	inserts             []inserts // one for each of widths
	commandDoc, dataDoc []byte

	mu       sync.Mutex
	waiting  *group        // those that come next
	wake     chan struct{} // receives when waiting is no longer empty
	gate     sync.Mutex    // held during a transaction
	finished sync.WaitGroup
}

// A group is what was wanted at one time.
type group struct {
	keys []key
	err  error         // set before done is closed
	done chan struct{} // closed after COMMIT
}

type key struct{ pk, sk string }

func newGroup(size int) *group { return &group{keys: make([]key, 0, size), done: make(chan struct{})} }

// inserts are the statements that insert a number of rows.
type inserts struct {
	rows          int
	command, data *sqlite3.Stmt
}

// OpenGroup opens the store in dir for rows with the documents command and data.
func OpenGroup(dir string, command, data []byte) (*Group, error) {
	g := &Group{commandDoc: command, dataDoc: data, waiting: newGroup(0), wake: make(chan struct{}, 1)}
	var err error
	if g.conn, err = open(dir, writing); err != nil {
		return nil, err
	}
	if g.other, err = open(dir, reading); err != nil {
		return nil, err
	}
	g.inserts = make([]inserts, len(widths))
	queries := map[string]**sqlite3.Stmt{"BEGIN IMMEDIATE": &g.begin, "COMMIT": &g.commit}
	for i, n := range widths {
		g.inserts[i].rows = n
		values := func(row string) string { return " VALUES " + strings.Repeat(row+", ", n-1) + row }
		queries["INSERT OR ROLLBACK INTO command (pk, sk, version, doc)"+values("(?, ?, 1, ?)")] = &g.inserts[i].command
		queries["INSERT OR ROLLBACK INTO data (pk, sk, version, deleted, doc)"+values("(?, ?, 1, 0, ?)")] = &g.inserts[i].data
	}
	for query, s := range queries {
		if *s, err = prepare(g.conn, query); err != nil {
			return nil, err
		}
	}
	g.follow()
	return g, nil
}

// Create makes a command and a record, and returns when they are on disk.
func (g *Group) Create(pk, sk string) error {
	g.mu.Lock()
	in := g.waiting
	in.keys = append(in.keys, key{pk, sk})
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
	<-in.done
	return in.err
}

// take returns those who wait, nil where nobody does.
func (g *Group) take() *group {
	g.mu.Lock()
	defer g.mu.Unlock()
	took := g.waiting
	if len(took.keys) == 0 {
		return nil
	}
	g.waiting = newGroup(cap(took.keys))
	return took
}

func (g *Group) run() {
	var groups []*group
	for range g.wake {
		first := g.take()
		if first == nil { // they came along with those before them
			continue
		}
		g.gate.Lock()
		groups = append(groups[:0], first)
		err := g.transaction(&groups)
		g.gate.Unlock()
		for _, in := range groups {
			in.err = err
			close(in.done)
		}
	}
}

// transaction commits groups, and those that come meanwhile.
func (g *Group) transaction(groups *[]*group) error {
	if err := g.begin.Exec(); err != nil {
		return err
	}
	rows := 0
	for i := 0; i < len(*groups); i++ {
		keys := (*groups)[i].keys
		rows += len(keys)
		for _, s := range g.inserts {
			for ; len(keys) >= s.rows; keys = keys[s.rows:] {
				if err := errors.Join(s.insert(s.command, keys, g.commandDoc), s.insert(s.data, keys, g.dataDoc)); err != nil {
					if !g.conn.GetAutocommit() {
						err = errors.Join(err, g.conn.Exec("ROLLBACK"))
					}
					return err
				}
			}
		}
		if rows < groupLimit && i == len(*groups)-1 {
			next := g.take()
			if next == nil {
				runtime.Gosched() // lets those who were just answered come again
				next = g.take()
			}
			if next != nil {
				*groups = append(*groups, next)
			}
		}
	}
	return g.commit.Exec()
}

// insert inserts rows for the first keys.
func (s inserts) insert(into *sqlite3.Stmt, keys []key, doc []byte) error {
	for i, k := range keys[:s.rows] {
		if err := into.BindText(3*i+1, k.pk); err != nil {
			return err
		}
		if err := into.BindText(3*i+2, k.sk); err != nil {
			return err
		}
		if err := into.BindRawText(3*i+3, doc); err != nil {
			return err
		}
	}
	return into.Exec()
}

// follow makes commits set off checkpoints. Above a limit the writer is held up for one, so that the log starts over: to write
// where the log was before costs less than to make it longer.
func (g *Group) follow() {
	wake := make(chan struct{}, 1)
	var copied atomic.Int64
	g.conn.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error {
		if int64(pages) < copied.Load() {
			copied.Store(0)
		}
		if int64(pages)-copied.Load() >= checkpointEvery {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
		return nil
	})
	g.finished.Go(func() {
		for range wake {
			pages, _, err := g.other.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
			if err == nil && pages >= checkpointLimit {
				g.gate.Lock()
				pages, _, _ = g.other.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
				g.gate.Unlock()
			}
			copied.Store(int64(max(pages, 0)))
		}
	})
	g.finished.Go(func() {
		defer close(wake)
		g.run()
	})
}

// Close ends both goroutines. No Create is under way.
func (g *Group) Close() error {
	close(g.wake)
	g.finished.Wait()
	errs := []error{g.begin.Close(), g.commit.Close()}
	for _, s := range g.inserts {
		errs = append(errs, s.command.Close(), s.data.Close())
	}
	return errors.Join(append(errs, g.conn.Close(), g.other.Close())...)
}
