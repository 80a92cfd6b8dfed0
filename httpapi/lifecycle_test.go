package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenantrytest"
)

// own returns an operation of an application's own, POST /api/own, that any member of a tenant may call.
func own(handle func(context.Context, *route.Call) (route.Answer, error)) route.Operation {
	return route.Operation{ID: "own", Method: "POST", Path: "/api/own", Summary: "An operation of the application", Tag: "own",
		Policy: guard.Policy{Reach: guard.Tenant}, Answers: map[int]any{200: nil}, Errors: []fault.Code{fault.NotFound}, Handle: handle}
}

func TestPanics(t *testing.T) {
	s := start(t, apitest.Options{App: tenantry.Config{Routes: []route.Operation{own(func(context.Context, *route.Call) (route.Answer, error) {
		panic("CANARY at /home/secret.go")
	})}}})
	for _, encoding := range []string{"", "gzip"} {
		a := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/own", Header: []string{"Accept-Encoding", encoding}, Fails: true})
		want(t, a, 500, "internal")
		if bytes.Contains(a.Body, []byte("CANARY")) {
			t.Errorf("the panic is shown: %s", a.Body)
		}
		lines := s.Log.Of(a.Header.Get("X-Request-Id"), "panic")
		if len(lines) != 1 || lines[0]["tenantCode"] != "alpha" || lines[0]["userId"] != "user@alpha" || !strings.Contains(lines[0]["stack"].(string), "lifecycle_test.go") {
			t.Errorf("the log says of the panic: %v", lines)
		}
	}
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products}), 200, "")
}

func TestFailuresShowNothing(t *testing.T) {
	cause := errors.New("SELECT secret FROM table: CANARY")
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"without a code": {cause, 500, "internal"},
		"internal":       {fault.Wrap(cause, fault.Internal, "x", ""), 500, "internal"},
		"unavailable":    {fault.Wrap(cause, fault.Unavailable, "x", "later"), 503, "unavailable"},
		"cancelled":      {context.Canceled, 408, "timeout"},
		"too late":       {context.DeadlineExceeded, 408, "timeout"},
		"wrapped":        {fault.Wrap(cause, fault.NotFound, "x", "nothing here"), 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, apitest.Options{App: tenantry.Config{Routes: []route.Operation{own(func(context.Context, *route.Call) (route.Answer, error) { return route.Answer{}, c.err })}}})
			a := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/own", Fails: true})
			want(t, a, c.status, c.code)
			if bytes.Contains(a.Body, []byte("CANARY")) {
				t.Errorf("the cause is shown: %s", a.Body)
			}
			if c.status == 503 && a.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			if c.status >= 500 && len(s.Log.Of(a.Header.Get("X-Request-Id"), "request failed")) != 1 {
				t.Error("the cause is not in the log")
			}
		})
	}
}

func TestRequestTimeout(t *testing.T) {
	s := start(t, apitest.Options{HTTP: httpapi.Config{Timeout: 50 * time.Millisecond}, App: tenantry.Config{Routes: []route.Operation{own(func(ctx context.Context, _ *route.Call) (route.Answer, error) {
		<-ctx.Done()
		return route.Answer{}, ctx.Err()
	})}}})
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/own"}), 408, "timeout")
}

// TestLogLines has one line for each request, and tenant, user and request on every line inside one.
func TestLogLines(t *testing.T) {
	var s *apitest.Server
	s = start(t, apitest.Options{App: tenantry.Config{Routes: []route.Operation{own(func(ctx context.Context, _ *route.Call) (route.Answer, error) {
		slog.New(guard.NewLogHandler(slog.NewJSONHandler(s.Log, nil))).InfoContext(ctx, "inside")
		return route.Answer{Status: 200, JSON: []byte(`{}`)}, nil
	})}}})
	hostile := "\n{\"level\":\"info\",\"tenant\":\"bravo\"}\x1b[2J\u2028\u202e"
	requests := []struct {
		apitest.Request
		tenant, user any
	}{
		{apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/own"}, "alpha", "user@alpha"},
		{apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products}, "alpha", "user@alpha"},
		{apitest.Request{Token: s.Token("system_admin"), Method: "GET", Path: "/api/tenants/bravo/data/PRODUCT"}, "bravo", "system_admin"},
		{apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: "/api/tenants/bravo/data/PRODUCT"}, "alpha", "user@alpha"},
		{apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products, Header: []string{"X-Tenant-Code", "bravo"}}, "alpha", "user@alpha"},
		{apitest.Request{Token: s.Token("user"), Method: "GET", Path: products}, "", "user"},
		{apitest.Request{Method: "GET", Path: products}, "", ""},
		{apitest.Request{Method: "GET", Path: "/nothing%0a%7b%22level%22%3a%22info%22%7d"}, nil, nil},
		{apitest.Request{Method: "GET", Path: "/healthz"}, nil, nil},
		{apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products, Body: `{"name":` + quote(t, hostile) + `}`}, "alpha", "user@alpha"},
		{apitest.Request{Token: s.Token("system_admin"), Method: "GET", Path: products, Header: []string{"X-Tenant-Code", "b\u2028\u202e\u00e9ravo"}}, nil, nil},
		{apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products + "?pk=" + "PRODUCT%23bravo%E2%80%AE"}, nil, nil},
		{apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products, Body: `{"name":"x","tenantCode":"bravo","pk":` + quote(t, hostile) + `}`}, "alpha", "user@alpha"},
		{apitest.Request{Method: strings.Repeat("M", 1000), Path: "/healthz", Header: []string{"User-Agent", "\u202e"}}, nil, nil},
		{apitest.Request{Method: "GET", Path: "/" + strings.Repeat("p", 100_000)}, nil, nil},
		{apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: "/api/me", Header: []string{"X-Request-Id", "a b"}}, "alpha", "user@alpha"},
		{apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: "/api/me", Header: []string{"X-Request-Id", strings.Repeat("a", 129)}}, "alpha", "user@alpha"},
	}
	for _, r := range requests {
		a, err := s.Send(r.Request)
		if err != nil {
			t.Fatal(err)
		}
		id := a.Header.Get("X-Request-Id")
		if len(id) > 128 {
			t.Errorf("%v: the request ID is %q", r, id)
		}
		var lines []apitest.Line
		apitest.Eventually(t, func() bool { lines = s.Log.Of(id, "request"); return len(lines) > 0 })
		lines = append(lines, s.Log.Of(id, "inside")...)
		lines = append(lines, s.Log.Of(id, "access denied")...)
		if inside := len(s.Log.Of(id, "inside")); (r.Path == "/api/own") != (inside == 1) || len(s.Log.Of(id, "request")) != 1 {
			t.Errorf("%v: lines %v", r, lines)
		}
		for _, line := range lines {
			if line["tenantCode"] != r.tenant || line["userId"] != r.user || line["requestId"] != id {
				t.Errorf("%v: want tenant %v and user %v in %v", r, r.tenant, r.user, line)
			}
			path, _ := line["path"].(string)
			if method, _ := line["method"].(string); len(path) > 9000 || len(method) > 10 {
				t.Errorf("a line repeats %d bytes of the path, and the method %v", len(path), method)
			}
		}
	}
	for _, forged := range []string{"\x1b", "\u202e", "\u2028", s.Token("user@alpha")[len(s.Token("user@alpha"))-40:]} {
		if s.Log.Holds(forged) {
			t.Errorf("the log holds %q", forged)
		}
	}
}

func quote(t *testing.T, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted)
}

// TestDenialsAreHeldBack writes the lines that one source may cause, and counts the rest.
func TestDenialsAreHeldBack(t *testing.T) {
	still := time.Now()
	s := start(t, apitest.Options{HTTP: httpapi.Config{Now: func() time.Time { return still }}})
	for range 700 {
		if _, err := s.Send(apitest.Request{Method: "GET", Path: "/api/me"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.Log.Lines("access denied")); n != 500 {
		t.Errorf("%d lines; a source may cause 500 at once", n)
	}
	for _, user := range []string{"user@alpha", "user@bravo"} { // from the same address, whose lines are used up
		want(t, s.Do(t, apitest.Request{Token: s.Token(user), Method: "GET", Path: "/api/admin/audit"}), 403, "role_required")
	}
}

func TestGracefulShutdown(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	app := tenantrytest.New(t, tenantry.Config{Routes: []route.Operation{own(func(context.Context, *route.Call) (route.Answer, error) {
		close(entered)
		<-leave
		return route.Answer{Status: 200, JSON: []byte(`{}`)}, nil
	})}})
	app.Tenant("alpha")
	h, err := httpapi.New(app.App, httpapi.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := h.Server()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	work.Go(func() {
		request, err := http.NewRequest("POST", "http://"+listener.Addr().String()+"/api/own", nil)
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Authorization", "Bearer "+app.Token(authClaims(t, "alpha")))
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("the request under way was cut off: %v", err)
			return
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != 200 {
			t.Errorf("the request under way was answered %d", response.StatusCode)
		}
	})
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- httpapi.Shutdown(context.Background(), server) }()
	apitest.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("it stopped before the request had ended: %v", err)
	default:
	}
	close(leave)
	if err := <-stopped; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	work.Wait()
}

func TestListenAndServe(t *testing.T) {
	serve := func(ctx context.Context, addr string) error {
		app, err := tenantry.Open(t.Context(), tenantry.Config{Store: memoryStore(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer app.Close()
		return httpapi.ListenAndServe(ctx, app, addr, httpapi.Config{Log: slog.New(slog.DiscardHandler)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	if err := serve(t.Context(), "127.0.0.1:99999"); err == nil {
		t.Error("an impossible address is served")
	}
	go func() { served <- serve(ctx, "127.0.0.1:0") }()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestIncompleteOperations does not serve what nobody decided about.
func TestIncompleteOperations(t *testing.T) {
	good := own(func(context.Context, *route.Call) (route.Answer, error) { return route.Answer{Status: 200}, nil })
	for name, spoil := range map[string]func(*route.Operation){
		"no policy":      func(op *route.Operation) { op.Policy = guard.Policy{} },
		"no handler":     func(op *route.Operation) { op.Handle = nil },
		"no answer":      func(op *route.Operation) { op.Answers = nil },
		"no ID":          func(op *route.Operation) { op.ID = "" },
		"no summary":     func(op *route.Operation) { op.Summary = "" },
		"another's ID":   func(op *route.Operation) { op.ID = "me" },
		"another's path": func(op *route.Operation) { op.Method, op.Path = "GET", "/api/me" },
	} {
		op := good
		spoil(&op)
		app := tenantrytest.New(t, tenantry.Config{Routes: []route.Operation{op}})
		if _, err := httpapi.New(app.App, httpapi.Config{}); !errors.Is(err, fault.InvalidRequest) || !strings.Contains(err.Error(), op.ID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	app := tenantrytest.New(t, tenantry.Config{Routes: []route.Operation{good}})
	if _, err := httpapi.New(app.App, httpapi.Config{}); err != nil {
		t.Errorf("a whole operation: %v", err)
	}
}

// TestDescription has every operation in the document, each with its token and what it answers without one.
func TestDescription(t *testing.T) {
	s := start(t, apitest.Options{})
	var served []string
	for _, op := range s.App.Operations() {
		served = append(served, op.ID)
	}
	var described []string
	for _, op := range s.Doc.Operations {
		described = append(described, op.ID)
		for _, status := range []int{400, 401, 403, 404, 405, 408, 414, 422, 429, 431, 500, 503} {
			if _, ok := op.Answers[status]; !ok {
				t.Errorf("%s does not list %d", op.ID, status)
			}
		}
		if op.Secured != (op.ID != "refreshSession") || (op.Policy.Reach == "anyone") == op.Secured || op.Policy.Reach == "" {
			t.Errorf("%s needs no token, or says nothing of who may call it", op.ID)
		}
	}
	slices.Sort(served)
	if !slices.Equal(served, described) {
		t.Errorf("described are %v, served %v", described, served)
	}
	if n := len(served); n < 35 {
		t.Errorf("only %d operations", n)
	}
}
