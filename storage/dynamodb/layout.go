package dynamodb

import (
	"cmp"
	"context"
	"hash/fnv"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// layout says which partitions are spread over several partition keys: see Spread. The rows of a partition PRODUCT#acme that is spread over 8 stand
// under PRODUCT#acme##0 to PRODUCT#acme##7, with a segment in between that no PK has, by the hash of their sort key without its
// version: all rows of one record stand under one key. The zero layout spreads nothing.
type layout struct {
	version int64          // of its row; 0 where there is none
	spread  map[string]int // over how many keys, by entity type, or entity type#tenant, which has precedence
	coming  map[string]int // what is being declared: nobody commits to these partitions
	looked  time.Time      // when it was asked for
}

// The layout's row in the system table, which is no record.
const (
	layoutPK = "LAYOUT#common"
	layoutSK = "SHARDS"
)

// shardMark stands between a PK and the number of a shard.
const shardMark = record.Separator + record.Separator

// A process believes a layout for a term. Spread lets what is coming stand for so many terms, a minute, before it counts: by then every
// process has seen it, and what was sent before has arrived or never will.
const (
	layoutTerm = 5 * time.Second
	terms      = 12
)

func (cfg Config) layoutTerm() time.Duration { return cmp.Or(cfg.term, layoutTerm) }

// fresh reports whether l may still be believed. A process that was frozen has a monotonic clock that stood still, and a clock
// may be set back: both must agree.
func (l *layout) fresh(term time.Duration) bool {
	return len(l.coming) == 0 && time.Since(l.looked) < term && time.Now().Round(0).Sub(l.looked.Round(0)) < term
}

// shardsOf returns what a map of a layout says of a partition, 0 for nothing.
func shardsOf(m map[string]int, pk string) int {
	if len(m) == 0 {
		return 0
	}
	kind, rest, _ := strings.Cut(pk, record.Separator)
	owner, _, _ := strings.Cut(rest, record.Separator)
	if n, ok := m[kind+record.Separator+owner]; ok {
		return n
	}
	return m[kind]
}

// keys returns the partition keys under which rows of pk stand.
func (l *layout) keys(pk string) []string {
	n := shardsOf(l.spread, pk)
	if n == 0 {
		return []string{pk}
	}
	keys := make([]string, n)
	for i := range keys {
		keys[i] = pk + shardMark + strconv.Itoa(i)
	}
	return keys
}

// key returns the partition key under which the rows of one record stand.
func (l *layout) key(pk, sk string) string {
	n := shardsOf(l.spread, pk)
	if n == 0 {
		return pk
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(sk)) // it never fails
	return pk + shardMark + strconv.FormatUint(h.Sum64()%uint64(n), 10)
}

// keyOf returns the key of the item at ref.
func (l *layout) keyOf(ref driver.Ref) item {
	it := keyOf(ref)
	if stored := l.key(ref.PK, ref.SK); stored != ref.PK {
		it["pk"] = text(stored)
	}
	return it
}

// pk returns the PK whose rows stand under a partition key.
func (l *layout) pk(stored string) string {
	at := strings.LastIndex(stored, shardMark)
	if at < 0 {
		return stored
	}
	n, err := strconv.Atoi(stored[at+len(shardMark):])
	if err != nil || n < 0 || n >= shardsOf(l.spread, stored[:at]) || strconv.Itoa(n) != stored[at+len(shardMark):] {
		return stored
	}
	return stored[:at]
}

// look reads the layout.
func (s server) look(ctx context.Context, op string) (*layout, error) {
	table, l := s.systemTable(), &layout{looked: time.Now()}
	out, err := s.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: item{"pk": text(layoutPK), "sk": text(layoutSK)}, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, translate(ctx, err, op)
	}
	d := decoder{it: out.Item}
	l.version, l.spread, l.coming = d.integer("version"), d.counts("spread"), d.counts("coming")
	return l, nil
}

// counts returns an attribute that maps names to numbers.
func (d *decoder) counts(name string) map[string]int {
	m, ok := get[*types.AttributeValueMemberM](d, name)
	if !ok {
		return map[string]int{}
	}
	inner, counts := decoder{it: m.Value}, make(map[string]int, len(m.Value))
	for entry := range m.Value {
		counts[entry] = int(inner.integer(entry))
	}
	return counts
}

func countsItem(counts map[string]int) types.AttributeValue {
	m := make(item, len(counts))
	for entry, n := range counts {
		m[entry] = number(strconv.Itoa(n))
	}
	return &types.AttributeValueMemberM{Value: m}
}

// layouts is what a process knows of its store's layout.
type layouts struct {
	last    atomic.Pointer[layout]
	looking atomic.Bool // somebody does
}

// layout returns the store's layout, which it looks at again where what is known may have changed since. In the second half of a term one of
// those who ask looks, and the others need not wait.
func (e *engine) layout(ctx context.Context, op string) (*layout, error) {
	l := e.layouts.last.Load()
	fresh := l.fresh(e.cfg.layoutTerm())
	if fresh {
		if l.fresh(e.cfg.layoutTerm()/2) || !e.layouts.looking.CompareAndSwap(false, true) {
			return l, nil
		}
		defer e.layouts.looking.Store(false)
	}
	switch seen, err := e.look(ctx, op); {
	case err == nil:
		e.layouts.last.Store(seen)
		return seen, nil
	case fresh: // it may still be believed
		return l, nil
	default:
		return nil, err
	}
}
