package route_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
)

func TestParam(t *testing.T) {
	limit := route.Param{Name: "limit", Kind: route.Integer, Min: 1, Max: 10}
	for _, c := range []struct {
		param route.Param
		value string
		good  bool
	}{
		{limit, "1", true}, {limit, "10", true}, {limit, "0", false}, {limit, "11", false}, {limit, "", false}, {limit, "+1", false}, {limit, "01", false}, {limit, "1.0", false}, {limit, "1e0", false},
		{limit, " 1", false}, {limit, "\u0661", false}, {limit, "9223372036854775808", false},
		{route.Param{Kind: route.Boolean}, "true", true}, {route.Param{Kind: route.Boolean}, "false", true}, {route.Param{Kind: route.Boolean}, "TRUE", false}, {route.Param{Kind: route.Boolean}, "1", false}, {route.Param{Kind: route.Boolean}, "", false},
		{route.Param{Kind: route.Moment}, "2026-01-15T09:01:27Z", true}, {route.Param{Kind: route.Moment}, "2026-01-15T09:01:27.123+09:00", true}, {route.Param{Kind: route.Moment}, "2026-01-15", false}, {route.Param{Kind: route.Moment}, "", false},
		{route.Param{Enum: []string{"asc", "desc"}}, "asc", true}, {route.Param{Enum: []string{"asc", "desc"}}, "ASC", false}, {route.Param{Enum: []string{"asc", "desc"}}, "", false},
		{route.Param{}, "anything", true}, {route.Param{}, "", true},
	} {
		if problem := c.param.Check(c.value); (problem == "") != c.good {
			t.Errorf("%+v takes %q for good: %q", c.param, c.value, problem)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]int64{"-1": -1, "0": 0, "1": 1, "9007199254740991": 1<<53 - 1} {
		if n, err := route.ParseVersion(text); n != want || err != nil {
			t.Errorf("%s = %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "-2", "-0", "+1", "01", "1.0", "1e0", `"1"`, "null", "true", "9007199254740992", "9223372036854775808", " 1", "1 ", "0x1", "1_000"} {
		if n, err := route.ParseVersion(text); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("%q = %d, %v", text, n, err)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, seed := range []string{"-1", "0", "7", "9007199254740991", "1e3", "-0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := route.ParseVersion(text)
		if err == nil && (n < record.VersionLatest || n > 1<<53-1) {
			t.Errorf("%q = %d", text, n)
		}
	})
}

// call returns a Call of a request with an If-Match and a query.
func call(match, query string) *route.Call {
	r := httptest.NewRequest(http.MethodPut, "/api/data/PRODUCT/p1", nil)
	if match != "" {
		r.Header.Set("If-Match", match)
	}
	values, _ := url.ParseQuery(query)
	c := route.NewCall(r, values)
	return &c
}

func TestVersion(t *testing.T) {
	for _, c := range []struct {
		body, query, match string
		version            int64
		fromHeader         bool
	}{
		{"7", "", "", 7, false}, {"", "version=7", "", 7, false}, {"", "", `"7"`, 7, true}, {"7", "version=7", `"7"`, 7, false}, {"-1", "", "", -1, false}, {"0", "", "", 0, false},
	} {
		n, named, fromHeader, err := call(c.match, c.query).Version(jsontext.Value(c.body), true)
		if n != c.version || !named || fromHeader != c.fromHeader || err != nil {
			t.Errorf("%+v: %d, %v, %v, %v", c, n, named, fromHeader, err)
		}
	}
	for _, c := range []struct{ body, query, match string }{
		{"", "", ""}, {"7", "version=8", ""}, {"7", "", `"8"`}, {"", "version=7", `"8"`}, {"7.0", "", ""}, {"null", "", ""}, {"", "version=x", ""}, {"", "", "7"}, {"", "", `"7`}, {"", "", `7"`},
		{"", "", `"`}, {"", "", `""`}, {"", "", `"-1"`}, {"", "", `"0"`}, {"", "", `W/"7"`}, {"", "", `"7", "8"`}, {"", "", "*"},
	} {
		if n, _, _, err := call(c.match, c.query).Version(jsontext.Value(c.body), true); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("%+v: %d, %v", c, n, err)
		}
	}
	if _, named, _, err := call("", "").Version(nil, false); named || err != nil {
		t.Errorf("no version where none is needed: %v, %v", named, err)
	}
}

// TestEmptyIfMatch takes an If-Match without a version for a mistake: to pass over it would overwrite whatever is there.
func TestEmptyIfMatch(t *testing.T) {
	r := httptest.NewRequest(http.MethodPatch, "/api/settings", nil)
	r.Header.Set("If-Match", "")
	c := route.NewCall(r, nil)
	if version, sent, err := c.IfMatch(); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("%d, %v, %v", version, sent, err)
	}
}

// TestTable checks when a file is asked for: the parameter decides, and where it is left out the type that Accept names first.
func TestTable(t *testing.T) {
	for _, c := range []struct {
		format, accept string
		table          bool
	}{
		{"csv", "", true}, {"csv", "application/json", true}, {"json", "text/csv", false}, {"", "", false}, {"", "text/csv", true}, {"", "Text/CSV; header=present", true},
		{"", "text/csv, application/json;q=0.5", true}, {"", "application/json, text/csv", false}, {"", "*/*", false}, {"", "text/csvx", false}, {"", ";", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/api/report", nil)
		r.Header.Set("Accept", c.accept)
		call := route.NewCall(r, url.Values{"format": {c.format}})
		if got := call.Table(); got != c.table {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestPrecondition(t *testing.T) {
	conflict := fault.Conflict("test", 1, 2)
	if err := route.Precondition(conflict, true); fault.As(err).HTTPStatus() != http.StatusPreconditionFailed || !errors.Is(err, fault.VersionConflict) || conflict.HTTPStatus() != http.StatusConflict {
		t.Errorf("from If-Match: %v", err)
	}
	if err := route.Precondition(conflict, false); fault.As(err).HTTPStatus() != http.StatusConflict {
		t.Errorf("from the body: %v", err)
	}
	if err := route.Precondition(fault.New(fault.NotFound, "test", "x"), true); fault.As(err).HTTPStatus() != http.StatusNotFound {
		t.Errorf("another failure: %v", err)
	}
	if err := route.Precondition(nil, true); err != nil {
		t.Errorf("no failure: %v", err)
	}
}

func TestAnswers(t *testing.T) {
	rec := &record.Record{PK: "PRODUCT#acme", SK: "p1", Version: 3}
	changed := command.Result{Record: rec, Command: rec, Changed: true, Position: "9"}
	if a := route.Command(http.StatusCreated, changed); a.Status != 201 || a.Version != 3 || a.Position != "9" {
		t.Errorf("a command: %+v", a)
	}
	if a := route.Command(http.StatusCreated, command.Result{Record: rec}); a.Status != 200 || a.Position != "" {
		t.Errorf("a command that changed nothing: %+v", a)
	}
	if a := route.List(nil, ""); string(a.JSON) != `{"items":[]}` {
		t.Errorf("an empty list: %s", a.JSON)
	}
	if a := route.List([]*record.Record{rec, rec}, "next"); !jsontext.Value(a.JSON).IsValid() {
		t.Errorf("a list: %s", a.JSON)
	}
	if _, err := route.JSON(200, make(chan int)); !errors.Is(err, fault.Internal) {
		t.Errorf("what is no JSON: %v", err)
	}
}
