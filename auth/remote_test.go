package auth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

const jwksURL = "https://idp.example/jwks"

// endpoint is an identity provider behind a RoundTripper. It counts what it is asked.
type endpoint struct {
	mu    sync.Mutex
	body  map[string]string // by URL; a missing one answers 404
	delay time.Duration
	down  bool
	hits  atomic.Int64
}

func (e *endpoint) set(url, body string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.body == nil {
		e.body = make(map[string]string)
	}
	e.body[url] = body
}

func (e *endpoint) change(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	e.hits.Add(1)
	e.mu.Lock()
	body, ok := e.body[r.URL.String()]
	delay, down := e.delay, e.down
	e.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status := http.StatusOK
	switch {
	case down:
		return nil, errors.New("connection refused")
	case !ok:
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// remote runs a test in a bubble of time, against keys at an endpoint that serves k1.
func remote(t *testing.T, source auth.KeySource, test func(t *testing.T, v *auth.Verifier, e *endpoint)) {
	fixtures() // not in the bubble
	synctest.Test(t, func(t *testing.T) {
		e := new(endpoint)
		e.set(jwksURL, jwks(k1()))
		v := verifier(t, func(cfg *auth.Config) {
			cfg.Now, cfg.Transport, cfg.Issuers[0].Keys = time.Now, e, source
		})
		test(t, v, e)
	})
}

// fresh returns a token that lives for a day from now, signed with k1 or, under the kid k2, with another key.
func fresh(kid string) string {
	key := fixtures().rsa
	if kid != "k1" {
		key = fixtures().rsaOther
	}
	now := time.Now().Unix()
	claims := goodClaims().with(object{"iat": now, "exp": now + 86400})
	return sign(goodHeader().with(object{"kid": kid}).json(), claims.json(), key)
}

func k2() jose.JSONWebKey {
	return jose.JSONWebKey{Key: &fixtures().rsaOther.PublicKey, KeyID: "k2"}
}

func TestRandomKids(t *testing.T) { // JWT-07
	remote(t, auth.KeyURL(jwksURL), func(t *testing.T, v *auth.Verifier, e *endpoint) {
		e.change(func() { e.delay = 300 * time.Millisecond })
		good := fresh("k1")
		admit(t, v, good)
		e.hits.Store(0)
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				<-time.After(time.Duration(i) * 10 * time.Millisecond)
				if _, err := v.Verify(t.Context(), fresh(fmt.Sprintf("random-%d", i))); !errors.Is(err, fault.Unauthenticated) {
					t.Errorf("a random kid: %v", err)
				}
			})
		}
		for range 40 { // beside it, good tokens don't wait
			begin := time.Now()
			admit(t, v, good)
			admit(t, v, fresh("k1"))
			if d := time.Since(begin); d != 0 {
				t.Fatalf("a good token waited %v", d)
			}
			<-time.After(50 * time.Millisecond)
		}
		wg.Wait()
		if n := e.hits.Load(); n != 1 {
			t.Errorf("%d requests for keys, want 1", n)
		}
	})
}

func TestRotation(t *testing.T) {
	remote(t, auth.KeyURL(jwksURL), func(t *testing.T, v *auth.Verifier, e *endpoint) {
		old := fresh("k1")
		admit(t, v, old)
		e.set(jwksURL, jwks(k1(), k2()))
		admit(t, v, fresh("k2")) // a new key works at once
		admit(t, v, old)         // and the old one is found among the new keys

		e.set(jwksURL, jwks(k2()))
		<-time.After(5*time.Minute + time.Second)
		admit(t, v, old) // has the keys fetched beside it
		synctest.Wait()
		if _, err := v.Verify(t.Context(), old); auth.ReasonOf(err) != "kid" {
			t.Errorf("a token whose key was removed: %v", err)
		}
		admit(t, v, fresh("k2"))
	})
}

func TestRemovedKeyAfterIdleTime(t *testing.T) {
	remote(t, auth.KeyURL(jwksURL), func(t *testing.T, v *auth.Verifier, e *endpoint) {
		old := fresh("k1")
		admit(t, v, old)
		e.set(jwksURL, jwks(k2()))
		<-time.After(time.Hour)
		if _, err := v.Verify(t.Context(), old); auth.ReasonOf(err) != "kid" {
			t.Errorf("the first token after an hour: %v", err)
		}
	})
}

func TestUnchangedKeysKeepTheCache(t *testing.T) {
	remote(t, auth.KeyURL(jwksURL), func(t *testing.T, v *auth.Verifier, e *endpoint) {
		tok := fresh("k1")
		p := admit(t, v, tok)
		<-time.After(6 * time.Minute)
		admit(t, v, tok)
		synctest.Wait()
		if e.hits.Load() != 2 {
			t.Fatalf("%d requests, want 2", e.hits.Load())
		}
		if admit(t, v, tok) != p {
			t.Error("the token was verified again, though its key stayed")
		}
	})
}

func TestEndpointFails(t *testing.T) {
	for name, fail := range map[string]func(*endpoint){
		"down":        func(e *endpoint) { e.down = true },
		"hangs":       func(e *endpoint) { e.delay = time.Hour },
		"404":         func(e *endpoint) { e.body = nil },
		"not JSON":    func(e *endpoint) { e.body[jwksURL] = "<html>" },
		"not a set":   func(e *endpoint) { e.body[jwksURL] = "{}" },
		"too large":   func(e *endpoint) { e.body[jwksURL] += repeat(" ", 1<<20) },
		"two of keys": func(e *endpoint) { e.body[jwksURL] = `{"keys":[],"keys":[]}` },
	} {
		t.Run(name, func(t *testing.T) {
			remote(t, auth.KeyURL(jwksURL), func(t *testing.T, v *auth.Verifier, e *endpoint) {
				good := fresh("k1")
				admit(t, v, good)
				e.change(func() { fail(e) })
				e.hits.Store(0)
				for range 60 { // a minute past the refresh that fails: at most one attempt in ten seconds
					admit(t, v, good)
					<-time.After(6 * time.Second)
				}
				if n := e.hits.Load(); n == 0 || n > 7 {
					t.Errorf("%d requests in the minute after the keys were due, want 1 to 7", n)
				}
				e.change(func() { e.down, e.delay = false, 0; e.body = map[string]string{jwksURL: jwks(k2())} })
				<-time.After(time.Minute)
				admit(t, v, good)
				synctest.Wait()
				admit(t, v, fresh("k2"))
			})
		})
	}
}

func TestKeysNeverFetched(t *testing.T) {
	remote(t, auth.KeyURL(jwksURL), func(t *testing.T, v *auth.Verifier, e *endpoint) {
		e.change(func() { e.down = true })
		for range 5 {
			_, err := v.Verify(t.Context(), fresh("k1"))
			if !errors.Is(err, fault.Unavailable) || fault.As(err).RetryAfter != 10*time.Second {
				t.Fatalf("Verify = %v, want fault.Unavailable after 10 s", err)
			}
		}
		if n := e.hits.Load(); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		e.change(func() { e.down, e.delay = false, 3*time.Second })
		<-time.After(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Verify(ctx, fresh("k1")); !errors.Is(err, fault.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that gave up: %v", err)
		}
		admit(t, v, fresh("k1")) // joins the fetch that the other one began
		if n := e.hits.Load(); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

func TestClose(t *testing.T) {
	remote(t, auth.KeyURL(jwksURL), func(t *testing.T, v *auth.Verifier, e *endpoint) {
		good := fresh("k1")
		admit(t, v, good)
		e.change(func() { e.delay = time.Hour })
		<-time.After(6 * time.Minute)
		admit(t, v, good)
		synctest.Wait() // the fetch in the background hangs
		begin := time.Now()
		v.Close()
		if d := time.Since(begin); d != 0 {
			t.Errorf("Close took %v", d)
		}
		hits := e.hits.Load()
		<-time.After(time.Hour)
		admit(t, v, good)
		if e.hits.Load() != hits {
			t.Error("a closed Verifier fetches")
		}
	})
}

func TestDiscovery(t *testing.T) {
	const at = issuerName + "/.well-known/openid-configuration"
	document := func(issuer, uri string) string { return object{"issuer": issuer, "jwks_uri": uri, "x": 1}.json() }
	for name, c := range map[string]struct {
		document string
		good     bool
	}{
		"good":                      {document(issuerName, jwksURL), true},
		"another issuer":            {document("https://other.example", jwksURL), false},
		"issuer with a slash":       {document(issuerName+"/", jwksURL), false},
		"no issuer":                 {object{"jwks_uri": jwksURL}.json(), false},
		"keys at http":              {document(issuerName, "http://idp.example/jwks"), false},
		"keys at http on this host": {document(issuerName, "http://127.0.0.1/jwks"), false},
		"keys in a file":            {document(issuerName, "file:///etc/jwks.json"), false},
		"keys behind a user":        {document(issuerName, "https://idp.example@evil.example/jwks"), false},
		"no keys":                   {object{"issuer": issuerName}.json(), false},
		"not JSON":                  {"<html>", false},
	} {
		t.Run(name, func(t *testing.T) {
			remote(t, auth.Discovery{}, func(t *testing.T, v *auth.Verifier, e *endpoint) {
				e.set(at, c.document)
				e.set("http://idp.example/jwks", jwks(k1()))
				e.set("http://127.0.0.1/jwks", jwks(k1()))
				_, err := v.Verify(t.Context(), fresh("k1"))
				if c.good && err != nil || !c.good && !errors.Is(err, fault.Unavailable) {
					t.Errorf("Verify = %v", err)
				}
			})
		})
	}
}

func TestFetchOverHTTP(t *testing.T) {
	var followed atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, jwks(k1())) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/target", http.StatusFound) })
	mux.HandleFunc("/target", func(w http.ResponseWriter, _ *http.Request) {
		followed.Store(true)
		fmt.Fprint(w, jwks(k1()))
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	at := func(path string) *auth.Verifier {
		return verifier(t, func(cfg *auth.Config) { cfg.Issuers[0].Keys = auth.KeyURL(srv.URL + path) })
	}
	admit(t, at("/jwks"), token(nil, nil))
	if _, err := at("/moved").Verify(t.Context(), token(nil, nil)); !errors.Is(err, fault.Unavailable) || followed.Load() {
		t.Errorf("a redirect: %v, followed: %v", err, followed.Load())
	}
}

func TestURLsOfKeys(t *testing.T) {
	open := func(source auth.KeySource, name string) error {
		v, err := auth.NewVerifier(auth.Config{Issuers: []auth.Issuer{{Name: name, Audience: audience, Keys: source}}, Log: quiet()})
		if err == nil {
			v.Close()
		}
		return err
	}
	for _, url := range []string{"https://idp.example/jwks", "http://127.0.0.1:8080/jwks", "http://localhost/jwks", "http://[::1]/jwks"} {
		if err := open(auth.KeyURL(url), issuerName); err != nil {
			t.Errorf("KeyURL(%q): %v", url, err)
		}
		if err := open(auth.Discovery{}, url); err != nil {
			t.Errorf("Discovery of %q: %v", url, err)
		}
	}
	for _, url := range []string{"", "http://idp.example/jwks", "http://127.0.0.1.evil.example/jwks", "http://localhost.evil/jwks", "ftp://127.0.0.1/jwks", "file:///jwks.json",
		"https://", "https://user@idp.example/jwks", "https://idp.example/jwks#x", "//idp.example/jwks", "jwks.json", "http://10.0.0.1/jwks", "https://idp example/"} {
		for _, source := range []auth.KeySource{auth.KeyURL(url), auth.Discovery{}} {
			name := issuerName
			if _, ok := source.(auth.Discovery); ok {
				if name = url; name == "" {
					continue // blank names are another test's
				}
			}
			if err := open(source, name); !errors.Is(err, fault.ValidationFailed) || !strings.Contains(fault.As(err).Msg, name) {
				t.Errorf("%T(%q): %v; want fault.ValidationFailed that names the issuer", source, url, err)
			}
		}
	}
}
