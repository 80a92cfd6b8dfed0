package integrity

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Kind is a rule that Verify checks. In JSON it is its name.
type Kind uint8

// The rules, in the order in which a Report lists them.
const (
	Keys Kind = iota
	Log
	State
	Interrupted
	History
	Attributes
	Times
	Tenant
	Directory
	Codes
	Partitions
	Receipts
	Checkpoints
	Members
	Jobs
	Feed
)

// rules say of each Kind what it is called, what its check counts, what holds, and what to do where it doesn't.
var rules = [...]struct{ name, unit, holds, do string }{
	Keys: {"keys", "names", "every key is well-formed",
		"no request can name the row: copy what it says to a record with a well-formed key, and remove it with the store's own tools"},
	Log: {"log", "commands", "the commands of a record run from 1 without a gap",
		"the log is incomplete: restore the store, or this record, from a backup that holds these versions"},
	State: {"state", "records", "the data row says what the newest finished command says",
		"the log is right where the two differ: publish again what its last command says, or restore the record from a backup"},
	Interrupted: {"interrupted", "commands", "every command has become the state of its record",
		"a service died between its writes, or is still at work: verify again, then finish the command or discard it"},
	History: {"history", "states", "history holds every version below the current one, once, as its command says",
		"the past of the record reads wrongly, its present is right: restore these versions from a backup"},
	Attributes: {"attributes", "commands", "attributes and metadata are canonical JSON",
		"another program wrote the row: publish the record again through Tenantry"},
	Times: {"times", "commands", "the times of a record do not decrease from version to version",
		"reading at a time may answer a wrong version: check the clocks of the machines that write"},
	Tenant: {"tenant", "commands", "tenantCode is the tenant of the pk",
		"another program wrote the row: publish the record again through Tenantry"},
	Directory: {"directory", "tenants", "the directory of tenants says what their records say",
		"run tenantry tenant adopt, which writes it anew from the records; a row without a record is removed with the store's own tools"},
	Codes: {"codes", "codes", "a unique code is held by the one live record that has it",
		"give the record another code and then this one again; of two records with one code change one"},
	Partitions: {"partitions", "partitions", "the partitions of every tenant are noted",
		"start the servers anew and create any record in the partition: it is noted with it"},
	Receipts: {"receipts", "receipts", "a receipt names a command that is in the log",
		"repeating that request fails until the receipt ends, 24 hours after it was made: send it with a new idempotency key"},
	Checkpoints: {"checkpoints", "rows", "checkpoints and parked records are well-formed",
		"the handler can't begin: remove the row with the store's own tools; the handler then begins with the first command"},
	Members: {"members", "rows", "a user's tenants and default, and a tenant's count of admins, are what the memberships say",
		"give the member another role and then this one again, which writes its rows anew; a row that stands for no membership, or counts wrongly, is removed with the store's own tools"},
	Jobs: {"jobs", "rows", "jobs and deliveries are of the tenant in whose partition they stand, and are found there",
		"a job that was put elsewhere is not run, one that is not found waits: order the work anew, and remove the row with the store's own tools"},
	Feed: {"feed", "commands", "the change feed holds every command once, those of a record in version order",
		"read models may be wrong: rebuild them from the log"},
}

// String returns the kind's name, "state".
func (k Kind) String() string { return rules[k].name }

// MarshalText returns the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Report is what Verify found.
type Report struct {
	Store            string    `json:"store"`            // the engine's name
	Checks           []Check   `json:"checks"`           // every rule, in one order
	Problems         []Problem `json:"problems"`         // at most Options.Limit
	ProblemCount     int64     `json:"problemCount"`     // all of them
	Unreachable      []string  `json:"unreachable"`      // partition keys that no Scope can name, at most Options.Limit; older services wrote them, they are not problems
	UnreachableCount int64     `json:"unreachableCount"` // all of them
	Unfinished       bool      `json:"unfinished"`       // the store could not be read to its end
	Unsettled        int64     `json:"unsettled"`        // records and feed entries that changed too often to be verified
}

// Check is one rule and how often it was checked.
type Check struct {
	Kind     Kind   `json:"kind"`
	Holds    string `json:"holds"`   // the rule in words
	Checked  int64  `json:"checked"` // how many of Unit were looked at
	Unit     string `json:"unit"`
	Problems int64  `json:"problems"`
}

// Problem is one row that breaks a rule, or that is missing.
type Problem struct {
	Kind       Kind   `json:"kind"`
	ID         string `json:"id"`         // PK#SK, with @version for a command or a replaced state
	Collection string `json:"collection"` // "data", "command", "history", "system"
	PK         string `json:"pk"`
	SK         string `json:"sk"`
	Version    int64  `json:"version,omitempty"` // with the collections command and history
	Problem    string `json:"problem"`           // what is wrong; fields are named, never shown
	Do         string `json:"do"`
}

// Ref returns the command that an Interrupted problem names, as Finish and Discard take it.
func (p Problem) Ref() driver.Ref {
	return driver.Ref{Collection: driver.Command, PK: p.PK, SK: p.SK, Version: p.Version}
}

// Clean reports whether all was read and no problem was found. Unreachable partitions are none.
func (r Report) Clean() bool { return r.ProblemCount == 0 && !r.Unfinished }

// String returns the report for a reader, with a line for each rule and two for each problem listed.
func (r Report) String() string {
	var b strings.Builder
	for _, c := range r.Checks {
		verdict := "ok"
		switch {
		case c.Problems > 0:
			verdict = "FAIL"
		case r.Unfinished:
			verdict = "part"
		}
		fmt.Fprintf(&b, "%-4s  %-11s  %9d %-10s  %s\n", verdict, c.Kind, c.Checked, c.Unit, c.Holds)
	}
	if r.Unsettled > 0 {
		fmt.Fprintf(&b, "\n%d changed while they were verified; verify a quiet store, or a backup, to be sure of them\n", r.Unsettled)
	}
	if r.UnreachableCount > 0 {
		fmt.Fprintf(&b, "\n%d partitions have keys that no tenant's scope can name; other services read them:\n", r.UnreachableCount)
		for _, pk := range r.Unreachable {
			fmt.Fprintf(&b, "  %s\n", printable(pk))
		}
		b.WriteString(more(r.UnreachableCount, len(r.Unreachable)))
	}
	if r.Unfinished {
		fmt.Fprintf(&b, "\nthe %s store could not be read to its end, so nothing is said of the rest\n", r.Store)
	}
	if r.ProblemCount == 0 && r.Unfinished {
		return b.String()
	}
	if r.Clean() {
		fmt.Fprintf(&b, "\nthe %s store is sound\n", r.Store)
		return b.String()
	}
	fmt.Fprintf(&b, "\nthe %s store has %d problems:\n", r.Store, r.ProblemCount)
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "  %s: %s (%s): %s\n      %s\n", p.Kind, printable(p.ID), p.Collection, p.Problem, p.Do)
	}
	b.WriteString(more(r.ProblemCount, len(r.Problems)))
	return b.String()
}

func more(count int64, listed int) string {
	if count <= int64(listed) {
		return ""
	}
	return fmt.Sprintf("  and %d more\n", count-int64(listed))
}

// printable returns s, quoted where a terminal might do something else than show it.
func printable(s string) string {
	if record.CheckText(s, len(s)) != nil {
		return strconv.QuoteToASCII(s)
	}
	return s
}

// tally counts what was checked and found, and keeps the first problems.
type tally struct {
	limit    int
	checked  [len(rules)]int64
	wrong    [len(rules)]int64
	problems []Problem
}

func (t *tally) found(k Kind, ref driver.Ref, format string, args ...any) {
	t.wrong[k]++
	if len(t.problems) == t.limit {
		return
	}
	p := Problem{Kind: k, Collection: ref.Collection.String(), PK: ref.PK, SK: ref.SK, ID: ref.PK + record.Separator + ref.SK,
		Problem: fmt.Sprintf(format, args...), Do: rules[k].do}
	if ref.Collection == driver.Command || ref.Collection == driver.History {
		p.Version, p.ID = ref.Version, ref.PK+record.Separator+record.VersionedSK(ref.SK, ref.Version)
	}
	t.problems = append(t.problems, p)
}

// sound reports whether nothing was found.
func (t *tally) sound() bool { return t.wrong == [len(rules)]int64{} }

func (t *tally) add(other tally) {
	for k := range rules {
		t.checked[k] += other.checked[k]
		t.wrong[k] += other.wrong[k]
	}
	room := min(t.limit-len(t.problems), len(other.problems))
	t.problems = append(t.problems, other.problems[:room]...)
}

func (t *tally) report() Report {
	r := Report{Problems: append([]Problem{}, t.problems...)}
	for k, rule := range rules {
		r.Checks = append(r.Checks, Check{Kind: Kind(k), Holds: rule.holds, Checked: t.checked[k], Unit: rule.unit, Problems: t.wrong[k]})
		r.ProblemCount += t.wrong[k]
	}
	return r
}
