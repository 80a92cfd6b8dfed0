package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
)

const (
	secretsFile   = "keys.json"
	cursorKeySize = 32 // bytes
)

var errSecrets = errors.New("it doesn't hold Ed25519 keys, the active one among them, times of these alone, and a cursor key")

// secrets are what a Keyring keeps: the content of keys.json in the data directory.
type secrets struct {
	Active    string              `json:"active"`         // the kid of the key that signs
	Keys      []jose.JSONWebKey   `json:"keys"`           // private, the newest first; those that don't sign still verify
	Times     map[string]keyTimes `json:"times,omitzero"` // by kid; files from before rotation have none
	CursorKey []byte              `json:"cursorKey"`
}

// keyTimes are when a key was made and when it stops verifying. Zero is not known, and never.
type keyTimes struct {
	Created time.Time `json:"createdAt,omitzero"`
	Until   time.Time `json:"until,omitzero"`
}

// newSecrets returns one new key and a new cursor key.
func newSecrets(now time.Time) (*secrets, error) {
	s := &secrets{CursorKey: make([]byte, cursorKeySize)}
	rand.Read(s.CursorKey)
	return s, s.addKey(now)
}

// addKey adds a new key that signs from then on. Its kid is its thumbprint (RFC 7638).
func (s *secrets) addKey(now time.Time) error {
	jwk := jose.JSONWebKey{Algorithm: "EdDSA", Use: "sig"}
	for jwk.KeyID == "" || jwk.KeyID[0] == '-' { // which a command line would take for a flag
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		thumbprint, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
		if err != nil {
			return err
		}
		jwk.Key, jwk.KeyID = private, encoding.EncodeToString(thumbprint)
	}
	s.Active, s.Keys = jwk.KeyID, slices.Insert(s.Keys, 0, jwk)
	s.setTimes(jwk.KeyID, keyTimes{Created: now.UTC().Truncate(time.Second)})
	return nil
}

// OpenKeyring returns the Keyring of a data directory. At the first start it makes the directory (mode 0700) and the keys,
// in a file of mode 0600; of several processes that start at once one makes them and all use them. It fails with
// fault.InvalidRequest where others than the owner may read or write the file and for a blank name or audience, and with
// fault.Internal where the file can't be read, written or understood.
func OpenKeyring(dir string, opts KeyringOptions) (*Keyring, error) {
	k := opts.keyring()
	file := &file{path: filepath.Join(dir, secretsFile)}
	k.home = file
	k.looked.Store(k.now().UnixNano())
	s, err := file.read()
	if errors.Is(err, fs.ErrNotExist) {
		if err = createSecrets(file.path, k.now()); err == nil {
			s, err = file.read()
		}
	}
	if err == nil {
		err = k.use(s)
	}
	if err != nil {
		return nil, unusable("auth.OpenKeyring", file.path, err)
	}
	return k, nil
}

// file is the file of keys of a data directory.
type file struct {
	path string
	last os.FileInfo // of the file read last
}

func (f *file) String() string { return f.path }

func (f *file) every() (usual, missed time.Duration) {
	return 250 * time.Millisecond, 10 * time.Millisecond
}

func (f *file) read() (*secrets, error) {
	info, err := os.Stat(f.path)
	if err != nil || f.last != nil && isSame(info, f.last) {
		return nil, err
	}
	s, info, err := readSecrets(f.path)
	if err == nil {
		_, err = newRing(s)
	}
	if err != nil {
		return nil, err
	}
	f.last = info
	return s, nil
}

// unusable returns the error for a file of keys that can't be read, written or understood.
func unusable(op, path string, err error) error {
	if fault.CodeOf(err) == fault.InvalidRequest {
		return err
	}
	return fault.Wrap(err, fault.Internal, op, "the file of keys %s can't be used: %v", path, err)
}

func readSecrets(path string) (*secrets, os.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" { // where the mode says nothing
		return nil, nil, fault.New(fault.InvalidRequest, "auth.OpenKeyring",
			"the file of keys %s can be read or written by others; if nobody did, run chmod 600 on it", path)
	}
	text, err := readDocument(f)
	if err != nil {
		return nil, nil, err
	}
	s, err := parseSecrets(text)
	return s, info, err
}

func parseSecrets(text []byte) (*secrets, error) {
	s := new(secrets)
	return s, json.Unmarshal(text, s, json.RejectUnknownMembers(true))
}

func (s *secrets) text() ([]byte, error) {
	return json.Marshal(s, jsontext.Multiline(true), json.Deterministic(true))
}

// createSecrets makes the file unless it exists by then.
func createSecrets(path string, now time.Time) error {
	s, err := newSecrets(now)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return s.write(path, nil, func(written string) error {
		if err := os.Link(written, path); !errors.Is(err, fs.ErrExist) { // a rename would replace another's file
			return err
		}
		return nil
	})
}

// write writes s into a new file beside path, of mode 0600 and the owner of another one, nil for this process's, and lets
// place put it there: so it appears whole, on disk, or not at all.
func (s *secrets) write(path string, owner os.FileInfo, place func(written string) error) error {
	text, err := s.text()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, secretsFile+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if owner != nil {
		if err := keepOwner(f, owner); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := place(f.Name()); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
