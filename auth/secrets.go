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

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
)

const (
	secretsFile   = "keys.json"
	cursorKeySize = 32 // bytes
)

var errSecrets = errors.New("it doesn't hold Ed25519 keys, the active one among them, and a cursor key")

// secrets are what a Keyring keeps: the content of keys.json in the data directory.
type secrets struct {
	Active    string            `json:"active"` // the kid of the key that signs
	Keys      []jose.JSONWebKey `json:"keys"`   // private; those that don't sign still verify
	CursorKey []byte            `json:"cursorKey"`
}

// newSecrets returns one new key, whose kid is its thumbprint (RFC 7638), and a new cursor key.
func newSecrets() (*secrets, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	jwk := jose.JSONWebKey{Key: private, Algorithm: "EdDSA", Use: "sig"}
	thumbprint, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	jwk.KeyID = encoding.EncodeToString(thumbprint)
	s := &secrets{Active: jwk.KeyID, Keys: []jose.JSONWebKey{jwk}, CursorKey: make([]byte, cursorKeySize)}
	rand.Read(s.CursorKey)
	return s, nil
}

// OpenKeyring returns the Keyring of a data directory. At the first start it makes the directory (mode 0700) and the keys,
// in a file of mode 0600; of several processes that start at once one makes them and all use them. It fails with
// fault.InvalidRequest where others than the owner may read or write the file and for a blank name or audience, and with
// fault.Internal where the file can't be read, written or understood.
func OpenKeyring(dir string, opts KeyringOptions) (*Keyring, error) {
	path := filepath.Join(dir, secretsFile)
	s, err := readSecrets(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createSecrets(path); err == nil {
			s, err = readSecrets(path)
		}
	}
	var k *Keyring
	if err == nil {
		k, err = newKeyring(s, opts)
	}
	if err != nil && fault.CodeOf(err) != fault.InvalidRequest {
		err = fault.Wrap(err, fault.Internal, "auth.OpenKeyring", "the file of keys %s can't be used: %v", path, err)
	}
	return k, err
}

func readSecrets(path string) (*secrets, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" { // where the mode says nothing
		return nil, fault.New(fault.InvalidRequest, "auth.OpenKeyring",
			"the file of keys %s can be read or written by others; if nobody did, run chmod 600 on it", path)
	}
	text, err := readDocument(f)
	if err != nil {
		return nil, err
	}
	s := new(secrets)
	return s, json.Unmarshal(text, s, json.RejectUnknownMembers(true))
}

// createSecrets makes the file unless it exists by then. It appears whole, on disk, or not at all.
func createSecrets(path string) error {
	s, err := newSecrets()
	if err != nil {
		return err
	}
	text, err := json.Marshal(s, jsontext.Multiline(true))
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, secretsFile+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) { // a rename would replace another's file
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
