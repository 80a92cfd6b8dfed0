package auth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

// lookEvery is how long a change of the file of keys may take to count.
const lookEvery = 250 * time.Millisecond

// openRotating opens a Keyring whose clock may run ahead of that of rotation, which is the system's.
func openRotating(t testing.TB, dir string, now func() time.Time) *auth.Keyring {
	t.Helper()
	k, err := auth.OpenKeyring(dir, auth.KeyringOptions{Now: now, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rotating is an installation whose keys are rotated: a Keyring, and a Verifier that trusts it.
type rotating struct {
	handClock
	dir  string
	ring *auth.Keyring
	v    *auth.Verifier
}

func newRotating(t *testing.T) *rotating {
	r := &rotating{dir: t.TempDir()}
	began := time.Now()
	now := func() time.Time { return began.Add(r.handClock.now().Sub(start)) }
	r.ring = openRotating(t, r.dir, now)
	r.v = verifier(t, func(cfg *auth.Config) { cfg.Keyring, cfg.Now = r.ring, now })
	return r
}

func (r *rotating) issue(t *testing.T, id string) string {
	t.Helper()
	return issue(t, r.ring, auth.Claims{Subject: "s", TokenID: id, TTL: 1000 * time.Hour})
}

func (r *rotating) refused(t *testing.T, tok string) {
	t.Helper()
	if p, err := r.v.Verify(t.Context(), tok); p != nil || auth.ReasonOf(err) != "kid" {
		t.Errorf("a token of a key that ended: %v, %v; want a refusal for kid", p, err)
	}
}

// published returns the kids of the JWK set, sorted.
func (r *rotating) published(t *testing.T) []string {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.ring.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		if !k.IsPublic() {
			t.Fatal("the JWK set holds a private key")
		}
		ids = append(ids, k.KeyID)
	}
	slices.Sort(ids)
	return ids
}

func kidOf(t *testing.T, tok string) string {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(tok, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Signatures[0].Header.KeyID
}

func sorted(ids ...string) []string { slices.Sort(ids); return ids }

func list(t *testing.T, dir string) []auth.KeyInfo {
	t.Helper()
	keys, err := auth.ListKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestRotateKey(t *testing.T) {
	r := newRotating(t)
	old := r.issue(t, "old")
	admit(t, r.v, old)
	first := list(t, r.dir)
	if len(first) != 1 || !first[0].Active || first[0].ID != kidOf(t, old) || !first[0].Retiring.IsZero() || time.Since(first[0].CreatedAt) > time.Minute {
		t.Fatalf("the first key is %+v", first)
	}
	secret, cursors := r.ring.Secret("x"), r.ring.CursorKey()

	before := time.Now()
	made := must(auth.RotateKey(r.dir, time.Hour))
	keys := list(t, r.dir)
	if len(keys) != 2 || keys[0] != made || !made.Active || made.ID == first[0].ID || keys[1].Active || keys[1].ID != first[0].ID {
		t.Fatalf("after rotation the keys are %+v", keys)
	}
	if left := keys[1].Retiring.Sub(before); left < time.Hour || left > time.Hour+time.Minute {
		t.Errorf("the old key retires in %v, want an hour", left)
	}

	r.advance(lookEvery - 1)
	if got := kidOf(t, r.issue(t, "early")); got != first[0].ID {
		t.Errorf("the file was looked at before it was due: %s signs", got)
	}
	r.advance(1)
	admit(t, r.v, old)
	young := r.issue(t, "new")
	if kidOf(t, young) != made.ID {
		t.Error("the new key doesn't sign")
	}
	admit(t, r.v, young)
	if got := r.published(t); !slices.Equal(got, sorted(made.ID, first[0].ID)) {
		t.Errorf("published are %v", got)
	}
	if !bytes.Equal(secret, r.ring.Secret("x")) || !bytes.Equal(cursors, r.ring.CursorKey()) || !bytes.Equal(secret, openRotating(t, r.dir, time.Now).Secret("x")) {
		t.Error("rotation changed the secret that seals cursors, or one derived from it")
	}

	r.advance(time.Hour + time.Minute)
	r.refused(t, old) // though it was seen, and nobody wrote the file
	admit(t, r.v, young)
	if got := r.published(t); !slices.Equal(got, []string{made.ID}) {
		t.Errorf("published are %v, want the new key alone", got)
	}
	later := openRotating(t, r.dir, func() time.Time { return time.Now().Add(2 * time.Hour) })
	if strings.Contains(string(later.JWKS()), first[0].ID) {
		t.Error("a Keyring that is opened after the overlap publishes the old key")
	}
}

func TestRotationAtOnce(t *testing.T) {
	r := newRotating(t)
	oldest := r.issue(t, "oldest")
	must(auth.RotateKey(r.dir, time.Hour))
	r.advance(lookEvery)
	old := r.issue(t, "old")
	admit(t, r.v, oldest)
	admit(t, r.v, old)

	must(auth.RotateKey(r.dir, 100*time.Hour)) // an overlap is never lengthened
	if keys := list(t, r.dir); len(keys) != 3 || time.Until(keys[2].Retiring) > time.Hour || time.Until(keys[1].Retiring) < 99*time.Hour {
		t.Errorf("after two rotations the keys are %+v", keys)
	}
	must(auth.RotateKey(r.dir, 0))
	if keys := list(t, r.dir); len(keys) != 1 {
		t.Errorf("after a rotation without overlap the keys are %+v", keys)
	}
	r.advance(lookEvery)
	r.refused(t, oldest)
	r.refused(t, old)
	admit(t, r.v, r.issue(t, "new"))
}

func TestRetire(t *testing.T) {
	r := newRotating(t)
	old := r.issue(t, "old")
	must(auth.RotateKey(r.dir, auth.DefaultOverlap))
	r.advance(lookEvery)
	young := r.issue(t, "new")
	admit(t, r.v, old)
	admit(t, r.v, young)

	if err := auth.RetireKey(r.dir, kidOf(t, young)); !errors.Is(err, fault.InvalidRequest) || !strings.Contains(fault.As(err).Msg, "rotate first") {
		t.Errorf("the active key was retired: %v", err)
	}
	if err := auth.RetireKey(r.dir, "other"); !errors.Is(err, fault.NotFound) {
		t.Errorf("a key that isn't there: %v", err)
	}
	if err := auth.RetireKey(r.dir, kidOf(t, old)); err != nil {
		t.Fatal(err)
	}
	if err := auth.RetireKey(r.dir, kidOf(t, old)); !errors.Is(err, fault.NotFound) {
		t.Errorf("a key that was retired before: %v", err)
	}
	r.advance(lookEvery)
	r.refused(t, old)
	admit(t, r.v, young)
	if keys := list(t, r.dir); len(keys) != 1 || keys[0].ID != kidOf(t, young) {
		t.Errorf("the keys are %+v", keys)
	}
	if entries := must(os.ReadDir(r.dir)); len(entries) != 1 {
		t.Errorf("the directory holds %v, want keys.json alone", entries)
	}
	if info := must(os.Stat(filepath.Join(r.dir, "keys.json"))); info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v, want 0600", info.Mode())
	}
}

// TestNewKeyOfAnotherProcess takes a token of a key that this process has not read yet: it looks, but not for every
// invented kid.
func TestNewKeyOfAnotherProcess(t *testing.T) {
	r := newRotating(t)
	must(auth.RotateKey(r.dir, time.Hour))
	young := issue(t, openRotating(t, r.dir, time.Now), auth.Claims{Subject: "s"})
	r.refused(t, young) // the file was looked at this very moment
	r.advance(10 * time.Millisecond)
	admit(t, r.v, young)
}

func TestRotationsAtOnce(t *testing.T) {
	dir := t.TempDir()
	openRotating(t, dir, time.Now)
	const n = 20
	made := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			key, err := auth.RotateKey(dir, time.Hour)
			if err != nil {
				t.Error(err)
			}
			made[i] = key.ID
		})
	}
	wg.Wait()
	keys := list(t, dir)
	for _, id := range made {
		if !slices.ContainsFunc(keys, func(k auth.KeyInfo) bool { return k.ID == id }) {
			t.Errorf("a rotation was lost: the key %s", id)
		}
	}
	active := 0
	for _, k := range keys {
		if k.Active {
			active++
		}
	}
	if len(keys) != n+1 || active != 1 {
		t.Errorf("there are %d keys, %d of them active, want %d and one", len(keys), active, n+1)
	}
}

func TestRotationRefuses(t *testing.T) {
	empty, dir := t.TempDir(), t.TempDir()
	openRotating(t, dir, time.Now)
	for name, call := range map[string]func(dir string) error{
		"list":   func(dir string) error { _, err := auth.ListKeys(dir); return err },
		"rotate": func(dir string) error { _, err := auth.RotateKey(dir, 0); return err },
		"retire": func(dir string) error { return auth.RetireKey(dir, "k") },
	} {
		for _, none := range []string{empty, filepath.Join(empty, "absent")} {
			if err := call(none); !errors.Is(err, fault.NotFound) {
				t.Errorf("%s without keys: %v", name, err)
			}
		}
		bad := t.TempDir()
		replace(t, filepath.Join(bad, "keys.json"), "{")
		if err := call(bad); !errors.Is(err, fault.Internal) {
			t.Errorf("%s of a bad file: %v", name, err)
		}
		if text := must(os.ReadFile(filepath.Join(bad, "keys.json"))); string(text) != "{" {
			t.Errorf("%s replaced a bad file", name)
		}
		if err := os.Chmod(filepath.Join(bad, "keys.json"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := call(bad); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("%s of a file that others read: %v", name, err)
		}
	}
	if _, err := auth.RotateKey(dir, -1); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("a negative overlap: %v", err)
	}
	for range 99 {
		must(auth.RotateKey(dir, time.Hour))
	}
	if _, err := auth.RotateKey(dir, time.Hour); !errors.Is(err, fault.InvalidRequest) || !strings.Contains(fault.As(err).Msg, "100") {
		t.Errorf("the key after the hundredth: %v", err)
	}
	must(auth.RotateKey(dir, 0))
}

// TestOldKeyringFile reads a file from before rotation, and rotates it.
func TestOldKeyringFile(t *testing.T) {
	dir := t.TempDir()
	openRotating(t, dir, time.Now)
	path := filepath.Join(dir, "keys.json")
	var m map[string]any
	if err := json.Unmarshal(must(os.ReadFile(path)), &m); err != nil {
		t.Fatal(err)
	}
	delete(m, "times")
	replace(t, path, string(must(json.Marshal(m))))
	k := openRotating(t, dir, time.Now)
	old := list(t, dir)
	if len(old) != 1 || !old[0].Active || !old[0].CreatedAt.IsZero() || kidOf(t, issue(t, k, auth.Claims{Subject: "s"})) != old[0].ID {
		t.Errorf("the keys are %+v", old)
	}
	must(auth.RotateKey(dir, time.Hour))
	if keys := list(t, dir); len(keys) != 2 || keys[1].ID != old[0].ID || keys[1].Retiring.IsZero() {
		t.Errorf("after rotation the keys are %+v", keys)
	}
	m["times"] = map[string]any{"another": map[string]any{"until": "2026-01-01T00:00:00Z"}}
	replace(t, path, string(must(json.Marshal(m))))
	if _, err := auth.OpenKeyring(dir, auth.KeyringOptions{}); !errors.Is(err, fault.Internal) {
		t.Errorf("times of a key that isn't there: %v", err)
	}
	m["times"] = map[string]any{old[0].ID: map[string]any{"until": "2126-01-01T00:00:00Z"}}
	replace(t, path, string(must(json.Marshal(m))))
	if _, err := auth.OpenKeyring(dir, auth.KeyringOptions{}); !errors.Is(err, fault.Internal) {
		t.Errorf("a key that signs and ends: %v", err)
	}
}

func TestKeyringFileGoesBad(t *testing.T) {
	var c handClock
	var log bytes.Buffer
	dir := t.TempDir()
	k := must(auth.OpenKeyring(dir, auth.KeyringOptions{Now: c.now, Log: slog.New(slog.NewJSONHandler(&log, nil))}))
	v := verifier(t, func(cfg *auth.Config) { cfg.Keyring, cfg.Now = k, c.now })
	path := filepath.Join(dir, "keys.json")
	good := string(must(os.ReadFile(path)))
	tok := issue(t, k, auth.Claims{Subject: "s"})
	for name, spoil := range map[string]func(){
		"cut":      func() { replace(t, path, good[:len(good)/2]) },
		"readable": func() { replace(t, path, good); must(0, os.Chmod(path, 0o644)) },
		"gone":     func() { must(0, os.Remove(path)) },
	} {
		log.Reset()
		spoil()
		for range 3 {
			c.advance(lookEvery)
			admit(t, v, tok)
			if kidOf(t, issue(t, k, auth.Claims{Subject: "s"})) != kidOf(t, tok) {
				t.Errorf("%s: another key signs", name)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != 1 || strings.Contains(log.String(), `"d"`) {
			t.Errorf("%s was logged %d times, want once: %s", name, n, log.String())
		}
		replace(t, path, good)
		c.advance(lookEvery)
		admit(t, v, tok)
	}

	other := t.TempDir()
	openRotating(t, other, time.Now)
	replace(t, path, string(must(os.ReadFile(filepath.Join(other, "keys.json")))))
	c.advance(lookEvery)
	if _, err := v.Verify(t.Context(), tok); auth.ReasonOf(err) != "kid" {
		t.Errorf("a token of keys that were replaced: %v", err)
	}
}

// TestRotationUnderLoad issues and verifies while keys rotate: no token is refused before its key has ended.
func TestRotationUnderLoad(t *testing.T) {
	dir := t.TempDir()
	k := openRotating(t, dir, time.Now)
	v := verifier(t, func(cfg *auth.Config) { cfg.Keyring, cfg.Now = k, time.Now })
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				tok, err := k.Issue(auth.Claims{Subject: "s"})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := v.Verify(t.Context(), tok); err != nil {
					t.Errorf("a token that was just issued: %v", err)
					return
				}
				k.JWKS()
			}
		})
	}
	signs := kidOf(t, issue(t, k, auth.Claims{Subject: "s"}))
	for range 3 {
		key := must(auth.RotateKey(dir, time.Hour))
		for signs != key.ID { // the Keyring follows, or the test's own deadline ends it
			signs = kidOf(t, issue(t, k, auth.Claims{Subject: "s"}))
		}
	}
	close(done)
	wg.Wait()
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	k := openRotating(t, dir, time.Now)
	a := k.Secret("refresh")
	if len(a) != 32 || !bytes.Equal(a, openRotating(t, dir, time.Now).Secret("refresh")) {
		t.Errorf("the secret has %d bytes, or changed", len(a))
	}
	if bytes.Equal(a, k.Secret("invitations")) || bytes.Equal(a, k.CursorKey()) || bytes.Equal(a, newKeyring(t).Secret("refresh")) {
		t.Error("two labels, or two installations, share a secret")
	}
	a[0]++
	if bytes.Equal(a, k.Secret("refresh")) {
		t.Error("a caller changed the secret")
	}
}

// TestKeyIDs makes so many that one in 64 would show.
func TestKeyIDs(t *testing.T) {
	for range 500 {
		if strings.Contains(string(newKeyring(t).JWKS()), `"kid":"-`) {
			t.Fatal("a key ID looks like a flag")
		}
	}
}
