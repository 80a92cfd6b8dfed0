package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Digest is of everything in a store that is about one tenant.
type Digest struct {
	TenantCode string `json:"tenantCode"`
	Records    int64  `json:"records"`
	Commands   int64  `json:"commands"`
	History    int64  `json:"history"`
	Digest     string `json:"digest"` // SHA-256 in hexadecimal, of the rows in the order of collection, pk, sk and version
}

// sum is a Digest that is being made.
type sum struct {
	Digest
	hash hash.Hash
}

// soon is how long a row of the system must live on to be compared: it could expire between one store and the other.
const soon = time.Hour

// digests returns the digests of what is copied, by tenant.
func digests(ctx context.Context, across storage.Across, sel selection, horizon int64, renew func(context.Context) error) (map[string]Digest, error) {
	sums := map[string]*sum{}
	var text []byte
	for _, collection := range driver.Collections() {
		rows := &stream{across: across, sel: sel, collection: collection, renew: renew}
		for {
			row, err := rows.next(ctx)
			if err != nil {
				return nil, err
			}
			if row == nil {
				break
			}
			if collection == driver.System && row.TTL > 0 && row.TTL < horizon {
				continue
			}
			s := sums[rows.owner]
			if s == nil {
				s = &sum{Digest: Digest{TenantCode: rows.owner}, hash: sha256.New()}
				sums[rows.owner] = s
			}
			text = appendRow(text[:0], collection, row)
			s.hash.Write(text)
			switch collection {
			case driver.Data:
				s.Records++
			case driver.Command:
				s.Commands++
			case driver.History:
				s.History++
			}
		}
	}
	out := make(map[string]Digest, len(sums))
	for owner, s := range sums {
		s.Digest.Digest = hex.EncodeToString(s.hash.Sum(nil))
		out[owner] = s.Digest
	}
	return out, nil
}

// appendRow appends the canonical text of a row. None is the beginning of another's: a document ends where its brace is closed.
func appendRow(dst []byte, c driver.Collection, row *record.Record) []byte {
	dst = append(dst, c.String()...)
	dst = append(append(dst, 0), row.PK...)
	dst = append(append(dst, 0), record.VersionedSK(row.SK, row.Version)...)
	return append(record.AppendDoc(append(dst, 0), row), '\n')
}

// compare reads both stores to their end and returns what they have in common. Where they differ, it makes the target as the source is, once.
func (c *copier) compare(ctx context.Context) (Result, error) {
	for attempt := range 2 {
		c.tell(Comparing)
		from, to, err := c.both(ctx)
		if err != nil {
			return Result{}, err
		}
		differ := differing(from, to)
		if len(differ) == 0 {
			return c.result(from), nil
		}
		if attempt > 0 {
			return Result{}, fault.New(fault.Internal, "transfer.Copy", "source and target differ in %d tenants (%s); verify both with tenantry verify, and copy again",
				len(differ), strings.Join(differ[:min(3, len(differ))], ", "))
		}
		for _, collection := range []driver.Collection{driver.Command, driver.Data, driver.History, driver.System} {
			if err := c.reconcile(ctx, collection); err != nil {
				return Result{}, err
			}
		}
	}
	panic("unreachable")
}

// both returns the digests of the two stores, which are read side by side.
func (c *copier) both(ctx context.Context) (from, to map[string]Digest, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	horizon := time.Now().Add(soon).Unix()
	var reading sync.WaitGroup
	reading.Go(func() {
		digests, err := digests(ctx, c.to.Across, c.sel, horizon, nil)
		if err != nil {
			cancel(err)
		}
		to = digests
	})
	from, err = digests(ctx, c.from.Across, c.sel, horizon, c.hold.renew)
	if err != nil {
		cancel(err)
	}
	reading.Wait()
	return from, to, context.Cause(ctx)
}

// differing returns the tenants whose digests differ, ordered.
func differing(a, b map[string]Digest) []string {
	var differ []string
	for owner := range a {
		if a[owner] != b[owner] {
			differ = append(differ, owner)
		}
	}
	for owner := range b {
		if _, ok := a[owner]; !ok {
			differ = append(differ, owner)
		}
	}
	slices.Sort(differ)
	return differ
}

func (c *copier) result(digests map[string]Digest) Result {
	r := Result{Copy: c.at.Copy, Tenants: make([]Digest, 0, len(digests))}
	for _, owner := range slices.Sorted(maps.Keys(digests)) {
		d := digests[owner]
		r.Tenants = append(r.Tenants, d)
		r.Records, r.Commands, r.History = r.Records+d.Records, r.Commands+d.Commands, r.History+d.History
	}
	return r
}
