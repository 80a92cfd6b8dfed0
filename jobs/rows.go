package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// A tenant's jobs of one kind stand in its own partition, under sort keys that begin with the kind, in this order:
//
//	kind#claims       which jobs were running when one last began; each claim changes it, so that claims come one after the other
//	kind#due#ULID     a job that waits or runs, by when it is due
//	kind#kept#ULID    a job that is dead or was dropped, by its ID
//	kind#moved#ULID   where the job of this ID waits, once it failed; before that it waits under its ID
//	kind#unique#HASH  the job that waits under this Order.Unique
//
// The directory says, in the common tenant, that a tenant has jobs of a kind: tenant#kind, with a version that chance draws whenever a job
// begins to wait. So whoever found nothing there removes it under the condition that nothing came since.
const (
	claims = "claims"
	due    = "due"
	kept   = "kept"
	moved  = "moved"
	unique = "unique"

	common = "common" // owner of the directory and of the workers
)

// value is what a row holds of a job.
type value struct {
	ID        string         `json:"id"`
	Tenant    string         `json:"tenant"` // in which it was ordered: a row that came into another's partition is not run
	Payload   jsontext.Value `json:"payload,omitempty"`
	Unique    string         `json:"unique,omitempty"`
	Attempts  int            `json:"attempts,omitempty"`
	Created   int64          `json:"created"`          // Unix milliseconds
	Born      int64          `json:"born,omitempty"`   // of the tenant that it was ordered for; 0 where that was not known
	Worker    string         `json:"worker,omitempty"` // who runs it, "" while it waits
	State     State          `json:"state,omitempty"`  // of one that is kept
	Reason    string         `json:"reason,omitempty"`
	Shown     bool           `json:"shown,omitempty"`
	Issuer    string         `json:"issuer,omitempty"`
	UserID    string         `json:"userId"`
	UserCode  string         `json:"userCode,omitempty"`
	ActIssuer string         `json:"actIssuer,omitempty"`
	ActUserID string         `json:"actUserId,omitempty"`
	RequestID string         `json:"requestId,omitempty"`
	SourceIP  string         `json:"sourceIp,omitempty"`
}

// entry is a job with the row that it stands in.
type entry struct {
	value
	kind   string
	owner  tenant.Code
	row    storage.Row // of due or of kept
	unread bool        // the row has a form that this version doesn't know: of the value there is what finds the job
	holder *worker     // of one that this process has claimed
}

// unknownForm is why a job whose row can't be read is dead. The row is kept as it is.
const unknownForm = "its row has a form that a server on this store did not know: another version of Tenantry wrote it; have it tried again by that version"

func entryOf(kind string, owner tenant.Code, row storage.Row) *entry {
	e := &entry{kind: kind, owner: owner, row: row}
	if e.unread = row.Value.Decode(&e.value) != nil; e.unread {
		e.salvage()
	}
	if e.State == "" && strings.HasPrefix(row.SK, key(kind, kept, "")) {
		e.State, e.Reason, e.Shown = Dead, unknownForm, true
	}
	return e
}

// salvage takes from a row of an unknown form what is there of all that finds the job, and of who runs it.
func (e *entry) salvage() {
	e.value = value{Tenant: e.owner.String()}
	for name, into := range map[string]any{"id": &e.ID, "tenant": &e.Tenant, "born": &e.Born, "unique": &e.Unique, "worker": &e.Worker, "created": &e.Created, "userId": &e.UserID} {
		json.Unmarshal(e.row.Value.Member(name), into) // what is of another form stays as it was
	}
	if _, err := ulid.ParseStrict(e.ID); err != nil {
		e.ID = e.place()
	}
}

// own reports whether the job stands in the partition of the tenant in which it was ordered.
func (e *entry) own() bool { return e.Tenant == e.owner.String() }

func key(kind, part string, rest ...string) string {
	return strings.Join(append([]string{kind, part}, rest...), record.Separator)
}

// place returns the last segment of the row's sort key: when the job is due, or its ID.
func (e *entry) place() string { return e.row.SK[strings.LastIndexByte(e.row.SK, '#')+1:] }

func timeOf(place string) time.Time {
	id, err := ulid.ParseStrict(place)
	if err != nil {
		return time.Time{} // nobody knows, and so it is due
	}
	return ulid.Time(id.Time())
}

// with returns the entry's row with what the entry says now; one that can't be read stays as it is.
func (e *entry) with() (storage.Row, error) {
	if e.unread {
		return e.row, nil
	}
	text, err := record.EncodeAttributes(e.value)
	row := e.row
	row.Value = text
	return row, err
}

func (e *entry) at(part, rest string) storage.Row {
	return storage.Row{Owner: e.owner.String(), SK: key(e.kind, part, rest)}
}

func (e *entry) uniqueRow() storage.Row {
	sum := sha256.Sum256([]byte(e.Unique))
	row := e.at(unique, hex.EncodeToString(sum[:]))
	row.Value, _ = record.EncodeAttributes(map[string]string{"id": e.ID})
	return row
}

// newPlace returns a place for a job that is due at a time: later than all that this process gave for the same millisecond.
func (q *Queue) newPlace(at time.Time) (string, error) {
	id, err := ulid.New(ulid.Timestamp(at), q.entropy)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "jobs", "there is no identifier left for a job in this millisecond; try again")
	}
	return id.String(), nil
}

// noted returns the write that says that a tenant has jobs of a kind.
func (q *Queue) noted(owner tenant.Code, kind string) storage.SystemWrite {
	row := directoryRow(owner, kind)
	row.Version = 1 + rand.Int64N(1<<53-1)
	return q.cfg.Directory.Set(row)
}

func directoryRow(owner tenant.Code, kind string) storage.Row {
	return storage.Row{Owner: common, SK: owner.String() + record.Separator + kind}
}

// job returns what callers see of the entry.
func (e *entry) job() Job {
	j := Job{ID: e.kind + idSeparator + e.ID, Kind: e.kind, State: e.State, Payload: record.Attributes(e.Payload), Unique: e.Unique, Attempts: e.Attempts,
		Due: timeOf(e.place()), CreatedAt: time.UnixMilli(e.Created).UTC(), CreatedBy: e.UserID, RequestID: e.RequestID, Reason: e.Reason, Shown: e.Shown}
	switch {
	case e.State != "":
	case e.Worker != "":
		j.State = Running
	default:
		j.State = Waiting
	}
	return j
}

const idSeparator = "."

// scope returns the Scope of the job's tenant for whoever ordered it.
func (e *entry) scope() scope.Scope {
	var born time.Time
	if e.Born != 0 {
		born = time.Unix(e.Born, 0)
	}
	return scope.New(e.owner, scope.Full, born, &scope.Actor{Issuer: e.Issuer, UserID: e.UserID, UserCode: e.UserCode, Role: "system",
		RequestID: e.RequestID, SourceIP: e.SourceIP, Source: "job " + e.kind, ActIssuer: e.ActIssuer, ActUserID: e.ActUserID})
}
