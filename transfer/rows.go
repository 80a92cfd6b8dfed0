package transfer

import (
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// rule says what becomes of the system's rows of one word.
type rule uint8

const (
	unknown rule = iota // the copy fails: nobody decided
	travels             // the row is copied
	placed              // the row is made anew, with positions of the target's feed
	stays               // the row is of the store, of its processes, or may be lost
)

// rules are those of every word; see docs/adr/0013-moving-a-store.md. A word that is missing fails a test, and every copy.
var rules = map[string]rule{
	"TENANTS":        travels,
	"PARTITIONS":     travels,
	"CODE":           travels,
	"RECEIPT":        travels,
	"MEMBER_OF":      travels,
	"DEFAULT_TENANT": travels,
	"ADMINS":         travels,
	"JOB":            travels, // what runs in the pause runs again on the target, whose workers don't know who claimed it
	"JOBS":           travels,
	"DELIVERY":       travels,

	"SYNC":        travels,
	"SYNC_TARGET": travels,
	"SYNC_PAGE":   travels,
	"SYNC_RULE":   travels,

	"CHECKPOINT": placed,
	"PARKED":     placed,

	"ANSWER":          stays, // the receipt keeps the effect from happening twice
	"REFRESH":         stays, // sessions, whose tokens the source's keys signed: users switch again
	"SECRET":          stays, // keys, sealed under the source's master key
	"LEASE":           stays,
	"WORKER":          stays,
	"SYNC_FENCE":      stays, // against processes on the source
	"SYNC_FEED":       stays, // where rules are in the source's feed: without it they begin with a sync
	"EPOCH":           stays, // older versions wrote it
	copyWord:          stays,
	storage.PauseWord: stays,
}

// selection is what is copied: all, or what is one tenant's.
type selection struct{ tenant string }

func (s selection) whole() bool { return s.tenant == "" }

// takes returns the tenant that a row is about, and whether the row is copied. It fails for a word without a rule.
func (s selection) takes(c driver.Collection, row *record.Record) (owner string, ok bool, err error) {
	owner = storage.Owner(driver.RefOf(c, row))
	if c != driver.System {
		return owner, s.whole() || owner == s.tenant, nil
	}
	word, _, _ := strings.Cut(row.PK, record.Separator)
	switch rules[word] {
	case travels:
	case unknown:
		return "", false, fault.New(fault.InvalidRequest, "transfer.Copy", "the store keeps rows of %q, which this version of Tenantry can't copy; use the version that wrote them", word)
	default:
		return "", false, nil
	}
	if s.whole() {
		return owner, true, nil
	}
	switch word {
	case "DEFAULT_TENANT":
		var v struct {
			TenantCode string `json:"tenantCode"`
		}
		if err := row.Attributes.Decode(&v); err != nil {
			return "", false, err
		}
		owner = v.TenantCode
	case "RECEIPT":
		var v struct {
			PK string `json:"pk"`
			SK string `json:"sk"`
		}
		if err := row.Attributes.Decode(&v); err != nil {
			return "", false, err
		}
		if storage.Owner(driver.Ref{PK: v.PK, SK: v.SK}) != s.tenant {
			return owner, false, nil // the command is not copied
		}
	}
	return owner, owner == s.tenant, nil
}

// parked reports whether what a handler set aside is of what is copied.
func (s selection) parked(row storage.Row) (bool, error) {
	var v struct {
		PK string `json:"pk"`
		SK string `json:"sk"`
	}
	err := row.Value.Decode(&v)
	return s.whole() || storage.Owner(driver.Ref{PK: v.PK, SK: v.SK}) == s.tenant, err
}

// same reports whether two rows of one key say the same.
func same(a, b *record.Record) bool {
	return a.Version == b.Version && string(record.AppendDoc(nil, a)) == string(record.AppendDoc(nil, b))
}
