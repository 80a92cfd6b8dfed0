package integrity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// What the system keeps beside memberships: MEMBER_OF#common#hash / tenant, DEFAULT_TENANT#common / hash, ADMINS#tenant / admins.
const (
	memberOfWord = "MEMBER_OF"
	defaultWord  = "DEFAULT_TENANT"
	adminsWord   = "ADMINS"
)

var membershipsPK = pkOf(members.EntityType().String(), systemOwner)

// membership is what a membership's record says. Its user code is named by its hash, as in the rows beside it.
type membership struct {
	code, hash string
	admin      bool
	isDefault  bool
}

// membershipOf returns what a record says; ok is false for one that is no membership.
func membershipOf(rec *record.Record) (m membership, ok bool) {
	code, userCode, found := strings.Cut(rec.SK, record.Separator)
	var a struct {
		Role      string `json:"role"`
		IsDefault bool   `json:"isDefault"`
	}
	if !found || rec.IsDeleted || rec.Attributes.Decode(&a) != nil {
		return membership{}, false
	}
	sum := sha256.Sum256([]byte(userCode))
	return membership{code, hex.EncodeToString(sum[:]), strings.EqualFold(a.Role, members.Admin), a.IsDefault}, true
}

// pairs adds up pairs of a user and a tenant, in as many parts as there are sums: where every pair was added twice, by a membership
// and by the row beside it, all sums are zero. So a row without its membership is looked for among few.
type pairs [1 << 12][sha256.Size]byte

func partOf(sum [sha256.Size]byte) int { return int(sum[0])<<4 | int(sum[1])>>4 }

func (p *pairs) add(hash, code string) {
	sum := sha256.Sum256([]byte(hash + record.Separator + code))
	at := &p[partOf(sum)]
	for i := range at {
		at[i] ^= sum[i]
	}
}

// suspects reports whether the sum that a pair is in is not zero.
func (p *pairs) suspects(hash, code string) bool {
	return p[partOf(sha256.Sum256([]byte(hash+record.Separator+code)))] != [sha256.Size]byte{}
}

// addMembership adds what a membership says to the sums.
func (v *verifier) addMembership(rec *record.Record) {
	if m, ok := membershipOf(rec); ok && rec.PK == membershipsPK {
		v.inverse.add(m.hash, m.code)
		if m.isDefault {
			v.defaults.add(m.hash, m.code)
		}
	}
}

// addRow adds what a row of the system says to the sums.
func (v *verifier) addRow(row *record.Record) {
	if sums, hash, code := v.pairOf(row); sums != nil {
		sums.add(hash, code)
	}
}

// pairOf returns the pair that a row stands for, and its sums; nil for a row that stands for none.
func (v *verifier) pairOf(row *record.Record) (sums *pairs, hash, code string) {
	if hash, ok := strings.CutPrefix(row.PK, pkOf(memberOfWord, systemOwner)+record.Separator); ok {
		return &v.inverse, hash, row.SK
	}
	if code := defaultOf(row); row.PK == pkOf(defaultWord, systemOwner) && code != "" {
		return &v.defaults, row.SK, code
	}
	return nil, "", ""
}

// defaultOf returns the tenant that a row of defaults names, "" for none.
func defaultOf(row *record.Record) string {
	var value struct {
		TenantCode string `json:"tenantCode"`
	}
	if row.Attributes.Decode(&value) != nil {
		return ""
	}
	return value.TenantCode
}

// belongs verifies what stands beside a live membership.
func (v *verifier) belongs(ctx context.Context, c *recordCheck) error {
	m, ok := membershipOf(c.current)
	if !ok {
		return nil
	}
	c.checked[Members]++
	n := name{pkOf(memberOfWord, systemOwner, m.hash), m.code}
	row, err := v.get(ctx, driver.System, n.pk, n.sk, 0)
	switch {
	case err != nil:
		return err
	case row == nil:
		c.found(Members, n.ref(driver.System, 0), "the tenant is not among those of its member")
	case row.Version != c.current.Version:
		c.found(Members, n.ref(driver.System, 0), "the row is of version %d of the membership, its record has %d", row.Version, c.current.Version)
	case row.Attributes != nil && string(row.Attributes) != string(storage.CopyOf("", "", c.current).Value):
		c.found(Members, n.ref(driver.System, 0), "the row does not say what the membership's record says")
	}
	if !m.isDefault {
		return nil
	}
	n = name{pkOf(defaultWord, systemOwner), m.hash}
	row, err = v.get(ctx, driver.System, n.pk, n.sk, 0)
	if err == nil && row != nil && defaultOf(row) != m.code { // none is kept for memberships that only other services wrote
		c.found(Members, n.ref(driver.System, 0), "a membership of the user is the default, but the row does not name its tenant")
	}
	return err
}

// strangers verifies the rows that may stand for no membership.
func (v *verifier) strangers(ctx context.Context) error {
	for _, word := range []string{memberOfWord, defaultWord} {
		rows := v.of(name{pkOf(word, systemOwner), ""}, driver.System)
		for {
			row, err := rows.next(ctx)
			if err != nil {
				return err
			}
			if row == nil || !strings.HasPrefix(row.PK, pkOf(word, systemOwner)) {
				break
			}
			sums, hash, code := v.pairOf(row)
			if sums == nil || !sums.suspects(hash, code) {
				continue
			}
			t, err := v.settle(ctx, row, v.stranger)
			if err != nil {
				return err
			}
			v.total.add(t)
		}
	}
	return nil
}

// stranger verifies that a row stands for a membership.
func (v *verifier) stranger(ctx context.Context, c *rowCheck) error {
	sums, hash, code := v.pairOf(c.row)
	if sums == nil {
		return nil
	}
	live := false
	err := v.ofTenant(ctx, code, func(m membership) {
		live = live || m.hash == hash && (sums == &v.inverse || m.isDefault)
	})
	if err == nil && !live {
		c.wrong(Members, "the row stands for no membership")
	}
	return err
}

// memberRow verifies the form of a row beside memberships, and the count of a tenant's admins.
func (v *verifier) memberRow(ctx context.Context, c *rowCheck, word, owner string) error {
	c.checked[Members]++
	switch sums, _, _ := v.pairOf(c.row); {
	case word == memberOfWord && sums == nil:
		c.wrong(Members, "the row does not name a user")
		return nil
	case word != adminsWord: // strangers looks for its membership
		return nil
	}
	var value struct {
		Admins int `json:"admins"`
	}
	if err := c.row.Attributes.Decode(&value); err != nil || c.sk != "admins" {
		c.wrong(Members, "the row does not count admins")
		return nil
	}
	count := 0
	err := v.ofTenant(ctx, owner, func(m membership) {
		if m.admin {
			count++
		}
	})
	if err == nil && count != value.Admins {
		c.wrong(Members, "the row counts %d admins, the tenant has %d", value.Admins, count)
	}
	return err
}

// ofTenant calls each with the live memberships of a tenant.
func (v *verifier) ofTenant(ctx context.Context, code string, each func(membership)) error {
	pks := []string{membershipsPK}
	if pk, ok := older(membershipsPK); ok {
		pks = append(pks, pk)
	}
	prefix := code + record.Separator
	for _, pk := range pks {
		rows := v.of(name{pk, prefix}, driver.Data)
		for {
			rec, err := rows.next(ctx)
			if err != nil {
				return err
			}
			if rec == nil || rec.PK != pk || !strings.HasPrefix(rec.SK, prefix) {
				break
			}
			if m, ok := membershipOf(rec); ok {
				each(m)
			}
		}
	}
	return nil
}
