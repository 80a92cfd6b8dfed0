package httpapi_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/record"
)

// randomRequests is a twentieth of the long run's, which sets TENANTRY_FUZZ_REQUESTS.
const randomRequests = 1000

// TestRandomRequests sends requests that are made from the API's description: good ones, and ones with hostile values in every
// place. Each is answered with a status that the description lists, none with 5xx, and what is refused changes nothing.
func TestRandomRequests(t *testing.T) {
	n := randomRequests
	if text := os.Getenv("TENANTRY_FUZZ_REQUESTS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	product := entity.Type{Name: record.MustEntityType("PRODUCT"), Shared: true}
	s := apitest.Start(t, apitest.Options{Tenants: []string{"alpha", "bravo"}, App: tenantry.Config{Entities: []entity.Type{product}}})
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), server: s}
	refused, answered := 0, map[string]int{}
	for range n {
		op := g.operation()
		r := g.request(op)
		var before apitest.Digests // a walk through the store, so for some requests only
		if g.IntN(25) == 0 {
			before = s.Digest(t)
		}
		a, err := s.Send(r)
		if err != nil { // what the client refuses to send was no request
			continue
		}
		answered[op.ID]++
		if s.Check(t, r, a); t.Failed() {
			t.FailNow()
		}
		if a.Status < 400 {
			continue
		}
		refused++
		if before != nil {
			if changed := before.Changed(s.Digest(t)); len(changed) > 0 {
				t.Fatalf("%v: refused with %v, but the records of %v changed", r, a, changed)
			}
		}
	}
	t.Logf("%d requests, %d of them refused", n, refused)
	for _, op := range s.Doc.Operations {
		if answered[op.ID] == 0 && n >= randomRequests {
			t.Errorf("%s was never called", op.ID)
		}
	}
	if refused < n/10 || refused > n*9/10 {
		t.Errorf("%d of %d requests were refused: the requests are not mixed", refused, n)
	}
}

// generator makes requests.
type generator struct {
	*rand.Rand
	server *apitest.Server
	deck   []*apitest.Operation // those that come next
	op     *apitest.Operation
	calm   bool // the request under way is meant well
}

// rarely reports true once in n times, and never for a request that is meant well.
func (g *generator) rarely(n int) bool { return !g.calm && g.IntN(n) == 0 }

func choose[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// operation draws from all operations until none is left, so that each comes as often as any other.
func (g *generator) operation() *apitest.Operation {
	if len(g.deck) == 0 {
		g.deck = slices.Clone(g.server.Doc.Operations)
		g.Shuffle(len(g.deck), func(i, j int) { g.deck[i], g.deck[j] = g.deck[j], g.deck[i] })
	}
	op := g.deck[0]
	g.deck = g.deck[1:]
	return op
}

func is(s *apitest.Schema, kind string) bool { return slices.Contains(s.Types, kind) }

var placeholder = regexp.MustCompile(`\{[^}]+\}`)

func (g *generator) request(op *apitest.Operation) apitest.Request {
	g.op, g.calm = op, g.IntN(2) == 0
	user := choose(g, "admin@alpha", "system_admin")
	if g.rarely(2) {
		user = choose(g, "user@alpha", "admin@alpha", "user@bravo", "system_admin", "system_admin", "user", "admin@zulu9", "")
	}
	r := apitest.Request{Method: op.Method, Token: g.server.Token(user)}
	if g.rarely(40) {
		r.Token += choose(g, "x", ".", " ", "é")
	}
	if g.rarely(40) {
		r.Method = choose(g, "GET", "PUT", "PATCH", "DELETE", "POST", "HEAD", "OPTIONS")
	}
	r.Path = placeholder.ReplaceAllStringFunc(op.Path, func(name string) string { return url.PathEscape(g.segment(op, strings.Trim(name, "{}"))) })
	query := url.Values{}
	for _, p := range op.Parameters {
		if p.In == "query" && g.IntN(3) == 0 && !(g.calm && (p.Name == "cursor" || p.Name == "partition" || p.Name == "at" && query.Has("version"))) {
			query.Add(p.Name, g.parameter(p.Name, p.Schema))
		}
	}
	if g.rarely(10) {
		query.Add(choose(g, "tenantCode", "pk", "id", "version", "limit", "x"), g.text())
	}
	if len(query) > 0 {
		r.Path += "?" + query.Encode()
	}
	if g.calm && user == "system_admin" && op.Policy.Reach == "tenant" && !strings.Contains(op.Path, "{tenantCode}") {
		r.Header = append(r.Header, "X-Tenant-Code", "alpha")
	} else if g.rarely(6) {
		r.Header = append(r.Header, "X-Tenant-Code", choose(g, "alpha", "bravo", "BRAVO", "common", "zulu9", "a b", ""))
	}
	if g.rarely(4) {
		r.Header = append(r.Header, "Idempotency-Key", choose(g, "k1", "k2", fmt.Sprint(g.Uint64()), "", strings.Repeat("k", 256)))
	}
	if g.rarely(4) {
		r.Header = append(r.Header, "If-Match", choose(g, `"1"`, `"2"`, `1`, `"x"`, `*`, `"-1"`))
	}
	if op.Body != nil && r.Method != http.MethodGet && r.Method != http.MethodHead {
		r.Body = g.body(op)
		if g.rarely(8) {
			r.Type = choose(g, "text/plain", "application/json; charset=utf-8", "-")
		}
	}
	return r
}

// segment returns a path parameter, most often one that names something.
func (g *generator) segment(op *apitest.Operation, name string) string {
	if op.ID == "deleteTenant" || op.ID == "suspendTenant" { // alpha stays, or nobody could do anything any more
		return map[string]string{"pk": "TENANT#delta", "sk": "MASTER", "tenantCode": "delta"}[name]
	}
	if g.rarely(5) {
		return g.text()
	}
	switch name {
	case "tenantCode", "tenantGroupCode":
		if g.calm {
			return "alpha"
		}
		return choose(g, "alpha", "bravo", "common", "zulu9", "Alpha")
	case "entityType":
		if g.calm {
			return "PRODUCT"
		}
		return choose(g, "PRODUCT", "ORDER", "TENANT", "AUDIT", "product")
	case "pk":
		if g.calm {
			return "TENANT#alpha"
		}
		return choose(g, "TENANT#alpha", "TENANT#bravo", "TENANT#common", "TENANT#zulu9", "PRODUCT#bravo")
	case "version":
		return choose(g, "1", "2", "0", "-1", "x")
	case "userCode":
		return choose(g, "u1", "u2", "admin@alpha", "bob@example.com")
	}
	if g.calm && strings.Contains(op.Path, "/api/tenant/") {
		return "MASTER"
	}
	if g.calm {
		return choose(g, "p1", "p2")
	}
	return choose(g, "p1", "p2", "MASTER", "dep", "a/b", "bob@example.com")
}

// hostile are values that somebody may send anywhere.
var hostile = []string{"", " ", "#", "@", "p@1", "PRODUCT#bravo", "PRODUCT#bravo#b1", "../..", "a\x00b", "\u202e", "é", "e\u0301", "\u212a", "null", "true", "-1", "1e400", "9007199254740993",
	"'; DROP TABLE data;--", "<script>", "{{7*7}}", "%2e%2e", "\r\nX-Evil: 1", "=1+1", "alpha", "bravo"}

func (g *generator) text() string {
	if g.IntN(20) == 0 {
		return strings.Repeat(choose(g, "a", "é", "#"), 1+g.IntN(2000))
	}
	return choose(g, hostile...)
}

func (g *generator) parameter(name string, s *apitest.Schema) string {
	switch {
	case g.rarely(3):
		return g.text()
	case name == "at":
		return "2096-01-15T09:00:00Z"
	}
	switch {
	case len(s.Enum) > 0:
		return fmt.Sprint(choose(g, s.Enum...))
	case is(s, "integer"):
		if g.calm {
			return choose(g, "1", "2", "3")
		}
		return choose(g, "1", "2", "100", "0", "-1", "1001")
	case is(s, "boolean"):
		if g.rarely(3) {
			return "1"
		}
		return choose(g, "true", "false")
	}
	return choose(g, "p", "p1", "2026-11", "2026-01-15T09:00:00Z", "2026-01-15")
}

// body returns a body of the operation's schema, at times with a hostile member, or no JSON at all.
func (g *generator) body(op *apitest.Operation) string {
	switch {
	case g.rarely(20):
		return choose(g, "", "{", "[]", "null", `{"name":"A"}{"name":"B"}`, "\ufeff{}", `{"name":"A","name":"B"}`, strings.Repeat("[", 100), `"x"`)
	case g.rarely(20):
		return `{"name":"A","attributes":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40) + "}"
	}
	text, err := json.Marshal(g.value(op.Body, 0))
	if err != nil {
		return "{}"
	}
	return string(text)
}

func (g *generator) value(s *apitest.Schema, depth int) any {
	s = g.server.Doc.Resolve(s)
	if depth > 4 || g.rarely(15) {
		return choose[any](g, nil, true, 0, -1.5, "x", []any{}, map[string]any{}, json.Number("1e400"), json.Number("12345678901234567890123456789012345678901234567890"), g.text())
	}
	switch {
	case len(s.Enum) > 0:
		return choose(g, s.Enum...)
	case is(s, "object"):
		object := map[string]any{}
		for name, member := range s.Properties {
			if slices.Contains(s.Required, name) || g.wanted(name) {
				object[name] = g.member(name, member, depth)
			}
		}
		if len(s.Properties) == 0 && g.calm {
			object["price"] = g.IntN(100)
		} else if len(s.Properties) == 0 {
			object[choose(g, "price", "suspended", "setting", "", "ключ")] = g.value(&apitest.Schema{}, depth+1)
		}
		if g.rarely(10) {
			object[choose(g, "PK", "tenantcode", "createdBy", "isDeleted", "__proto__")] = g.text()
		}
		return object
	case is(s, "array"):
		list := []any{}
		for range g.IntN(4) {
			list = append(list, g.value(s.Items, depth+1))
		}
		return list
	case is(s, "integer"), is(s, "number"):
		return choose[any](g, 0, 1, -1, 2, 7, 1.5, json.Number("9007199254740993"))
	case is(s, "boolean"):
		return choose(g, true, false)
	case is(s, "string"):
		if g.calm {
			return fmt.Sprint("text", g.IntN(100))
		}
		return choose[any](g, "p1", "A name", g.text())
	}
	return choose[any](g, 1, "x", nil, 1.10, map[string]any{"a": []any{1, nil}})
}

// wanted reports whether a member that need not be there is.
func (g *generator) wanted(name string) bool {
	switch name {
	case "tenantCode", "pk", "id", "partition", "sk":
		return g.rarely(3) || name == "sk" && strings.HasPrefix(g.op.ID, "create") && g.IntN(2) == 0
	case "version":
		return g.IntN(3) > 0
	}
	return g.IntN(3) == 0
}

// member returns a member's value, for names that mean something most often one that names something.
func (g *generator) member(name string, s *apitest.Schema, depth int) any {
	if g.IntN(4) > 0 {
		switch name {
		case "tenantCode":
			return choose(g, "alpha", "bravo", "ALPHA")
		case "pk":
			return choose(g, "PRODUCT#alpha", "PRODUCT#bravo", "TENANT#alpha")
		case "id":
			return choose(g, "PRODUCT#alpha#p1", "PRODUCT#bravo#p1")
		case "sk":
			return choose(g, "p1", "p2", fmt.Sprint("p", g.IntN(1000)))
		case "code":
			return choose(g, "delta", "echo", fmt.Sprint("t", g.IntN(1000)))
		case "version":
			if op := g.op.ID; strings.HasPrefix(op, "create") {
				return 0
			}
			return choose(g, 0, 1, -1)
		case "role":
			return choose(g, "company", "admin", "system_admin")
		case "userCode":
			return choose(g, "u1", "u2", "admin@alpha")
		case "issuer", "jti", "sub": // nobody's: the callers stay
			return choose(g, "x", "y")
		}
	}
	return g.value(s, depth+1)
}
