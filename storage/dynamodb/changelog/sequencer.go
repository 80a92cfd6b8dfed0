package changelog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// sequencer is what the holder of the lease knows. Only its own goroutine uses it. After an error of a write it is thrown away.
type sequencer struct {
	*Log
	log        *slog.Logger
	held       lease
	tables     map[string]*table
	discovered time.Time
	followsAll bool // every data table that there was when they were last listed

	// known has the version last appended for a record, while some table's records come from a scan as well as from its stream.
	known map[identity]int64
}

// identity stands for a record's key.
type identity [16]byte

func identityOf(pk, sk string) identity {
	text := binary.AppendUvarint(nil, uint64(len(pk)))
	sum := sha256.Sum256(append(append(text, pk...), sk...))
	return identity(sum[:16])
}

// forgets is how long a sequencer may have stood still before what the streams have forgotten may be missed. They keep 24 hours. Clocks that
// are off by more than minutes are not of this world: requests signed by them are refused.
const forgets = 20 * time.Hour

// load reads the state that the last holder left.
func (l *Log) load(ctx context.Context, held lease) (*sequencer, error) {
	found, err := l.look(ctx)
	if err != nil {
		return nil, err
	}
	if found.fence != held.fence {
		return nil, errReplaced
	}
	s := &sequencer{Log: l, log: l.cfg.Log.With("owner", held.owner, "fence", held.fence), held: found, tables: map[string]*table{}}
	if err := s.loadTables(ctx); err != nil {
		return nil, err
	}
	if stood := time.Now().Unix() - found.at; found.at > 0 && stood > int64(forgets/time.Second) {
		for _, t := range s.tables {
			if err := s.gap(ctx, t, "no process has sequenced the change log for most of a day"); err != nil {
				return nil, err
			}
		}
	}
	if err := s.loadKnown(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// loadKnown reads the log where a table's records come from a scan as well.
func (s *sequencer) loadKnown(ctx context.Context) error {
	s.known = nil
	from := uint64(0)
	for _, t := range s.tables {
		if t.phase != settled && (s.known == nil || t.from < from) {
			from = t.from
			s.known = map[identity]int64{}
		}
	}
	for s.known != nil && from < s.held.end {
		entries, err := s.read(ctx, from, 10*blockSize)
		if err != nil {
			return err
		}
		for _, e := range entries {
			s.known[identityOf(e.PK, e.SK)] = e.Version
		}
		if len(entries) == 0 {
			return corrupt("behind the last")
		}
		from = entries[len(entries)-1].Number
	}
	return nil
}

// run makes rounds until ctx ends or a write fails, and returns how many. While nothing happens it reads a little less often than it may, so that
// it may read at once when it is poked.
func (s *sequencer) run(ctx context.Context) (rounds int, err error) {
	tick := time.NewTicker(s.cfg.Poll * 5 / 4)
	defer tick.Stop()
	for ; ; rounds++ {
		more, err := s.round(ctx)
		if err != nil {
			return rounds, err
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return rounds, ctx.Err()
		case <-s.poke:
		case <-tick.C:
		}
	}
}

// round reads every shard once and appends what came. It is done, and says so in the lease, where every shard was read to its tip.
// More is true where something is known to wait.
func (s *sequencer) round(ctx context.Context) (more bool, err error) {
	next := s.held
	next.began++
	next.at = time.Now().Unix()
	if err := s.commit(ctx, next); err != nil {
		return false, err
	}
	began := time.Now()
	if err := s.discover(ctx); err != nil {
		return false, err
	}
	whole := s.followsAll
	pages := s.readShards(ctx)
	if err := s.appendPages(ctx, pages); err != nil {
		return false, err
	}
	var failed error
	read := len(pages) == 0
	for _, p := range pages {
		read = read || p.err == nil || p.gap != ""
		switch {
		case p.gap != "":
			if err := s.gap(ctx, p.shard.table, p.gap); err != nil {
				return false, err
			}
			whole = false
		case p.err != nil:
			whole, failed = false, p.err
			if ctx.Err() != nil {
				continue
			}
			s.log.WarnContext(ctx, "a shard of a stream can't be read; trying again", "table", p.shard.table.name, "shard", p.shard.id, "error", p.err)
		default:
			more = more || !p.tip || p.finished
		}
	}
	if !read {
		return false, unavailable(ctx, failed, "changelog.Run") // another process may fare better
	}
	for _, t := range s.ordered() {
		if t.absent {
			continue
		}
		tip := t.tip()
		whole = whole && tip
		busy, err := s.bootstrap(ctx, t, tip, began)
		if err != nil {
			return false, err
		}
		more = more || busy
	}
	if whole {
		next = s.held
		next.done = next.began
		err = s.commit(ctx, next)
	}
	return more && ctx.Err() == nil, err
}

// ordered returns the tables by name.
func (s *sequencer) ordered() []*table {
	all := make([]*table, 0, len(s.tables))
	for _, t := range s.tables {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *table) int { return cmp.Compare(a.name, b.name) })
	return all
}

// commit makes next the lease, and with it all writes, or none of this where another process holds the lease, or this one
// wrote what it does not know of.
func (s *sequencer) commit(ctx context.Context, next lease, writes ...types.TransactWriteItem) error {
	next.step = s.held.step + 1
	if err := s.advance(ctx, s.held, next, writes); err != nil {
		return err
	}
	s.held = next
	return nil
}

func (s *sequencer) put(it item) types.TransactWriteItem {
	return types.TransactWriteItem{Put: &types.Put{TableName: &s.cfg.SystemTable, Item: it}}
}

func (s *sequencer) drop(it item) types.TransactWriteItem {
	return types.TransactWriteItem{Delete: &types.Delete{TableName: &s.cfg.SystemTable, Key: item{"pk": it["pk"], "sk": it["sk"]}}}
}

// maxRows is how many rows beside the lease and a block fit one transaction of DynamoDB.
const maxRows = 98

// writing is a transaction that is being put together.
type writing struct {
	s       *sequencer
	entries []Entry
	shards  map[*shard]shard // with what they become
	row     item             // of a table, nil for none
}

func (s *sequencer) write() *writing { return &writing{s: s, shards: map[*shard]shard{}} }

// entry adds one, unless the record has come as far already.
func (w *writing) entry(e Entry) {
	if w.s.known != nil {
		id := identityOf(e.PK, e.SK)
		if e.Version <= w.s.known[id] {
			return
		}
		w.s.known[id] = e.Version
	}
	w.entries = append(w.entries, e)
}

// full reports whether the transaction has to be made before anything is added.
func (w *writing) full() bool { return len(w.entries) == blockSize || len(w.shards) == maxRows-1 }

// flush makes the transaction. The entries get their numbers here.
func (w *writing) flush(ctx context.Context) error {
	next := w.s.held
	var writes []types.TransactWriteItem
	if len(w.entries) > 0 {
		next.end += uint64(len(w.entries))
		writes = append(writes, w.s.put(block(w.entries, next.end)))
	}
	for sh, becomes := range w.shards {
		writes = append(writes, w.s.put(becomes.row(sh.table)))
	}
	if w.row != nil {
		writes = append(writes, w.s.put(w.row))
	}
	if len(writes) == 0 {
		return nil
	}
	if err := w.s.commit(ctx, next, writes...); err != nil {
		return err
	}
	for sh, becomes := range w.shards {
		sh.at, sh.done = becomes.at, becomes.done
	}
	w.entries, w.row = nil, nil
	clear(w.shards)
	return nil
}

// appendPages appends what was read, with how far each shard was read.
func (s *sequencer) appendPages(ctx context.Context, pages []page) error {
	w := s.write()
	for _, p := range pages {
		if p.gap != "" || p.err != nil {
			continue
		}
		if w.full() {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
		becomes := *p.shard
		for _, r := range p.records {
			if w.full() {
				if err := w.flush(ctx); err != nil {
					return err
				}
			}
			if r.removed && s.known != nil {
				delete(s.known, identityOf(r.entry.PK, r.entry.SK))
			}
			if r.counts {
				w.entry(r.entry)
			}
			becomes.at = r.sequence
			w.shards[p.shard] = becomes
		}
		if p.finished {
			becomes.done = true
			w.shards[p.shard] = becomes
			p.shard.table.relist = true
		}
		p.shard.iterator, p.shard.tip = p.next, p.tip
	}
	return w.flush(ctx)
}
