package dynamodb

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb/changelog"
	"github.com/tenantry/tenantry/tenant"
)

// Scan walks a collection in the order of (PK, SK, Version), which DynamoDB doesn't have. A pass begins by reading the PKs of
// all tables of the collection, which costs a scan of them, and keeps them: memory grows with the number of partitions.
// Command and history rows of one partition are put in order by their keys, which costs another read of that partition. A page that
// goes on where the one before ended belongs to the same pass; what another process puts into partitions that are
// new since the pass began is seen by the next.
func (e *engine) Scan(ctx context.Context, c driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
	l, err := e.enter(ctx, "dynamodb.Scan")
	if err != nil {
		return nil, err
	}
	defer e.leave()
	after.Collection = c
	p, err := e.resume(ctx, l, after)
	if err != nil {
		return nil, err
	}
	var recs []*record.Record
	for len(recs) < limit && len(p.partitions) > 0 {
		from := driver.Ref{}
		if p.partitions[0].pk == after.PK {
			from = after
		}
		more, err := e.partition(ctx, l, c, p, from, limit-len(recs))
		if err != nil {
			return nil, err
		}
		if recs = append(recs, more...); len(recs) < limit {
			p.partitions, p.keys = p.partitions[1:], nil
		}
	}
	if len(recs) == limit {
		e.passes.keep(p, driver.RefOf(c, recs[limit-1]))
	} else {
		e.passes.forget(p)
	}
	return recs, nil
}

// pass is a walk through a collection that has come to a row.
type pass struct {
	collection driver.Collection
	at         driver.Ref          // of the last row that was returned; guarded by passes.mu, as the next two
	busy       bool                // a page is being read
	added      map[driver.Ref]bool // rows that were put since the last page began
	partitions []partition         // in order, the one that at stands in first
	keys       []key               // of the first partition, in order; nil until they are read, and for Data and System
}

type partition struct{ pk, table string }

// key is a row's place in the order, and the sk of its item.
type key struct {
	sk      string
	version int64
	item    string
}

func compareKeys(a, b key) int {
	return cmp.Or(strings.Compare(a.sk, b.sk), cmp.Compare(a.version, b.version))
}

// passes are the walks that may go on. One for each collection is enough for whoever copies or verifies a store.
type passes struct {
	mu   sync.Mutex
	open map[driver.Collection]*pass
}

// maxAdded bounds what is remembered for a pass that may never go on.
const maxAdded = 10_000

// note tells the passes what b has put.
func (ps *passes) note(b driver.Batch) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, w := range b.Writes {
		p := ps.open[w.Collection]
		if p == nil || w.Delete {
			continue
		}
		if p.added[driver.RefOf(w.Collection, w.Record)] = true; len(p.added) > maxAdded {
			delete(ps.open, w.Collection)
		}
	}
}

// take returns the pass that has come to after, nil where there is none, and what was put since.
func (ps *passes) take(after driver.Ref) (*pass, map[driver.Ref]bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.open[after.Collection]
	if p == nil || p.busy || p.at != after {
		return nil, nil
	}
	added := p.added
	p.busy, p.added = true, make(map[driver.Ref]bool)
	return p, added
}

// begin makes p the collection's pass before it reads anything, so that it misses no commit.
func (ps *passes) begin(p *pass) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.open == nil {
		ps.open = make(map[driver.Collection]*pass)
	}
	p.busy, p.added = true, make(map[driver.Ref]bool)
	ps.open[p.collection] = p
}

func (ps *passes) keep(p *pass, at driver.Ref) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.busy, p.at = false, at
}

func (ps *passes) forget(p *pass) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.open[p.collection] == p {
		delete(ps.open, p.collection)
	}
}

// resume returns the pass that goes on after a row, a new one where none does.
func (e *engine) resume(ctx context.Context, l *layout, after driver.Ref) (*pass, error) {
	if p, added := e.passes.take(after); p != nil {
		return p, e.add(p, added)
	}
	p := &pass{collection: after.Collection}
	e.passes.begin(p)
	tables, err := e.tables(ctx, after.Collection)
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		pks, err := e.partitionKeys(ctx, table)
		if err != nil {
			return nil, err
		}
		for _, stored := range pks {
			if pk := l.pk(stored); pk >= after.PK && !(after.Collection == driver.System && (changelog.Owns(pk) || pk == layoutPK)) {
				p.partitions = append(p.partitions, partition{pk, table})
			}
		}
	}
	slices.SortFunc(p.partitions, comparePartitions)
	p.partitions = slices.Compact(p.partitions)
	return p, nil
}

func comparePartitions(a, b partition) int {
	return cmp.Or(strings.Compare(a.pk, b.pk), strings.Compare(a.table, b.table))
}

// add puts rows into p that appeared while it rested.
func (e *engine) add(p *pass, added map[driver.Ref]bool) error {
	for ref := range added {
		table, err := e.table(ref.Collection, ref.PK)
		if err != nil {
			return err
		}
		of := partition{ref.PK, table}
		if len(p.partitions) == 0 || comparePartitions(of, p.partitions[0]) < 0 {
			if ref.PK < p.at.PK {
				continue
			}
			p.partitions, p.keys = slices.Insert(p.partitions, 0, of), nil
			continue
		}
		i, found := slices.BinarySearchFunc(p.partitions, of, comparePartitions)
		if !found {
			p.partitions = slices.Insert(p.partitions, i, of)
		} else if i == 0 && p.keys != nil {
			k := key{ref.SK, ref.Version, sortKey(ref)}
			if j, found := slices.BinarySearchFunc(p.keys, k, compareKeys); !found {
				p.keys = slices.Insert(p.keys, j, k)
			}
		}
	}
	return nil
}

// tables returns the names of the tables of a collection that are there.
func (s server) tables(ctx context.Context, c driver.Collection) ([]string, error) {
	if c == driver.System {
		return []string{s.systemTable()}, nil
	}
	var tables []string
	for pages := dynamodb.NewListTablesPaginator(s.db, &dynamodb.ListTablesInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate(ctx, err, "dynamodb.tables")
		}
		for _, table := range page.TableNames {
			module, ours := strings.CutPrefix(table, s.cfg.Prefix+"-")
			module, named := strings.CutSuffix(module, "-"+c.String())
			if ours && named && validModule.MatchString(module) {
				tables = append(tables, table)
			}
		}
	}
	return tables, nil
}

// Partitions implements driver.Surveyor: services of the other framework make partitions that are noted nowhere.
func (e *engine) Partitions(ctx context.Context, of tenant.Code) ([]string, error) {
	l, err := e.enter(ctx, "dynamodb.Partitions")
	if err != nil {
		return nil, err
	}
	defer e.leave()
	tables, err := e.tables(ctx, driver.Data)
	if err != nil {
		return nil, err
	}
	pks := make(map[string]bool)
	for _, table := range tables {
		keys, err := e.partitionKeys(ctx, table)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			pk := l.pk(key)
			_, rest, _ := strings.Cut(pk, record.Separator)
			if owner, _, _ := strings.Cut(rest, record.Separator); owner == of.String() {
				pks[pk] = true
			}
		}
	}
	return slices.Collect(maps.Keys(pks)), nil
}

// partitionKeys returns the partition keys of a table, each once.
func (s server) partitionKeys(ctx context.Context, table string) ([]string, error) {
	pks := make(map[string]bool)
	in := &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true), ProjectionExpression: aws.String("pk")}
	for pages := dynamodb.NewScanPaginator(s.db, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate(ctx, err, "dynamodb.Scan")
		}
		for _, it := range page.Items {
			d := decoder{it: it}
			pks[d.text("pk")] = true
		}
	}
	return slices.Collect(maps.Keys(pks)), nil
}

// partition returns at most limit rows of p's first partition after a ref.
func (e *engine) partition(ctx context.Context, l *layout, c driver.Collection, p *pass, after driver.Ref, limit int) ([]*record.Record, error) {
	of := p.partitions[0]
	if !versioned(c) {
		return (caller{engine: e}).rows(ctx, l, of.table, driver.Range{Collection: c, PK: of.pk, After: after.SK, IncludeDeleted: true, Limit: limit})
	}
	if p.keys == nil {
		var err error
		if p.keys, err = e.keys(ctx, l, of); err != nil {
			return nil, err
		}
	}
	last := key{sk: after.SK, version: after.Version}
	at, found := slices.BinarySearchFunc(p.keys, last, compareKeys)
	if found {
		at++
	}
	var recs []*record.Record
	for rest := p.keys[at:]; len(rest) > 0 && len(recs) < limit; {
		n := min(len(rest), limit-len(recs), driver.MaxBatch)
		rows := make([]row, n)
		for i, k := range rest[:n] {
			rows[i] = row{of.table, l.key(of.pk, k.sk), k.item}
		}
		found, err := e.items(ctx, rows)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if it, ok := found[r]; ok { // it may have been deleted since
				rec, err := e.read(ctx, c, of.pk, it, time.Time{})
				if err != nil {
					return nil, err
				}
				recs = append(recs, rec)
			}
		}
		rest = rest[n:]
	}
	return recs, nil
}

// keys returns the keys of a partition of Command or History in the order of (SK, Version).
func (s server) keys(ctx context.Context, l *layout, of partition) ([]key, error) {
	keys := []key{}
	for _, stored := range l.keys(of.pk) {
		in := query(of.table, stored, driver.Range{IncludeDeleted: true})
		in.ProjectionExpression = aws.String("sk")
		for pages := dynamodb.NewQueryPaginator(s.db, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, translate(ctx, err, "dynamodb.Scan")
			}
			for _, it := range page.Items {
				d := decoder{it: it}
				text := d.text("sk")
				sk, version, _ := splitSK(text)
				keys = append(keys, key{sk, version, text})
			}
		}
	}
	slices.SortFunc(keys, compareKeys)
	return keys, nil
}
