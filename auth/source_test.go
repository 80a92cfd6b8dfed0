package auth_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

// handClock is a clock that a test sets.
type handClock struct{ offset atomic.Int64 }

func (c *handClock) now() time.Time          { return start.Add(time.Duration(c.offset.Load())) }
func (c *handClock) advance(d time.Duration) { c.offset.Add(int64(d)) }
func replace(t *testing.T, path, content string) { // as an operator should: by a rename
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFile(t *testing.T) {
	var c handClock
	var log bytes.Buffer
	file := keyFile(t, k1())
	v := verifier(t, func(cfg *auth.Config) {
		cfg.Now, cfg.Issuers[0].Keys = c.now, file
		cfg.Log = slog.New(slog.NewJSONHandler(&log, nil))
	})
	old := token(nil, nil)
	other := sign(goodHeader().with(object{"kid": "k2"}).json(), goodClaims().json(), fixtures().rsaOther)
	refused := func(tok string) {
		t.Helper()
		if _, err := v.Verify(t.Context(), tok); auth.ReasonOf(err) != "kid" {
			t.Errorf("Verify = %v, want a refusal for kid", err)
		}
	}
	admit(t, v, old)
	refused(other)

	replace(t, string(file), jwks(k2()))
	admit(t, v, old) // not looked at yet
	c.advance(time.Second)
	refused(old) // though it was seen before
	admit(t, v, other)

	for _, bad := range []string{"", "{", `{"keys":1}`, jwks() + jwks(), jwks(k1()) + repeat(" ", 1<<20)} {
		log.Reset()
		replace(t, string(file), bad)
		for range 3 {
			c.advance(time.Second)
			admit(t, v, other)
		}
		if n := strings.Count(log.String(), "the file of keys is bad"); n != 1 {
			t.Errorf("%.20q was logged %d times, want once:\n%s", bad, n, log.String())
		}
	}
	if err := os.Remove(string(file)); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Second)
	admit(t, v, other)

	replace(t, string(file), jwks(k1(), k2()))
	c.advance(time.Second)
	admit(t, v, old)
	admit(t, v, other)

	replace(t, string(file), jwks()) // a good set without keys means what it says
	c.advance(time.Second)
	refused(old)

	replace(t, string(file), jwks(k1()))
	c.advance(time.Second)
	admit(t, v, old)
	was := must(os.Stat(string(file))) // another file of the same size and time is another file
	replace(t, string(file), strings.Replace(jwks(k1()), `"k1"`, `"k3"`, 1))
	if err := os.Chtimes(string(file), was.ModTime(), was.ModTime()); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Second)
	refused(old)

	replace(t, string(file), jwks(k1()))
	c.advance(-30 * time.Second) // the clock is set back
	admit(t, v, old)
}

func TestBadKeyFiles(t *testing.T) {
	file := keyFile(t, k1())
	missing := auth.KeyFile(string(file) + ".missing")
	for name, keys := range map[string]auth.KeySource{
		"missing": missing, "directory": auth.KeyFile(t.TempDir()), "no keys": keyFile(t), "no usable key": keyFile(t, object{"kty": "oct", "k": "AAAA"}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.NewVerifier(auth.Config{Issuers: []auth.Issuer{{Name: issuerName, Audience: audience, Keys: keys}}, Log: quiet()})
			if !errors.Is(err, fault.ValidationFailed) || !strings.Contains(fault.As(err).Msg, issuerName) {
				t.Errorf("NewVerifier = %v; want fault.ValidationFailed that names the issuer", err)
			}
		})
	}
}
