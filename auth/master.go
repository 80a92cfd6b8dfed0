package auth

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/fault"
)

const masterKeySize = 32 // bytes

// MasterKey seals the secrets that are kept in a store. The zero value is none. Printed, it is its ID.
type MasterKey struct {
	key []byte
	id  string
}

// ParseMasterKey returns the key that a text spells: 32 bytes in base64 or hexadecimal, from a source of random numbers. It
// fails with fault.InvalidRequest, also for bytes that are plainly not random; the error does not repeat the text.
func ParseMasterKey(text string) (MasterKey, error) {
	key, ok := decodeMasterKey(strings.TrimSpace(text))
	distinct := map[byte]bool{}
	printable := true
	for _, b := range key {
		distinct[b] = true
		printable = printable && b >= ' ' && b <= '~'
	}
	if !ok || len(distinct) < masterKeySize/2 || printable { // of random keys 1 in 10^13 is
		return MasterKey{}, fault.New(fault.InvalidRequest, "auth.ParseMasterKey",
			"the master key is not 32 random bytes in base64 or hexadecimal; make one with: openssl rand -base64 32")
	}
	m := MasterKey{key: key}
	m.id = hex.EncodeToString(m.derive("id")[:8])
	return m, nil
}

func decodeMasterKey(text string) ([]byte, bool) {
	for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString} {
		if key, err := decode(text); err == nil && len(key) == masterKeySize {
			return key, true
		}
	}
	return nil, false
}

// IsZero reports whether there is no key.
func (m MasterKey) IsZero() bool { return m.key == nil }

// ID tells keys apart. It says nothing of the key.
func (m MasterKey) ID() string { return m.id }

// String returns the ID, so that the key is in no log.
func (m MasterKey) String() string { return "master key " + m.id }

// GoString returns the ID too.
func (m MasterKey) GoString() string { return m.String() }

// derive returns the key for one purpose (HKDF-SHA256, RFC 5869).
func (m MasterKey) derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, m.key, nil, "tenantry master key, "+purpose, 32)
	if err != nil {
		panic(err) // not for 32 bytes
	}
	return key
}

// sealed is a text as it is kept in a store.
type sealed struct {
	MasterKey string `json:"masterKey"` // its ID
	Text      []byte `json:"text"`      // nonce and AES-256-GCM, of which the row's name and version are part
}

// seal seals the text of a version of a row.
func (m MasterKey) seal(row string, version int64, text []byte) (sealed, error) {
	gcm, err := m.cipher(row)
	if err != nil {
		return sealed{}, err
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	return sealed{MasterKey: m.id, Text: gcm.Seal(nonce, nonce, text, place(row, version))}, nil
}

// open returns what was sealed. It fails with fault.InvalidRequest where another master key sealed it, and with fault.Internal where it
// was changed, or moved from another row or version.
func (m MasterKey) open(row string, version int64, s sealed) ([]byte, error) {
	const op = "auth.MasterKey"
	if s.MasterKey != m.id {
		return nil, fault.New(fault.InvalidRequest, op, "the keys in the store are sealed under another master key, with the ID %s; this one has the ID %s; use the one that they were sealed under",
			strconv.QuoteToASCII(s.MasterKey[:min(len(s.MasterKey), 2*8)]), m.id)
	}
	gcm, err := m.cipher(row)
	if err != nil {
		return nil, err
	}
	if len(s.Text) < gcm.NonceSize() {
		return nil, damaged(op)
	}
	text, err := gcm.Open(nil, s.Text[:gcm.NonceSize()], bytes.Clone(s.Text[gcm.NonceSize():]), place(row, version))
	if err != nil {
		return nil, damaged(op)
	}
	return text, nil
}

func damaged(op string) error {
	return fault.New(fault.Internal, op, "the keys in the store are damaged, or were moved from another row; restore that row from a backup of the store")
}

func (m MasterKey) cipher(row string) (cipher.AEAD, error) {
	block, err := aes.NewCipher(m.derive("row " + row))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// place is the data that goes with a sealed text.
func place(row string, version int64) []byte { return fmt.Appendf(nil, "%d %s", version, row) }
