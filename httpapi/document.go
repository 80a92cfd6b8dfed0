package httpapi

import (
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
)

// document is the description of the API, and the schemas that bodies are checked against: one source for both.
type document struct {
	json, yaml func() ([]byte, error) // written when they are first asked for: it takes longer than all else that New does
	bodies     map[string]*schema     // by operation ID; nil where there is no body
}

// describe makes the description of ops.
func describe(ops []route.Operation, app *tenantry.App) *document {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	registry.RegisterTypeAlias(reflect.TypeFor[record.Time](), reflect.TypeFor[string]())
	registry.RegisterTypeAlias(reflect.TypeFor[jsontext.Value](), reflect.TypeFor[any]())
	d := &document{bodies: map[string]*schema{}}
	api := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "Tenantry", Version: app.Version(), Description: "Records of many tenants, kept apart. Every operation needs a bearer token; " +
			"the tenant comes from the token, and every tenant that a request names must be one that the caller may use."},
		Paths: map[string]*huma.PathItem{},
		Components: &huma.Components{Schemas: registry, SecuritySchemes: map[string]*huma.SecurityScheme{
			"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"}}},
	}
	problem := registry.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, op := range ops {
		described := &huma.Operation{OperationID: op.ID, Method: op.Method, Path: op.Path, Summary: op.Summary, Tags: []string{op.Tag},
			Security: []map[string][]string{{"bearer": {}}}, Parameters: parameters(op), Responses: responses(registry, op, problem),
			Extensions: map[string]any{"x-tenantry-policy": policyText(op.Policy)}}
		if op.Policy.Reach == guard.Anyone {
			described.Security = []map[string][]string{}
		}
		if body := bodyType(op); body != nil {
			s := &schema{registry: registry, schema: registry.Schema(reflect.TypeOf(body), true, op.ID+"Body"), optional: op.Bare || op.Body == nil}
			if op.MaxItems > 0 {
				s.schema.MaxItems = &op.MaxItems
			}
			s.free = freeMembers(registry, s.schema)
			d.bodies[op.ID] = s
			described.RequestBody = &huma.RequestBody{Required: !s.optional, Content: map[string]*huma.MediaType{"application/json": {Schema: s.schema}}}
		}
		api.AddOperation(described)
	}
	for _, s := range registry.Map() {
		requireLists(s)
		s.PrecomputeMessages()
	}
	for _, s := range d.bodies {
		requireLists(s.schema)
		s.schema.PrecomputeMessages()
	}
	d.json, d.yaml = sync.OnceValues(api.MarshalJSON), sync.OnceValues(api.YAML)
	return d
}

// bodyType returns a value of the type of an operation's body, nil where it takes none.
func bodyType(op route.Operation) any {
	if op.Body == nil && op.Method != http.MethodGet {
		return route.Mentions{}
	}
	return op.Body
}

func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	pkg := t.PkgPath()
	if i := strings.LastIndexByte(pkg, '/'); i >= 0 && t.Name() != "" {
		if short := pkg[i+1:]; short != "route" && short != "httpapi" {
			return strings.ToUpper(short[:1]) + short[1:] + name
		}
	}
	return name
}

func parameters(op route.Operation) []*huma.Param {
	var out []*huma.Param
	for rest := op.Path; ; {
		_, after, found := strings.Cut(rest, "{")
		if !found {
			break
		}
		name, tail, _ := strings.Cut(after, "}")
		out = append(out, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		rest = tail
	}
	for _, p := range op.Query {
		s := &huma.Schema{Type: huma.TypeString}
		switch p.Kind {
		case route.Integer:
			low, high := float64(p.Min), float64(p.Max)
			s = &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: &low, Maximum: &high}
		case route.Boolean:
			s = &huma.Schema{Type: huma.TypeBoolean}
		case route.Moment:
			s.Format = "date-time"
		default:
			for _, v := range p.Enum {
				s.Enum = append(s.Enum, v)
			}
		}
		out = append(out, &huma.Param{Name: p.Name, In: "query", Description: p.Summary, Schema: s})
	}
	header := func(name, summary string) {
		out = append(out, &huma.Param{Name: name, In: "header", Description: summary, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	header("x-tenant-code", "the acting tenant, for callers whose token has none and for cross-tenant roles")
	if op.Method != http.MethodGet {
		header("Idempotency-Key", "1 to 255 printable ASCII characters; the operation happens once under it")
	}
	if op.Follows {
		header(positionHeader, "the position of an earlier answer: this one has everything up to it, or is 503 behind")
	}
	if op.Streams {
		header("Last-Event-ID", "the ID of the last event that was seen: the stream goes on behind it")
	}
	if op.Versioned && (op.Method == http.MethodPut || op.Method == http.MethodPatch || op.Method == http.MethodDelete) {
		header("If-Match", `the ETag of the version that is to change, as "7"`)
	}
	return out
}

func answerType(op route.Operation) string {
	if op.Streams {
		return eventsType[0]
	}
	return jsonType[0]
}

// always are the codes that every operation answers with.
var always = []fault.Code{fault.InvalidRequest, fault.InvalidKey, fault.TenantConflict, fault.Unauthenticated, fault.TokenExpired, fault.TenantForbidden, fault.NotFound, fault.MethodNotAllowed, fault.Timeout,
	fault.ValidationFailed, fault.RateLimited, fault.Internal, fault.Unavailable}

func responses(registry huma.Registry, op route.Operation, problem *huma.Schema) map[string]*huma.Response {
	out := map[string]*huma.Response{}
	for status, value := range op.Answers {
		s := &huma.Schema{Type: huma.TypeObject}
		if value != nil {
			s = registry.Schema(reflect.TypeOf(value), true, op.ID+"Answer")
		}
		response := &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{answerType(op): {Schema: s}}}
		if op.Tables {
			response.Content["text/csv"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
		}
		if op.Versioned {
			text := &huma.Schema{Type: huma.TypeString}
			response.Headers = map[string]*huma.Param{"ETag": {Description: "the record's version, quoted", Schema: text}}
			if op.Method != http.MethodGet {
				response.Headers[positionHeader] = &huma.Param{Description: "the place in the change feed, sealed: it is sent back as it came", Schema: text}
			}
		}
		out[strconv.Itoa(status)] = response
	}
	if op.Versioned && op.Method == http.MethodGet {
		out["304"] = &huma.Response{Description: http.StatusText(304)}
	}
	statuses := map[int][]string{}
	add := func(status int, code fault.Code) {
		if !slices.Contains(statuses[status], string(code)) {
			statuses[status] = append(statuses[status], string(code))
		}
	}
	for _, code := range slices.Concat(always, op.Errors) {
		add(code.HTTPStatus(), code)
	}
	for _, code := range []fault.Code{fault.TenantRequired, fault.TenantMismatch, fault.TenantSuspended, fault.RoleRequired} {
		add(http.StatusForbidden, code)
	}
	if op.Follows {
		add(fault.Behind.HTTPStatus(), fault.Behind)
		add(fault.InvalidCursor.HTTPStatus(), fault.InvalidCursor)
	}
	add(http.StatusRequestURITooLong, fault.TooLarge)
	add(http.StatusRequestHeaderFieldsTooLarge, fault.TooLarge)
	if op.Method != http.MethodGet {
		add(http.StatusRequestEntityTooLarge, fault.TooLarge)
		add(http.StatusUnsupportedMediaType, fault.UnsupportedMediaType)
		add(http.StatusConflict, fault.IdempotencyConflict)
		if op.Versioned {
			add(http.StatusPreconditionFailed, fault.VersionConflict)
		}
	}
	for status, codes := range statuses {
		slices.Sort(codes)
		out[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status) + ": " + strings.Join(codes, ", "),
			Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problem}}}
	}
	return out
}

// policyText says who may call an operation, for readers of the description and the tests that are made from it.
func policyText(p guard.Policy) map[string]any {
	reach := map[guard.Reach]string{guard.Anyone: "anyone", guard.Self: "self", guard.Tenant: "tenant", guard.Shared: "shared", guard.Admin: "admin", guard.AllTenants: "all-tenants"}[p.Reach]
	roles := p.Roles
	if roles == nil {
		roles = []string{}
	}
	return map[string]any{"reach": reach, "roles": roles, "members": p.Members, "personal": p.Personal}
}
