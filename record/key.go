package record

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/tenant"
)

// Separator divides the segments of a PK, and a PK from an SK in an ID.
const Separator = "#"

// Limits of keys.
const (
	MaxSortKey  = 512 // bytes
	maxSegments = 3   // after the tenant
	maxSegment  = 64  // bytes
)

// Partition is a PK of one tenant: ENTITY#tenant, and for time-partitioned entities further segments.
// It is made from a Scope only, so that there is no Partition of a tenant that its maker may not touch.
type Partition struct {
	text   string
	entity EntityType
	tenant tenant.Code
}

// Key names one record: a Partition and a sort key.
type Key struct {
	Partition
	sk string
}

// NewPartition returns the partition of sc's tenant for an entity type. Segments, at most 3 of
// [A-Za-z0-9_-]{1,64}, follow the tenant. It fails with fault.TenantRequired and fault.InvalidKey.
func NewPartition(sc scope.Scope, t EntityType, segments ...string) (Partition, error) {
	if err := sc.Check(); err != nil {
		return Partition{}, err
	}
	if t.IsZero() {
		return Partition{}, invalidKey("the entity type is missing")
	}
	text := t.text + Separator + sc.Tenant().String()
	if len(segments) > maxSegments {
		return Partition{}, invalidKey("the partition has more than 3 segments after the tenant")
	}
	for _, s := range segments {
		if !validSegment(s) {
			return Partition{}, invalidKey("a partition segment is not 1 to 64 of A-Z, a-z, 0-9, _ and -")
		}
		text += Separator + s
	}
	return Partition{text: text, entity: t, tenant: sc.Tenant()}, nil
}

// NewKey returns the key of a record in the plain partition ENTITY#tenant. It fails as NewPartition and Partition.Key do.
func NewKey(sc scope.Scope, t EntityType, sk string) (Key, error) {
	p, err := NewPartition(sc, t)
	if err != nil {
		return Key{}, err
	}
	return p.Key(sk)
}

// ParseKey returns the key that pk and sk spell, where its tenant is sc's; the tenant segment may be in any case.
// It fails with fault.InvalidKey for a malformed key and fault.TenantForbidden for another tenant's.
func ParseKey(sc scope.Scope, pk, sk string) (Key, error) {
	entity, code, rest, err := SplitPK(pk)
	if err != nil {
		return Key{}, err
	}
	if err := sc.Check(); err != nil {
		return Key{}, err
	}
	if code != sc.Tenant() {
		return Key{}, fault.New(fault.TenantForbidden, "record.ParseKey", "the key names a tenant that is not in scope")
	}
	var segments []string
	if rest != "" {
		segments = strings.Split(rest, Separator)
	}
	p, err := NewPartition(sc, entity, segments...)
	if err != nil {
		return Key{}, err
	}
	return p.Key(sk)
}

// SplitPK divides a PK into its entity type, its tenant (always the second segment) and what follows, without
// giving access to anything: the guard reads the tenants that a request mentions with it. It fails with fault.InvalidKey.
func SplitPK(pk string) (EntityType, tenant.Code, string, error) {
	head, tail, found := strings.Cut(pk, Separator)
	if !found {
		return EntityType{}, tenant.Code{}, "", invalidKey("the pk is not ENTITY#tenant")
	}
	entity, err := ParseEntityType(head)
	if err != nil {
		return EntityType{}, tenant.Code{}, "", err
	}
	text, rest, more := strings.Cut(tail, Separator)
	code, err := tenant.Parse(text)
	if err != nil {
		return EntityType{}, tenant.Code{}, "", err
	}
	if more {
		segments := strings.Split(rest, Separator)
		if len(segments) > maxSegments {
			return EntityType{}, tenant.Code{}, "", invalidKey("the pk has more than 3 segments after the tenant")
		}
		for _, s := range segments {
			if !validSegment(s) {
				return EntityType{}, tenant.Code{}, "", invalidKey("a segment of the pk is not 1 to 64 of A-Z, a-z, 0-9, _ and -")
			}
		}
	}
	return entity, code, rest, nil
}

// TenantOfID returns the tenant that an ID, PK#SK, names. It fails with fault.InvalidKey.
func TenantOfID(id string) (tenant.Code, error) {
	head, rest, _ := strings.Cut(id, Separator)
	text, sk, found := strings.Cut(rest, Separator)
	if !found || sk == "" {
		return tenant.Code{}, invalidKey("the id is not ENTITY#tenant#sk")
	}
	_, code, _, err := SplitPK(id[:len(head)+len(Separator)+len(text)])
	return code, err
}

func validSegment(s string) bool {
	if len(s) < 1 || len(s) > maxSegment {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// Key returns the key of the record with the sort key sk in p. It fails with fault.InvalidKey.
func (p Partition) Key(sk string) (Key, error) {
	if p.text == "" {
		return Key{}, invalidKey("the partition is missing")
	}
	if err := CheckSortKey(sk); err != nil {
		return Key{}, err
	}
	return Key{Partition: p, sk: sk}, nil
}

// CheckSortKey returns fault.InvalidKey unless sk is a sort key: 1 to 512 bytes of printable UTF-8
// that do not end in @ and digits, which is what a version looks like.
func CheckSortKey(sk string) error {
	if err := CheckText(sk, MaxSortKey); err != nil {
		return invalidKey("the sort key " + err.Error())
	}
	digits := len(sk)
	for digits > 0 && sk[digits-1] >= '0' && sk[digits-1] <= '9' {
		digits--
	}
	if digits < len(sk) && digits > 0 && sk[digits-1] == '@' {
		return invalidKey("the sort key ends in @ and digits, which is what a version looks like")
	}
	return nil
}

type textError string

func (e textError) Error() string { return string(e) }

// CheckText returns an error that says what keeps s from being 1 to limit bytes of printable UTF-8: letters,
// marks, numbers, punctuation, symbols, the ASCII space, and the joiner that emoji are composed with.
func CheckText(s string, limit int) error {
	switch {
	case s == "":
		return textError("is empty")
	case len(s) > limit:
		return textError("is longer than " + strconv.Itoa(limit) + " bytes")
	case !utf8.ValidString(s):
		return textError("is not valid UTF-8")
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf {
			return checkRunes(s[i:])
		} else if c < 0x20 || c == 0x7f {
			return textError("has a character that can't be printed")
		}
	}
	return nil
}

func checkRunes(s string) error {
	const joiner = '\u200d'
	for _, r := range s {
		if !unicode.IsPrint(r) && r != joiner {
			return textError("has a character that can't be printed")
		}
	}
	return nil
}

// PK returns the partition key, "PRODUCT#acme".
func (p Partition) PK() string { return p.text }

// Type returns the entity type.
func (p Partition) Type() EntityType { return p.entity }

// Tenant returns the tenant.
func (p Partition) Tenant() tenant.Code { return p.tenant }

// Segments returns what follows the tenant in the PK, "" for a plain partition.
func (p Partition) Segments() string {
	plain := len(p.entity.text) + 1 + len(p.tenant.String())
	if len(p.text) <= plain {
		return ""
	}
	return p.text[plain+1:]
}

// SK returns the sort key, without a version.
func (k Key) SK() string { return k.sk }

// ID returns PK#SK, the record's name in the whole system.
func (k Key) ID() string { return k.text + Separator + k.sk }

// VersionedSK returns the sort key of a command or history row, "sk@7".
func VersionedSK(sk string, version int64) string {
	return sk + "@" + strconv.FormatInt(version, 10)
}

func invalidKey(msg string) error { return fault.New(fault.InvalidKey, "record", "%s", msg) }
