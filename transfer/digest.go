package transfer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math/bits"
	"slices"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Digest is of everything in a store that is about one tenant.
type Digest struct {
	TenantCode string `json:"tenantCode"`
	Records    int64  `json:"records"`
	Commands   int64  `json:"commands"`
	History    int64  `json:"history"`
	Digest     string `json:"digest"` // in hexadecimal, the sum of the rows' SHA-256 modulo 2^256
}

// mark is what a row adds to the digest of its tenant; the zero mark is that of no row.
type mark struct {
	there bool
	hash  [sha256.Size]byte
}

func markOf(c driver.Collection, row *record.Record) mark {
	if row == nil {
		return mark{}
	}
	return mark{true, sha256.Sum256(appendRow(nil, c, row))}
}

// appendRow appends the canonical text of a row. None is the beginning of another's: a document ends where its brace is closed.
func appendRow(dst []byte, c driver.Collection, row *record.Record) []byte {
	dst = append(dst, c.String()...)
	dst = append(append(dst, 0), row.PK...)
	dst = append(append(dst, 0), record.VersionedSK(row.SK, row.Version)...)
	return append(record.AppendDoc(append(dst, 0), row), '\n')
}

// book is the digests of a store, by tenant. Rows are counted in any order, and can be taken out again.
type book map[string]*sum

type sum struct {
	Digest
	total [4]uint64 // the least significant first
}

// count adds a row's mark to its tenant's digest.
func (b book) count(owner string, c driver.Collection, m mark) { b.change(owner, c, m, bits.Add64, 1) }

// remove takes a row that was counted out again.
func (b book) remove(owner string, c driver.Collection, m mark) {
	b.change(owner, c, m, bits.Sub64, -1)
}

func (b book) change(owner string, c driver.Collection, m mark, op func(x, y, carry uint64) (uint64, uint64), n int64) {
	if !m.there {
		return
	}
	s := b[owner]
	if s == nil {
		s = &sum{Digest: Digest{TenantCode: owner}}
		b[owner] = s
	}
	var carry uint64
	for i := range s.total {
		s.total[i], carry = op(s.total[i], binary.LittleEndian.Uint64(m.hash[8*i:]), carry)
	}
	switch c {
	case driver.Data:
		s.Records += n
	case driver.Command:
		s.Commands += n
	case driver.History:
		s.History += n
	}
}

// digests returns the digests as they stand; a tenant whose rows were all taken out has none.
func (b book) digests() map[string]Digest {
	out := make(map[string]Digest, len(b))
	for owner, s := range b {
		if *s == (sum{Digest: Digest{TenantCode: owner}}) {
			continue
		}
		var text []byte
		for _, word := range s.total {
			text = binary.LittleEndian.AppendUint64(text, word)
		}
		d := s.Digest
		d.Digest = hex.EncodeToString(text)
		out[owner] = d
	}
	return out
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
