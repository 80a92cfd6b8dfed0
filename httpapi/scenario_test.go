package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(apitest.Main(m)) }

// TestScenarios plays the files of testdata/scenarios, each against a server of its own with the tenants alpha and bravo.
// A line says who sends what, the lines under it what must come back:
//
//	=== name of a scenario
//	user@alpha POST /api/data/PRODUCT {"sk":"p1","name":"A"}
//	  > Idempotency-Key: k1          a header that is sent
//	  = 201 {"version":1}            status, the code of a refusal, and members of the body: numbers are compared by their
//	                                 text, "…" is any text, "!" is a member that must not be there, lists are whole
//	  < ETag: "1"                    a header that must come back; without a value any; !ETag is one that must not
//	  ~ ${first}                     the whole body
//	  $ first = body                 keeps the body, <ETag a header, a.0.b a member
//	clock +1h                        moves the clock
//
// Everyone who is named role@tenant has a token of the identity provider; _ has none.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := &player{file: file, server: apitest.Start(t, world()), vars: map[string]string{}}
			p.play(t, strings.Split(string(text), "\n"))
		})
	}
}

// placeHeader says where a command stands in the change feed, on engines whose commit knows it.
const placeHeader = "X-Tenantry-Position"

// world is what scenarios are played in: two tenants, and an entity type of each kind.
func world() apitest.Options {
	shelf, err := tenant.Parse("shared")
	if err != nil {
		panic(err)
	}
	return apitest.Options{Tenants: []string{"alpha", "bravo"}, App: tenantry.Config{
		CommonTenantCodes: []tenant.Code{shelf},
		Jobs:              []jobs.Kind{failing()},
		Entities: []entity.Type{
			{Name: record.MustEntityType("TEMPLATE"), Shared: true},
			{Name: record.MustEntityType("CATALOG"), UniqueCode: true},
			{Name: record.MustEntityType("SALARY"), ReadRoles: []string{"admin", "clerk"}, WriteRoles: []string{"admin"}},
			{Name: record.MustEntityType("PRICE"), Check: func(a record.Attributes) []fault.Field {
				if a.Member("amount") == nil {
					return []fault.Field{{Field: "amount", Problem: "is required"}}
				}
				return nil
			}},
		}}}
}

type player struct {
	file   string
	server *apitest.Server
	vars   map[string]string
}

var (
	requestLine = regexp.MustCompile(`^(\S+) ([A-Z]+) (\S+)(?: (.*))?$`)
	variable    = regexp.MustCompile(`\$\{(\w+)\}`)
)

func (p *player) play(t *testing.T, lines []string) {
	name, from := "", 0
	scenario := func(to int) {
		if name != "" {
			t.Run(name, func(t *testing.T) { p.scenario(t, lines[from:to], from) })
		}
	}
	for i, line := range lines {
		if next, ok := strings.CutPrefix(line, "=== "); ok {
			scenario(i)
			name, from = next, i+1
		}
	}
	scenario(len(lines))
}

func (p *player) scenario(t *testing.T, lines []string, offset int) {
	for i := 0; i < len(lines); i++ {
		line := strings.TrimRight(lines[i], " ")
		at := fmt.Sprintf("%s:%d", filepath.Base(p.file), offset+i+1)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "clock +"):
			d, err := time.ParseDuration(line[len("clock +"):])
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			p.server.App.Clock.Advance(d)
		default:
			end := i + 1
			for end < len(lines) && strings.HasPrefix(lines[end], "  ") {
				end++
			}
			p.step(t, at, line, lines[i+1:end])
			i = end - 1
		}
	}
}

func (p *player) step(t *testing.T, at, line string, below []string) {
	t.Helper()
	m := requestLine.FindStringSubmatch(p.expand(t, at, line))
	if m == nil {
		t.Fatalf("%s: not a request: %s", at, line)
	}
	user := strings.TrimPrefix(m[1], "_")
	r := apitest.Request{Token: p.server.Token(user), Method: m[2], Path: m[3], Body: m[4]}
	for _, l := range below {
		if header, ok := strings.CutPrefix(strings.TrimSpace(l), "> "); ok {
			name, value, _ := strings.Cut(p.expand(t, at, header), ":")
			r.Header = append(r.Header, http.CanonicalHeaderKey(name), strings.TrimSpace(value))
		}
	}
	a := p.server.Do(t, r)
	for _, l := range below {
		mark, want, _ := strings.Cut(strings.TrimSpace(l), " ")
		switch mark {
		case ">":
			continue
		case "=…": // it will be so
			mark = "="
			apitest.Eventually(t, func() bool {
				if p.expect(t, at, mark, want, a) == "" {
					return true
				}
				a = p.server.Do(t, r)
				return false
			})
		}
		if problem := p.expect(t, at, mark, want, a); problem != "" {
			t.Errorf("%s: %s\n%s\ngot %d %s", at, problem, line, a.Status, a.Body)
		}
	}
}

// expect checks one line about an answer and returns what is wrong.
func (p *player) expect(t *testing.T, at, mark, want string, a *apitest.Answer) string {
	t.Helper()
	switch mark {
	case "=":
		status, rest, _ := strings.Cut(p.expand(t, at, want), " ")
		code := ""
		if rest != "" && rest[0] != '{' && rest[0] != '[' {
			code, rest, _ = strings.Cut(rest, " ")
		}
		if strconv.Itoa(a.Status) != status || a.Code() != code {
			return fmt.Sprintf("want %s %s", status, code)
		}
		if rest != "" {
			return subset("$", parseJSON(t, at, rest), a.JSON(t))
		}
	case "<":
		name, value, given := strings.Cut(p.expand(t, at, want), ": ")
		name, without := strings.CutPrefix(name, "!")
		got := a.Header.Values(name)
		without = without || name == placeHeader && p.server.LateFeed()
		if without != (len(got) == 0) || given && strings.Join(got, ", ") != value {
			return fmt.Sprintf("want the header %s, got %q", want, got)
		}
	case "~":
		if string(a.Body) != p.expand(t, at, want) {
			return "want the body " + p.expand(t, at, want)
		}
	case "$":
		name, source, _ := strings.Cut(want, " = ")
		value, ok := pick(t, source, a)
		if !ok && !(source == "<"+placeHeader && p.server.LateFeed()) {
			return "there is no " + source
		}
		p.vars[name] = value
	default:
		t.Fatalf("%s: not an expectation: %s %s", at, mark, want)
	}
	return ""
}

func (p *player) expand(t *testing.T, at, text string) string {
	t.Helper()
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		value, ok := p.vars[v[2:len(v)-1]]
		if !ok {
			t.Fatalf("%s: %s was never kept", at, v)
		}
		return value
	})
}

// pick returns the part of an answer that source names.
func pick(t *testing.T, source string, a *apitest.Answer) (string, bool) {
	t.Helper()
	if source == "body" {
		return string(a.Body), true
	}
	if header, ok := strings.CutPrefix(source, "<"); ok {
		return a.Header.Get(header), a.Header.Get(header) != ""
	}
	v := a.JSON(t)
	for part := range strings.SplitSeq(source, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[part]
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n >= len(at) {
				return "", false
			}
			v = at[n]
		}
	}
	return fmt.Sprint(v), v != nil
}

func parseJSON(t *testing.T, at, text string) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v: %s", at, err, text)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("%s: more than one value: %s", at, text)
	}
	return v
}

// subset returns what of want is not in got.
func subset(at string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("want an object at %s", at)
		}
		for name, w := range want {
			g, there := object[name]
			if w == "!" {
				if there {
					return fmt.Sprintf("want no %s.%s", at, name)
				}
				continue
			}
			if !there {
				return fmt.Sprintf("want %s.%s", at, name)
			}
			if problem := subset(at+"."+name, w, g); problem != "" {
				return problem
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("want %d elements at %s", len(want), at)
		}
		for i := range want {
			if problem := subset(fmt.Sprintf("%s[%d]", at, i), want[i], list[i]); problem != "" {
				return problem
			}
		}
	default:
		if text, ok := got.(string); want == "…" && ok && text != "" {
			return ""
		}
		if want != got {
			return fmt.Sprintf("want %s to be %v, not %v", at, want, got)
		}
	}
	return ""
}
