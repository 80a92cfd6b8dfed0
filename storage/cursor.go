package storage

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
)

// CursorKeySize is the size of the key that seals cursors, in bytes.
const CursorKeySize = 32

// maxCursor bounds a cursor's text: a sort key, a nonce and a tag, with room.
const maxCursor = 2048

// Cursors seals where a page of a list ended, so that the next page can begin there: encrypted, so that it shows nothing, and
// authenticated together with the tenant (this one, not an earlier one of the same code) and the query it belongs to, so that it
// works nowhere else. AES-256-GCM with a random nonce (NIST SP 800-38D). It may be used concurrently.
type Cursors struct{ aead cipher.AEAD }

// NewCursors returns Cursors under a key of CursorKeySize random bytes. It fails with fault.InvalidRequest for another size.
func NewCursors(key []byte) (*Cursors, error) {
	if len(key) != CursorKeySize {
		return nil, fault.New(fault.InvalidRequest, "storage.NewCursors", "the key that seals cursors is 32 bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "storage.NewCursors", "the cipher of cursors can't be made")
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "storage.NewCursors", "the cipher of cursors can't be made")
	}
	return &Cursors{aead: aead}, nil
}

// cursorStep is what the sealed text of a place is a multiple of, in bytes: room for any place in the change feed, whose digits would tell how much
// all tenants write.
const cursorStep = 24

// Seal returns the cursor for a place in the answer to a query in sc. Query is everything that the caller chose but the page size.
func (c *Cursors) Seal(sc scope.Scope, place string, query ...string) string {
	size := (len(place)/cursorStep + 1) * cursorStep
	nonce := make([]byte, c.aead.NonceSize(), c.aead.NonceSize()+size+c.aead.Overhead())
	rand.Read(nonce)
	padded := make([]byte, size)
	copy(padded, place)
	return base64.RawURLEncoding.EncodeToString(c.aead.Seal(nonce, nonce, padded, bind(sc, query)))
}

// Open returns the place that a cursor holds, "" for "". It fails with fault.InvalidCursor for anything
// that Seal did not return for the same tenant and query.
func (c *Cursors) Open(sc scope.Scope, cursor string, query ...string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	if len(cursor) > maxCursor || strings.ContainsAny(cursor, "\r\n") { // line ends, which base64 decoding passes over
		return "", invalidCursor()
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(sealed) < c.aead.NonceSize() {
		return "", invalidCursor()
	}
	nonce, box := sealed[:c.aead.NonceSize()], sealed[c.aead.NonceSize():]
	place, err := c.aead.Open(nil, nonce, box, bind(sc, query))
	if err != nil {
		return "", invalidCursor()
	}
	return strings.TrimRight(string(place), "\x00"), nil // places are printable
}

// bind is what a cursor is authenticated with; each part carries its length, so that no two lists of parts look alike.
func bind(sc scope.Scope, query []string) []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(sc.Born()))
	for _, part := range append([]string{sc.Tenant().String()}, query...) {
		out = append(binary.AppendUvarint(out, uint64(len(part))), part...)
	}
	return out
}

func invalidCursor() error {
	return fault.New(fault.InvalidCursor, "storage.Cursors",
		"the cursor is not one that this list returned; pass on the cursor of the page before, with the same query, or none to begin")
}
