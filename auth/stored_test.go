package auth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

// rows is a SecretStore in memory.
type rows struct {
	mu       sync.Mutex
	texts    map[string][]byte
	versions map[string]int64
	failing  error
	saves    int
}

func newRows() *rows { return &rows{texts: map[string][]byte{}, versions: map[string]int64{}} }

func (r *rows) Load(_ context.Context, name string) ([]byte, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.texts[name]), r.versions[name], r.failing
}

func (r *rows) Save(_ context.Context, name string, text []byte, version int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.versions[name] != version-1 {
		return fault.Conflict("test", version-1, r.versions[name])
	}
	r.texts[name], r.versions[name] = bytes.Clone(text), version
	r.saves++
	return nil
}

// set changes the only row behind everybody's back.
func (r *rows) set(change func(text []byte, version int64) ([]byte, int64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.texts {
		r.texts[name], r.versions[name] = change(r.texts[name], r.versions[name])
	}
}

func masterKey(t testing.TB) auth.MasterKey {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	m, err := auth.ParseMasterKey(base64.StdEncoding.EncodeToString(key))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMasterKeysAreRandomBytes(t *testing.T) {
	key := make([]byte, 32)
	rand.Read(key)
	want := ""
	for _, text := range []string{base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key), hex.EncodeToString(key),
		strings.ToUpper(hex.EncodeToString(key)), " " + hex.EncodeToString(key) + "\n"} {
		m, err := auth.ParseMasterKey(text)
		if err != nil || m.IsZero() || want != "" && m.ID() != want {
			t.Errorf("%q: %v, %v", text, m, err)
		}
		want = m.ID()
		for _, shown := range []string{fmt.Sprint(m), fmt.Sprintf("%+v %#v %v", m, m, []any{m, &m})} {
			for _, secret := range []string{hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), fmt.Sprint(key), fmt.Sprint(key[:4])[1:]} {
				if strings.Contains(shown, secret) {
					t.Errorf("the key is shown: %s", shown)
				}
			}
		}
	}
	for what, text := range map[string]string{"nothing": "", "blank": "  ", "a word": "secret", "31 bytes": hex.EncodeToString(key[:31]),
		"33 bytes": hex.EncodeToString(append(key[:32:32], 1)), "zeros": strings.Repeat("0", 64), "32 letters": "abcdefghijklmnopqrstuvwxyzABCDEF",
		"a sentence in base64": base64.StdEncoding.EncodeToString([]byte("the quick brown fox, jumps! 1234")), "a pattern": strings.Repeat("deadbeef01020304", 4)} {
		_, err := auth.ParseMasterKey(text)
		if !errors.Is(err, fault.InvalidRequest) || !strings.Contains(fmt.Sprint(err), "openssl rand -base64 32") {
			t.Errorf("%s: %v", what, err)
		}
		if text = strings.TrimSpace(text); text != "" && strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%s is repeated: %v", what, err)
		}
	}
}

// Of processes that start at once one makes the keys.
func TestProcessesThatStartAtOnceShareTheirKeys(t *testing.T) {
	store, master := newRows(), masterKey(t)
	rings := make([]*auth.Keyring, 16)
	var starting sync.WaitGroup
	for i := range rings {
		starting.Go(func() {
			var err error
			if rings[i], err = auth.StoredKeys(store, master).Keyring(t.Context(), auth.KeyringOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	for _, r := range rings {
		if string(r.JWKS()) != string(rings[0].JWKS()) || !bytes.Equal(r.CursorKey(), rings[0].CursorKey()) {
			t.Error("two processes have different keys")
		}
	}
	if store.saves != 1 {
		t.Errorf("the keys were made %d times", store.saves)
	}
	for _, text := range store.texts {
		if bytes.Contains(text, []byte("cursorKey")) || bytes.Contains(text, []byte("Ed25519")) {
			t.Errorf("the store holds the keys in the clear: %s", text)
		}
	}
}

// A rotation in one process is followed in another within a second; what is wrong meanwhile leaves the keys in force.
func TestStoredKeysAreFollowed(t *testing.T) {
	now := time.Now()
	store := newRows()
	keys := auth.StoredKeys(store, masterKey(t))
	ring, err := keys.Keyring(t.Context(), auth.KeyringOptions{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	first := string(ring.JWKS())
	made, err := keys.Rotate(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	if second := string(ring.JWKS()); !strings.Contains(second, made.ID) || second == first {
		t.Errorf("a second after the rotation: %s", second)
	}
	list, err := keys.List(t.Context())
	if err != nil || len(list) != 2 || list[0] != made || !list[0].Active {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := keys.Retire(t.Context(), made.ID); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("retiring the key that signs: %v", err)
	}
	if err := keys.Retire(t.Context(), list[1].ID); err != nil {
		t.Fatal(err)
	}
	store.failing = fault.New(fault.Unavailable, "test", "away")
	now = now.Add(time.Second)
	if got := string(ring.JWKS()); !strings.Contains(got, list[1].ID) {
		t.Errorf("while the store is away: %s", got)
	}
	store.failing = nil
	now = now.Add(time.Second)
	if got := string(ring.JWKS()); strings.Contains(got, list[1].ID) || !strings.Contains(got, made.ID) {
		t.Errorf("after it is back: %s", got)
	}
}

// Rotations at the same time come one after the other.
func TestRotationsOfStoredKeysAtOnce(t *testing.T) {
	store, master := newRows(), masterKey(t)
	keys := auth.StoredKeys(store, master)
	if _, err := keys.Rotate(t.Context(), 0); !errors.Is(err, fault.NotFound) {
		t.Errorf("rotating what isn't there: %v", err)
	}
	if _, err := keys.Keyring(t.Context(), auth.KeyringOptions{}); err != nil {
		t.Fatal(err)
	}
	var rotating sync.WaitGroup
	for range 8 {
		rotating.Go(func() {
			if _, err := keys.Rotate(t.Context(), time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	rotating.Wait()
	if list, err := keys.List(t.Context()); err != nil || len(list) != 9 {
		t.Errorf("%d keys, %v", len(list), err)
	}
}

// A wrong master key is told apart from a row that was changed or moved.
func TestStoredKeysThatCantBeOpened(t *testing.T) {
	master, other := masterKey(t), masterKey(t)
	for what, c := range map[string]struct {
		change func(text []byte, version int64) ([]byte, int64)
		with   auth.MasterKey
		want   fault.Code
	}{
		"as it is":           {func(text []byte, v int64) ([]byte, int64) { return text, v }, master, ""},
		"another master key": {func(text []byte, v int64) ([]byte, int64) { return text, v }, other, fault.InvalidRequest},
		"another master key, said to be this one": {func(text []byte, v int64) ([]byte, int64) {
			return bytes.Replace(text, []byte(master.ID()), []byte(other.ID()), 1), v
		}, other, fault.Internal},
		"a changed text": {func(text []byte, v int64) ([]byte, int64) {
			i := bytes.Index(text, []byte(`"text":"`)) + 60
			text[i] ^= 1
			return text, v
		}, master, fault.Internal},
		"a text that is cut": {func(text []byte, v int64) ([]byte, int64) {
			return []byte(`{"masterKey":"` + master.ID() + `","text":"AAAA"}`), v
		}, master, fault.Internal},
		"no text":                   {func([]byte, int64) ([]byte, int64) { return []byte("{}"), 1 }, master, fault.InvalidRequest},
		"something else":            {func([]byte, int64) ([]byte, int64) { return []byte("[1]"), 1 }, master, fault.Internal},
		"an older row as a new one": {func(text []byte, v int64) ([]byte, int64) { return text, v + 1 }, master, fault.Internal},
	} {
		store := newRows()
		if _, err := auth.StoredKeys(store, master).Keyring(t.Context(), auth.KeyringOptions{}); err != nil {
			t.Fatal(err)
		}
		store.set(c.change)
		_, err := auth.StoredKeys(store, c.with).Keyring(t.Context(), auth.KeyringOptions{})
		if fault.CodeOf(err) != c.want {
			t.Errorf("%s: %v; want %q", what, err, c.want)
		}
	}
}

// The row of one store is of no use under another name.
func TestStoredKeysAreBoundToTheirRow(t *testing.T) {
	store, master := newRows(), masterKey(t)
	if _, err := auth.StoredKeys(store, master).Keyring(t.Context(), auth.KeyringOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := auth.OpenSealedAs("other", master, store.texts["keys"], 1); !errors.Is(err, fault.Internal) {
		t.Errorf("as another row: %v", err)
	}
	if err := auth.OpenSealedAs("keys", master, store.texts["keys"], 1); err != nil {
		t.Errorf("as itself: %v", err)
	}
}

func TestRewrap(t *testing.T) {
	store, old, master := newRows(), masterKey(t), masterKey(t)
	ring, err := auth.StoredKeys(store, old).Keyring(t.Context(), auth.KeyringOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.StoredKeys(store, master).Rewrap(t.Context(), masterKey(t)); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("with a wrong old key: %v", err)
	}
	if err := auth.StoredKeys(store, master).Rewrap(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	after, err := auth.StoredKeys(store, master).Keyring(t.Context(), auth.KeyringOptions{})
	if err != nil || string(after.JWKS()) != string(ring.JWKS()) {
		t.Errorf("after it: %v", err)
	}
	if _, err := auth.StoredKeys(store, old).Keyring(t.Context(), auth.KeyringOptions{}); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("with the old key: %v", err)
	}
}
