package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// write is a driver.Write in the form that the writer needs: it shares nothing with the batch but immutable strings.
type write struct {
	ref     driver.Ref
	cond    driver.Condition
	version int64
	expires int64
	deleted bool
	remove  bool
	doc     []byte
}

// request is a batch on its way through the writer, which sets position and err before it sends done.
type request struct {
	ctx    context.Context
	writes []write
	size   int // bytes of their docs

	position driver.Position
	err      error
	done     chan struct{} // receives once; the writer never waits for it
}

// newRequest makes the request of a batch, in the caller's goroutine, so that the writer need not.
func newRequest(ctx context.Context, b driver.Batch) *request {
	r := &request{ctx: ctx, writes: make([]write, len(b.Writes)), done: make(chan struct{}, 1)}
	const around = 512 // a document is about that much larger than its attributes
	room := 0
	for _, w := range b.Writes {
		room += len(w.Record.Attributes) + around
	}
	text := make([]byte, 0, room)
	ends := make([]int, len(b.Writes))
	for i, w := range b.Writes {
		r.writes[i] = write{ref: driver.RefOf(w.Collection, w.Record), cond: w.If, version: w.Record.Version,
			expires: w.Record.TTL, deleted: w.Record.IsDeleted, remove: w.Delete}
		if !w.Delete {
			text = record.AppendDoc(text, w.Record)
		}
		ends[i] = len(text)
	}
	from := 0
	for i, end := range ends {
		r.writes[i].doc, from = text[from:end], end
	}
	r.size = len(text)
	return r
}

// Limits of a group: how many batches, and how many bytes of their documents, share a transaction. One batch may be larger.
const (
	groupBatches = 128
	groupBytes   = 4 << 20
)

// group is what shares a transaction: requests that name different rows.
type group struct {
	requests []*request
	taken    map[driver.Ref]struct{}
	size     int
	tenants  []string

	careful  bool    // made by numbering.statement, for what a direct statement can't make or didn't
	direct   direct  // where not careful
	commands int     // so far
	last     []int64 // for each request, which of the commands is its last; 0 for none
}

func newGroup() *group { return &group{taken: make(map[driver.Ref]struct{})} }

func (g *group) reset() {
	clear(g.requests)
	clear(g.taken)
	g.direct.reset()
	g.requests, g.tenants, g.last = g.requests[:0], g.tenants[:0], g.last[:0]
	g.size, g.commands, g.careful = 0, 0, false
}

func (g *group) full() bool { return len(g.requests) == groupBatches || g.size >= groupBytes }

// join adds r to the group and reports whether it could: one that names a row which another names must be made after it.
func (g *group) join(r *request) bool {
	for i := range r.writes {
		if _, taken := g.taken[r.writes[i].ref]; taken {
			return false
		}
	}
	last := 0
	for i := range r.writes {
		w := &r.writes[i]
		g.taken[w.ref] = struct{}{}
		g.tenants = withTenant(g.tenants, w.ref.PK)
		if g.careful = g.careful || !w.isDirect(); !g.careful {
			g.direct.add(w)
		}
		if w.ref.Collection == driver.Command {
			g.commands++
			last = g.commands
		}
	}
	g.requests = append(g.requests, r)
	g.last = append(g.last, int64(last))
	g.size += r.size
	return true
}

// arguments appends the columns of all writes in the order of numbering.statement, and returns its shape too.
func (g *group) arguments(to [][]byte) ([][]byte, shape) {
	var s shape
	var batch, num, collection, pk, sk, version, cond, expected, del, deleted, expires, doc array
	for n, r := range g.requests {
		for i := range r.writes {
			w := &r.writes[i]
			s.add(w.ref.Collection, w.remove)
			batch.addInt(int64(n))
			num.addInt(int64(i))
			collection.addInt(int64(w.ref.Collection))
			pk.addText(w.ref.PK)
			sk.addText(w.ref.SK)
			version.addInt(w.version)
			cond.addInt(int64(w.cond.Kind))
			expected.addInt(w.cond.Version)
			del.addBool(w.remove)
			deleted.addBool(w.deleted)
			expires.addInt(w.expires)
			doc.addUTF8(w.doc)
		}
	}
	for _, a := range []*array{&batch, &num, &collection, &pk, &sk, &version, &cond, &expected, &del, &deleted, &expires, &doc} {
		to = append(to, a.encoded())
	}
	return to, s
}

// withTenant returns tenants with the second segment of pk among them, which is what the tables' column tenant has.
func withTenant(tenants []string, pk string) []string {
	_, rest, _ := strings.Cut(pk, record.Separator)
	tenant, _, _ := strings.Cut(rest, record.Separator)
	if slices.Contains(tenants, tenant) {
		return tenants
	}
	return append(tenants, tenant)
}

// settle sets the requests' results from the answer of one of the two statements.
func (g *group) settle(answer [][]int64) {
	for _, line := range answer {
		first, num, found, value := line[0], line[1], line[2], line[3]
		switch {
		case first < 0:
			for i, last := range g.last {
				if last > 0 {
					g.requests[i].position = driver.PositionAt(value + last)
				}
			}
		case num < 0:
			g.requests[first].position = driver.PositionAt(value)
		default:
			g.requests[first].err = &driver.Conflict{Write: int(num), Found: found == 1, Actual: value}
		}
	}
}
