package httpapi_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/apitest"
)

// ended fails the test unless the next event is the end, for a reason.
func ended(t *testing.T, f *apitest.Follower, code string) {
	t.Helper()
	if name, _, data := f.Next(); name != "end" || !strings.Contains(data, `"code":"`+code+`"`) {
		t.Errorf("got the event %q %s, want the end with %s", name, data, code)
	}
	if name, _, _ := f.Next(); name != "" {
		t.Errorf("the event %q comes after the end", name)
	}
}

func (s *player) create(t *testing.T, user, path, sk string) {
	t.Helper()
	if a := s.server.Do(t, apitest.Request{Token: s.server.Token(user), Method: "POST", Path: path, Body: fmt.Sprintf(`{"sk":%q,"name":%[1]q}`, sk)}); a.Status != 201 {
		t.Fatal(a)
	}
}

func TestEvents(t *testing.T) {
	p := &player{server: apitest.Start(t, world())}
	s := p.server
	s.Show(t)
	user := s.Token("user@alpha")
	all, orders, boss := apitest.Follow(t, s.URL, user, ""), apitest.Follow(t, s.URL, user, "?entityType=ORDER,SALARY"), apitest.Follow(t, s.URL, s.Token("admin@alpha"), "?entityType=SALARY")
	p.create(t, "user@bravo", "/api/data/ORDER", "b1")
	p.create(t, "user@alpha", "/api/data/PRODUCT", "p1")
	s.Show(t) // a feed that follows commits has the versions of one record in order, and no order of two records
	p.create(t, "admin@alpha", "/api/data/SALARY", "s1")
	s.Show(t)
	p.create(t, "system_admin", "/api/tenants/alpha/data/ORDER", "o1")
	s.Show(t)
	p.create(t, "user@alpha", "/api/data/ORDER", "o2")
	first, data := all.Change()
	if !strings.Contains(data, `"pk":"PRODUCT#alpha","sk":"p1@1"`) || !strings.Contains(data, `"status":"finish:FINISHED"`) {
		t.Errorf("the first change is %s", data)
	}
	for _, want := range []string{"o1@1", "o2@1"} {
		if _, data := all.Change(); !strings.Contains(data, want) {
			t.Errorf("got %s, want %s", data, want)
		}
		if _, data := orders.Change(); !strings.Contains(data, want) {
			t.Errorf("got %s, want %s", data, want)
		}
	}
	if _, data := boss.Change(); !strings.Contains(data, "s1@1") {
		t.Errorf("the admin got %s", data)
	}
	again := apitest.Follow(t, s.URL, user, "?entityType=ORDER", "Last-Event-ID", first)
	if _, data := again.Change(); !strings.Contains(data, "o1@1") {
		t.Errorf("behind the first one comes %s", data)
	}
	operator := apitest.Follow(t, s.URL, s.Token("system_admin"), "", "X-Tenant-Code", "alpha", "Last-Event-ID", first)
	if _, data := operator.Change(); !strings.Contains(data, "s1@1") {
		t.Errorf("behind the first one comes %s for a system admin", data)
	}
	for _, bad := range []struct {
		user, query, id, code string
		status                int
	}{
		{"user@bravo", "", first, "invalid_cursor", 400},
		{"user@alpha", "", "x", "invalid_cursor", 400},
		{"user@alpha", "", first + "A", "invalid_cursor", 400},
		{"user@alpha", "?entityType=order", "", "not_found", 404},
		{"user@alpha", "?entityType=TENANT", "", "not_found", 404},
		{"user@alpha", "?entityType=ORDER,USER_TENANT", "", "not_found", 404},
		{"user@alpha", "?tenantCode=bravo", "", "tenant_forbidden", 403},
		{"", "", "", "unauthenticated", 401},
		{"system_admin", "", "", "tenant_required", 403},
	} {
		r := apitest.Request{Token: s.Token(bad.user), Method: "GET", Path: "/api/events" + bad.query}
		if bad.id != "" {
			r.Header = []string{"Last-Event-Id", bad.id}
		}
		if a := s.Do(t, r); a.Status != bad.status || a.Code() != bad.code {
			t.Errorf("%+v: %v", bad, a)
		}
	}
	if a := s.Do(t, apitest.Request{Token: user, Method: "GET", Path: "/api/events", Header: []string{"Last-Event-Id", first, "Last-Event-Id", first}}); a.Status != 400 {
		t.Errorf("two IDs: %v", a)
	}
	if a := s.Do(t, apitest.Request{Token: user, Method: "HEAD", Path: "/api/events"}); a.Status != 200 || a.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %v", a)
	}
	if a := s.Do(t, apitest.Request{Token: user, Method: "GET", Path: "/api/events", Header: []string{"X-Tenant-Code", "common"}}); a.Status != 403 {
		t.Errorf("the events of common: %v", a)
	}
}

// TestEventsEnd ends a stream in every way that takes its reader's rights. Each is checked again every second.
func TestEventsEnd(t *testing.T) {
	do := func(t *testing.T, s *apitest.Server, method, path, body string) {
		t.Helper()
		if a := s.Do(t, apitest.Request{Token: s.Token("system_admin"), Method: method, Path: path, Body: body}); !a.OK() {
			t.Fatal(a)
		}
	}
	for name, c := range map[string]struct {
		code string
		do   func(*testing.T, *apitest.Server)
	}{
		"suspended": {"unavailable", func(t *testing.T, s *apitest.Server) {
			do(t, s, "POST", "/api/admin/tenants/alpha/suspend", `{"reason":"unpaid"}`)
		}},
		"removed": {"not_a_member", func(t *testing.T, s *apitest.Server) {
			do(t, s, "DELETE", "/api/tenants/alpha/users/user@alpha", "")
		}},
		"of another role": {"unavailable", func(t *testing.T, s *apitest.Server) {
			do(t, s, "PATCH", "/api/tenants/alpha/users/user@alpha", `{"role":"clerk"}`)
		}},
		"revoked": {"unauthenticated", func(t *testing.T, s *apitest.Server) {
			do(t, s, "POST", "/api/admin/revocations", fmt.Sprintf(`{"issuer":%q,"sub":"user@alpha","reason":"gone"}`, s.IdP.Issuer().Name))
		}},
		"expired": {"token_expired", func(t *testing.T, s *apitest.Server) { s.App.Clock.Advance(25 * time.Hour) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := apitest.Start(t, world())
			do(t, s, "POST", "/api/tenants/alpha/users", `{"userCode":"user@alpha","role":"user"}`)
			s.Show(t)
			gone, stays := apitest.Follow(t, s.URL, s.Token("user@alpha"), ""), apitest.Follow(t, s.URL, s.Token("user@bravo"), "")
			c.do(t, s)
			ended(t, gone, c.code)
			if name != "expired" {
				(&player{server: s}).create(t, "user@bravo", "/api/data/ORDER", "b1")
				stays.Change()
			}
		})
	}
}

// A stream that is silent has no deadline: an HTTP/2 server ends one whose deadline for writing passes, also where nothing is to be written.
func TestSilentEvents(t *testing.T) {
	s := apitest.Start(t, world())
	ctx, leave := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, "GET", "/api/events", nil)
	r.Header.Set("Authorization", "Bearer "+s.Token("user@alpha"))
	c, ended := &wire{http.Header{}, make(chan string, 100)}, make(chan struct{})
	go func() {
		defer close(ended)
		s.Handler.ServeHTTP(c, r)
	}()
	for _, want := range []string{"a deadline", "written", "flushed", "no deadline"} {
		if got := <-c.calls; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	leave()
	<-ended
}

// wire is a client's end of a connection, which says what is done with it.
type wire struct {
	header http.Header
	calls  chan string
}

func (w *wire) Header() http.Header             { return w.header }
func (w *wire) WriteHeader(int)                 {}
func (w *wire) SetReadDeadline(time.Time) error { return nil }
func (w *wire) Write(text []byte) (int, error)  { w.calls <- "written"; return len(text), nil }
func (w *wire) FlushError() error               { w.calls <- "flushed"; return nil }
func (w *wire) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		w.calls <- "no deadline"
	} else {
		w.calls <- "a deadline"
	}
	return nil
}

// A server that shuts down ends its streams at once, and says so.
func TestEventsAtTheEnd(t *testing.T) {
	s := apitest.Start(t, world())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, served := s.Handler.Server(), make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.Show(t)
	f := apitest.Follow(t, "http://"+listener.Addr().String(), s.Token("user@alpha"), "")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("the server waits for its streams: %v", err)
	}
	if err := <-served; err != http.ErrServerClosed {
		t.Error(err)
	}
	ended(t, f, "unavailable")
}

// Every open stream is re-decided; an operation's policy is what Recheck asks for.
func TestRecheckIssuesNothing(t *testing.T) {
	s := apitest.Start(t, world())
	p, err := s.App.Verifier().Verify(t.Context(), s.Token("system_admin"))
	if err != nil {
		t.Fatal(err)
	}
	entries := func() string {
		a := s.Do(t, apitest.Request{Token: s.Token("system_admin"), Method: "GET", Path: "/api/admin/audit?limit=1000"})
		return string(a.Body)
	}
	before := strings.Count(entries(), `"operation":"GET /api/events"`)
	r := &guard.Request{Principal: p, Header: "alpha", HasHeader: true, Policy: guard.Policy{Reach: guard.Tenant}, Actor: guard.Actor{Source: "GET /api/events"}}
	if err := s.App.Guard().Recheck(t.Context(), r); err != nil || r.Actor.Role != "system_admin" {
		t.Errorf("recheck: %v as %q", err, r.Actor.Role)
	}
	if n := strings.Count(entries(), `"operation":"GET /api/events"`); n != before {
		t.Errorf("a recheck made %d entries in the audit log", n-before)
	}
}
