// Package route is how a module declares its HTTP operations: what they are called, who may call them, what they take and what
// they answer. A module lists its [Operation]s; package httpapi serves them, describes them in OpenAPI, and holds the order of checks.
//
// A handler never sees a request. It gets a [Call] that the guard has admitted, with the Scope that the guard issued.
package route

import (
	"bytes"
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Operation is one route. ID, Method, Path, Summary, Policy, Answers and Handle are required: a server with an operation that
// lacks one doesn't start.
type Operation struct {
	ID      string // camelCase, unique: "createTenant"
	Method  string
	Path    string // of net/http.ServeMux: "/api/data/{entityType}/{sk}"
	Tag     string // groups operations in the description
	Summary string // one sentence
	Policy  guard.Policy

	// PathTenant and PathPK name the path parameters that are a tenant code and a PK, and so mention a tenant.
	// The parameter tenantCode always does.
	PathTenant, PathPK string

	// Query are the parameters that the operation takes. Others are ignored, but those that mention a tenant.
	Query []Param

	// Body is a value of the body's type, from which its schema is made. Nil for an operation without a body; a DELETE
	// without one takes Mentions.
	Body any

	// MaxItems bounds a body that is a list. Defaults to no bound.
	MaxItems int

	// Bare lets a body be left out.
	Bare bool

	// Answers are the statuses of success, each with a value of the answer's type; nil for any object.
	Answers map[int]any

	// Errors are the codes that the operation answers with, beside those that every operation can.
	Errors []fault.Code

	// Versioned says that the operation takes If-Match and answers ETag and X-Tenantry-Position.
	Versioned bool

	// Follows says that the operation reads what follows commands, the read model: it takes X-Tenantry-Position, and waits until it has
	// everything up to there of the tenant that it reaches, or of all.
	Follows bool

	// Streams says that the operation, a GET, answers with server-sent events: its Answer has a Stream. The caller's rights are
	// checked again every second while it is open.
	Streams bool

	// Tables says that the operation, a GET, also answers with a table in a file, where Call.Table says so: its Answer has a Download.
	// It lists Format among its Query.
	Tables bool

	// Confidential says that the answer holds a secret, which is not kept in the clear anywhere.
	Confidential bool

	// Precheck decides, after the guard and before the body is read, what the policy can't say: whether what the
	// path names is there, and roles that depend on it. Nil for nothing more.
	Precheck func(*Call) error

	// Replay decides again, before an answer that was kept under an Idempotency-Key is given again, what Handle decides of the
	// caller's rights. Nil where Policy and Precheck say all.
	Replay func(context.Context, *Call) error

	Handle func(context.Context, *Call) (Answer, error)
}

// Param is a query parameter.
type Param struct {
	Name    string
	Summary string
	Kind    Kind
	Enum    []string // with Text: the values allowed; empty for any
	Min     int64    // with Integer
	Max     int64    // with Integer
}

// Format is the parameter that chooses between the answers of an operation with Tables.
func Format() Param {
	return Param{Name: "format", Summary: "json or csv; without it the header Accept decides", Enum: []string{"json", "csv"}}
}

// Kind is the form of a Param. The zero Kind is Text.
type Kind uint8

// The kinds of parameters.
const (
	Text    Kind = iota
	Integer      // decimal digits with an optional sign
	Boolean      // true or false
	Moment       // RFC 3339
)

// Check returns what is wrong with a value of p, "" for a good one.
func (p Param) Check(value string) string {
	switch p.Kind {
	case Integer:
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < p.Min || n > p.Max || strconv.FormatInt(n, 10) != value {
			return "is a whole number from " + strconv.FormatInt(p.Min, 10) + " to " + strconv.FormatInt(p.Max, 10)
		}
	case Boolean:
		if value != "true" && value != "false" {
			return "is true or false"
		}
	case Moment:
		if t, err := record.ParseTime(value); err != nil || t.IsZero() {
			return "is an RFC 3339 time, as 2006-01-02T15:04:05.000Z"
		}
	default:
		if len(p.Enum) > 0 && !slices.Contains(p.Enum, value) {
			return "is one of " + strings.Join(p.Enum, ", ")
		}
	}
	return ""
}

// Call is one admitted request. It belongs to its handler and is not for concurrent use.
type Call struct {
	Principal *auth.Principal
	Grant     guard.Grant

	request        *http.Request
	query          url.Values
	body           []byte
	idempotencyKey string
}

// NewCall returns the Call of a request with a query, before anybody has decided about it. It is for package httpapi.
func NewCall(r *http.Request, query url.Values) Call { return Call{request: r, query: query} }

// Receive adds the body and the Idempotency-Key, "" for none. It is for package httpapi.
func (c *Call) Receive(body []byte, idempotencyKey string) {
	c.body, c.idempotencyKey = body, idempotencyKey
}

// Keyed reports whether the request carries an Idempotency-Key.
func (c *Call) Keyed() bool { return c.idempotencyKey != "" }

// Scope returns the Scope of the tenant that the call reaches.
func (c *Call) Scope() scope.Scope { return c.Grant.Scope }

// Path returns a path parameter, decoded once.
func (c *Call) Path(name string) string { return c.request.PathValue(name) }

// Nameable reports whether a path can name text in a segment: . and .. are directions to whoever stands between, however they are
// written. What gets such a name could never be read, changed or removed by it.
func Nameable(text string) bool { return text != "." && text != ".." }

// URL returns the path of the request, escaped as it was sent.
func (c *Call) URL() string { return c.request.URL.EscapedPath() }

// Query returns a query parameter, "" where it was left out.
func (c *Call) Query(name string) string { return c.query.Get(name) }

// Flag returns a Boolean parameter, false where it was left out.
func (c *Call) Flag(name string) bool { return c.query.Get(name) == "true" }

// Int returns an Integer parameter, 0 where it was left out.
func (c *Call) Int(name string) int64 {
	n, _ := strconv.ParseInt(c.query.Get(name), 10, 64) // checked before the call
	return n
}

// Table reports whether the caller asks for a table in a file: by format=csv, or where that is left out by an Accept that names
// text/csv first.
func (c *Call) Table() bool {
	if format := c.query.Get("format"); format != "" {
		return format == "csv"
	}
	first, _, _ := strings.Cut(c.request.Header.Get("Accept"), ",")
	media, _, err := mime.ParseMediaType(first)
	return err == nil && media == "text/csv"
}

// LastEventID returns the ID of the last event that the caller saw, "" where it begins.
func (c *Call) LastEventID() string { return c.request.Header.Get("Last-Event-ID") }

// Body returns the body as it was sent.
func (c *Call) Body() []byte { return c.body }

// Decode reads the body, which was checked for duplicate members and against its schema, into v.
func (c *Call) Decode(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.body, v, json.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(true)); err != nil {
		return fault.Wrap(err, fault.ValidationFailed, "route.Decode", "the body does not have the form that the operation takes")
	}
	return nil
}

// Idempotent returns the option that makes a publish of this call happen once under the request's Idempotency-Key, none
// without one. Part tells the publishes of one call apart.
func (c *Call) Idempotent(part string) []command.Option {
	if c.idempotencyKey == "" {
		return nil
	}
	return []command.Option{command.WithReceipt(c.Receipt(part))}
}

// Changing returns the options of a change of one record: it happens once under an Idempotency-Key, and to the version that If-Match
// names. It fails as IfMatch does.
func (c *Call) Changing() ([]command.Option, error) {
	opts := c.Idempotent("")
	version, sent, err := c.IfMatch()
	if sent {
		opts = append(opts, command.AtVersion(version))
	}
	return opts, err
}

// Receipt returns the receipt under which the call's Idempotency-Key is kept.
func (c *Call) Receipt(part string) command.Receipt {
	owner := tenant.Common()
	if !c.Scope().Tenant().IsZero() {
		owner = c.Scope().Tenant()
	}
	r := c.request
	content := bytes.Join([][]byte{[]byte(r.URL.RawQuery), []byte(r.Header.Get("If-Match")), c.body}, []byte{0})
	return command.NewReceipt(owner, c.Scope().Born(), c.Grant.Actor(), r.Method+" "+r.URL.EscapedPath(), c.idempotencyKey, part, content)
}

// Version returns the version that the call names in its body (the raw member, empty for none), in the query or in If-Match. It
// fails with fault.InvalidRequest where required is set and none is named, where two differ, and for anything
// that isn't -1 or 0 to 2^53-1 in plain digits. Named is false where none is named; fromHeader says that only If-Match names it.
func (c *Call) Version(body jsontext.Value, required bool) (version int64, named, fromHeader bool, err error) {
	for _, text := range []string{string(body), c.query.Get("version")} {
		if text == "" {
			continue
		}
		n, err := ParseVersion(text)
		if err != nil {
			return 0, false, false, err
		}
		if named && n != version {
			return 0, false, false, versionsDiffer()
		}
		version, named = n, true
	}
	match, sent, err := c.IfMatch()
	switch {
	case err != nil:
		return 0, false, false, err
	case sent && named && match != version:
		return 0, false, false, versionsDiffer()
	case sent:
		version, fromHeader, named = match, !named, true
	}
	if required && !named {
		return 0, false, false, fault.New(fault.InvalidRequest, "route.Version", "the version that is to change is missing: send version (-1 for whatever is current) or If-Match")
	}
	return version, named, fromHeader, nil
}

// IfMatch returns the version that If-Match names, sent false where there is none. It fails with fault.InvalidRequest for what is no
// ETag of a record.
func (c *Call) IfMatch() (version int64, sent bool, err error) {
	match := c.request.Header["If-Match"]
	if len(match) == 0 {
		return 0, false, nil
	}
	text, ok := strings.CutPrefix(match[0], `"`)
	text, closed := strings.CutSuffix(text, `"`)
	n, err := ParseVersion(text)
	if err != nil || n < 1 || !ok || !closed {
		return 0, false, fault.New(fault.InvalidRequest, "route.Version", `If-Match is the ETag of a record, as "7"`)
	}
	return n, true, nil
}

func versionsDiffer() error {
	return fault.New(fault.InvalidRequest, "route.Version", "version and If-Match differ; send one of them")
}

const maxVersion = 1<<53 - 1

// ParseVersion returns the version that text spells: -1, or 0 to 2^53-1 in plain digits. It fails with fault.InvalidRequest.
func ParseVersion(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < record.VersionLatest || n > maxVersion || strconv.FormatInt(n, 10) != text {
		return 0, fault.New(fault.InvalidRequest, "route.ParseVersion", "version is -1 or 0 to 9007199254740991 in plain digits")
	}
	return n, nil
}

// Precondition makes a version conflict of a version that only If-Match named the 412 that RFC 9110 asks for.
func Precondition(err error, fromHeader bool) error {
	e := fault.As(err)
	if !fromHeader || e == nil || e.Code != fault.VersionConflict {
		return err
	}
	failed := *e
	failed.Status = http.StatusPreconditionFailed
	return &failed
}

// Answer is what a handler answers.
type Answer struct {
	Status   int
	JSON     []byte          // the body
	Version  int64           // of the record answered, for ETag; 0 for none
	Position driver.Position // of the command, for X-Tenantry-Position; "" for none
	Location string
	Stream   Stream    // in place of JSON
	Download *Download // in place of JSON
}

// Download is an answer that is saved as a file, and is sent while it is made.
type Download struct {
	Type  string // media type
	Name  string // of the file
	Write func(io.Writer) error
}

// Stream is an answer that comes in pieces. Next waits for the next one: whole events, as they stand on the wire. It
// returns the context's error where that ends first, and may be called again then; any other error ends the stream, and is its last
// event, but for io.EOF, which ends it without one. Close is called once, after the last Next.
type Stream interface {
	Next(context.Context) ([]byte, error)
	Close()
}

// JSON returns the Answer that v marshals to.
func JSON(status int, v any) (Answer, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return Answer{}, fault.Wrap(err, fault.Internal, "route.JSON", "the answer can't be written as JSON")
	}
	return Answer{Status: status, JSON: text}, nil
}

// List returns the answer of a list: {items, cursor?}.
func List(recs []*record.Record, cursor string) Answer {
	dst := make([]byte, 0, 64+768*len(recs))
	dst = append(dst, `{"items":[`...)
	for i, r := range recs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = record.AppendJSON(dst, r, record.Data)
	}
	dst = append(dst, ']')
	if cursor != "" {
		dst = append(append(append(dst, `,"cursor":"`...), cursor...), '"')
	}
	return Answer{Status: http.StatusOK, JSON: append(dst, '}')}
}

// Record returns the answer of a read.
func Record(r *record.Record) Answer {
	return Answer{Status: http.StatusOK, JSON: record.AppendJSON(make([]byte, 0, 1024), r, record.Data), Version: r.Version}
}

// Changed returns the answer of a publish: the record, with changed.
func Changed(status int, res command.Result) Answer {
	return Answer{Status: status, Version: res.Record.Version, Position: res.Position,
		JSON: record.AppendJSON(make([]byte, 0, 1024), res.Record, record.Data, `"changed":`+strconv.FormatBool(res.Changed))}
}

// Command returns the answer of an operation that answers with its command. One that changed nothing answers 200 with
// the current record and changed false.
func Command(status int, res command.Result) Answer {
	if !res.Changed {
		return Changed(http.StatusOK, res)
	}
	return Answer{Status: status, Version: res.Command.Version, Position: res.Position,
		JSON: record.AppendJSON(make([]byte, 0, 1024), res.Command, record.Command)}
}
