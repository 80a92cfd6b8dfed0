package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// request is a batch on its way through the writer, which sets position and err before it sends done.
type request struct {
	ctx    context.Context
	writes []driver.Write // only what stays when the caller changes its batch: see encode
	refs   []driver.Ref
	docs   []string
	size   int // bytes of docs

	position driver.Position
	err      error
	done     chan struct{} // receives once; the writer never waits for it
}

// newRequest makes the request of a batch, in the caller's goroutine, so that the writer need not.
func newRequest(ctx context.Context, b driver.Batch) *request {
	r := &request{ctx: ctx, writes: slices.Clone(b.Writes), done: make(chan struct{}, 1),
		refs: make([]driver.Ref, len(b.Writes)), docs: make([]string, len(b.Writes))}
	var text []byte
	ends := make([]int, len(b.Writes))
	for i, w := range b.Writes {
		r.refs[i] = driver.RefOf(w.Collection, w.Record)
		if !w.Delete {
			text = record.AppendDoc(text, w.Record)
		}
		ends[i] = len(text)
	}
	all, from := string(text), 0
	for i, end := range ends {
		r.docs[i], from = all[from:end], end
	}
	r.size = len(all)
	return r
}

// Limits of a group: how many batches, and how many bytes of their documents, share a transaction. One batch may be larger.
const (
	groupBatches = 128
	groupBytes   = 4 << 20
)

// group is what shares a transaction: requests that name different rows. Its columns are those of numbering.statement.
type group struct {
	requests []*request
	taken    map[driver.Ref]struct{}
	size     int
	shape    shape
	tenants  []string

	batch, num, collection, cond []int32
	pk, sk, doc                  []string
	version, expected, expires   []int64
	del, deleted                 []bool
}

func newGroup() *group { return &group{taken: make(map[driver.Ref]struct{})} }

func (g *group) reset() {
	clear(g.requests)
	clear(g.taken)
	*g = group{requests: g.requests[:0], taken: g.taken, tenants: g.tenants[:0],
		batch: g.batch[:0], num: g.num[:0], collection: g.collection[:0], cond: g.cond[:0], pk: g.pk[:0], sk: g.sk[:0], doc: g.doc[:0],
		version: g.version[:0], expected: g.expected[:0], expires: g.expires[:0], del: g.del[:0], deleted: g.deleted[:0]}
}

func (g *group) full() bool { return len(g.requests) == groupBatches || g.size >= groupBytes }

// join adds r to the group and reports whether it could: one that names a row which another names must be made after it.
func (g *group) join(r *request) bool {
	for _, ref := range r.refs {
		if _, taken := g.taken[ref]; taken {
			return false
		}
	}
	for i, w := range r.writes {
		ref := r.refs[i]
		g.taken[ref] = struct{}{}
		g.shape.add(w.Collection, w.Delete)
		g.tenants = withTenant(g.tenants, ref.PK)
		expires := int64(0)
		if w.Collection == driver.System {
			expires = w.Record.TTL
		}
		g.batch = append(g.batch, int32(len(g.requests)))
		g.num = append(g.num, int32(i))
		g.collection = append(g.collection, int32(w.Collection))
		g.cond = append(g.cond, int32(w.If.Kind))
		g.pk = append(g.pk, ref.PK)
		g.sk = append(g.sk, ref.SK)
		g.doc = append(g.doc, r.docs[i])
		g.version = append(g.version, w.Record.Version)
		g.expected = append(g.expected, w.If.Version)
		g.expires = append(g.expires, expires)
		g.del = append(g.del, w.Delete)
		g.deleted = append(g.deleted, w.Record.IsDeleted)
	}
	g.requests = append(g.requests, r)
	g.size += r.size
	return true
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

// settle sets the requests' results from the answer of numbering.statement.
func (g *group) settle(answer [][]int64) {
	for _, line := range answer {
		r, num, found, value := g.requests[line[0]], line[1], line[2], line[3]
		if num < 0 {
			r.position = position(value)
		} else {
			r.err = &driver.Conflict{Write: int(num), Found: found == 1, Actual: value}
		}
	}
}
