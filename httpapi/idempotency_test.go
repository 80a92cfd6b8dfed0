package httpapi_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
)

func memoryStore() driver.Source { return memory.New() }

func authClaims(t *testing.T, text string) auth.Claims {
	t.Helper()
	code, err := tenant.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return auth.Claims{Subject: "user", Tenant: code, Role: "user"}
}

func keyed(s *apitest.Server, key, path, body string) apitest.Request {
	return apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: path, Body: body, Header: []string{"Idempotency-Key", key}, Fails: true}
}

func TestStillRunning(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, apitest.Options{App: tenantry.Config{Routes: []route.Operation{own(func(_ context.Context, c *route.Call) (route.Answer, error) {
		if c.Scope().Tenant().String() == "alpha" {
			entered <- struct{}{}
			<-leave
		}
		return route.Answer{Status: 200, JSON: []byte(`{"once":true}`)}, nil
	})}}})
	first := make(chan *apitest.Answer, 1)
	go func() {
		a, err := s.Send(keyed(s, "k", "/api/own", ""))
		if err != nil {
			t.Error(err)
		}
		first <- a
	}()
	<-entered
	want(t, s.Do(t, keyed(s, "k", "/api/own", "")), 409, "idempotency_conflict")
	other := keyed(s, "k", "/api/own", "")
	other.Token = s.Token("user@bravo")
	want(t, s.Do(t, other), 200, "") // another tenant's user is not held up
	close(leave)
	a := <-first
	want(t, a, 200, "")
	again := s.Do(t, keyed(s, "k", "/api/own", ""))
	if again.Header.Get("Idempotency-Replayed") != "true" || string(again.Body) != string(a.Body) {
		t.Errorf("the replay: %v %v", again.Header, again)
	}
}

// TestFailuresAreNotKept tries again what failed for reasons that pass.
func TestFailuresAreNotKept(t *testing.T) {
	for _, code := range []fault.Code{fault.Internal, fault.Unavailable, fault.Timeout, fault.RoleRequired} {
		var calls atomic.Int32
		s := start(t, apitest.Options{App: tenantry.Config{Routes: []route.Operation{own(func(context.Context, *route.Call) (route.Answer, error) {
			if calls.Add(1) == 1 {
				return route.Answer{}, fault.New(code, "test", "it passes")
			}
			return route.Answer{Status: 200, JSON: []byte(`{}`)}, nil
		})}}})
		want(t, s.Do(t, keyed(s, "k", "/api/own", "")), code.HTTPStatus(), string(code))
		want(t, s.Do(t, keyed(s, "k", "/api/own", "")), 200, "")
		want(t, s.Do(t, keyed(s, "k", "/api/own", "")), 200, "")
		if n := calls.Load(); n != 2 {
			t.Errorf("%s: the operation ran %d times, want 2", code, n)
		}
	}
}

// TestCrashBeforeTheAnswerIsKept has the change made and nothing else: the store forgets the answers at once, as if the process had
// died before it kept one.
func TestCrashBeforeTheAnswerIsKept(t *testing.T) {
	s := start(t, apitest.Options{HTTP: httpapi.Config{Now: func() time.Time { return time.Now().Add(-25 * time.Hour) }}})
	for _, r := range []apitest.Request{
		keyed(s, "k", products, `{"name":"A"}`),
		keyed(s, "async", products+"?mode=async", `{"name":"B"}`),
		keyed(s, "k", products+"/bulk", `[{"name":"C"},{"sk":"d","name":"D"}]`),
	} {
		first := s.Do(t, r)
		again := s.Do(t, r)
		if !first.OK() || again.Status != first.Status || again.Header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%v: %v, then %v", r, first, again)
		}
		if string(again.Body) != string(first.Body) || again.Header.Get("Location") != first.Header.Get("Location") {
			t.Errorf("%v:\n%s\n%s", r, first.Body, again.Body)
		}
		changed := r
		changed.Body = `{"name":"X"}`
		if r.Path == products+"/bulk" {
			changed.Body = `[{"name":"X"}]`
		}
		if a := s.Do(t, changed); a.Status != 409 && !strings.Contains(string(a.Body), "idempotency_conflict") {
			t.Errorf("%v: another body under the key: %v", r, a)
		}
	}
	var page struct{ Items []struct{ Version int } }
	s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products}).Decode(t, &page)
	if len(page.Items) != 4 {
		t.Errorf("%d records, want 4: each change happened once", len(page.Items))
	}
	sa := apitest.Request{Token: s.Token("system_admin"), Method: "POST", Path: "/api/tenant", Body: `{"code":"golf","name":"G"}`, Header: []string{"Idempotency-Key", "g"}}
	first, again := s.Do(t, sa), s.Do(t, sa)
	if first.Status != 201 || again.Status != 201 || string(first.Body) != string(again.Body) {
		t.Errorf("a tenant: %v, then %v", first, again)
	}
}

// TestKeysAreKeptADay keeps an answer for 24 hours and no longer.
func TestKeysAreKeptADay(t *testing.T) {
	for ago, replayed := range map[time.Duration]string{23 * time.Hour: "true", 25 * time.Hour: ""} {
		s := start(t, apitest.Options{HTTP: httpapi.Config{Now: func() time.Time { return time.Now().Add(-ago) }}, App: tenantry.Config{Routes: []route.Operation{
			own(func(context.Context, *route.Call) (route.Answer, error) {
				return route.Answer{Status: 200, JSON: []byte(`{}`)}, nil
			})}}})
		want(t, s.Do(t, keyed(s, "k", "/api/own", "")), 200, "")
		if a := s.Do(t, keyed(s, "k", "/api/own", "")); a.Header.Get("Idempotency-Replayed") != replayed {
			t.Errorf("after %v: replayed %q", ago, a.Header.Get("Idempotency-Replayed"))
		}
	}
}

// TestRepeatedAtOnce sends one request many times at once: it happens once, and every answer is that of the first or a conflict.
func TestRepeatedAtOnce(t *testing.T) {
	s := start(t, apitest.Options{})
	answers := make(chan *apitest.Answer)
	for range 16 {
		go func() {
			a, err := s.Send(keyed(s, "k", products, `{"name":"A"}`))
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
	}
	body := ""
	for range 16 {
		a := <-answers
		switch {
		case a.Status == 409 && a.Code() == "idempotency_conflict":
		case a.Status == 201 && (body == "" || body == string(a.Body)):
			body = string(a.Body)
		default:
			t.Errorf("got %v", a)
		}
	}
	var page struct{ Items []struct{} }
	s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products}).Decode(t, &page)
	if len(page.Items) != 1 {
		t.Errorf("%d records, want 1", len(page.Items))
	}
}
