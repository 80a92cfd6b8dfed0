package auth

import (
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxToken is the length of the longest token that is looked at, in bytes. It bounds everything inside as well.
const maxToken = 16 << 10

// encoding is base64url without padding and without spare bits (RFC 7515, section 2).
var encoding = base64.RawURLEncoding.Strict()

// jws is a signed token in compact serialization (RFC 7515, section 7.1), taken apart and not yet verified.
type jws struct {
	algorithm string // "alg", "" when absent; only ever compared with the algorithm of a key
	keyID     string // "kid", "" when absent
	payload   []byte // decoded
	signed    []byte // what the signature covers
	signature []byte
}

// parseJWS takes a token apart.
func parseJWS(token string) (*jws, error) {
	parts := strings.SplitN(token, ".", 4)
	if len(parts) != 3 || len(token) > maxToken {
		return nil, refuse(badForm)
	}
	if strings.Contains(token, "\r") || strings.Contains(token, "\n") { // which base64 would skip
		return nil, refuse(badForm)
	}
	header, err := encoding.DecodeString(parts[0])
	if err != nil {
		return nil, refuse(badForm)
	}
	t := &jws{signed: []byte(token[:len(parts[0])+1+len(parts[1])])}
	if t.payload, err = encoding.DecodeString(parts[1]); err != nil {
		return nil, refuse(badForm)
	}
	if t.signature, err = encoding.DecodeString(parts[2]); err != nil {
		return nil, refuse(badForm)
	}
	if err := t.readHeader(header); err != nil {
		return nil, refuse(reasonOr(badForm, err))
	}
	return t, nil
}

// readHeader reads the header's parameters. What would change how the token is to be read (crit, b64, zip, enc, cty)
// is refused. Keys and URLs (jwk, jku, x5c, x5u) are skipped like any other unknown parameter: nothing reads them.
func (t *jws) readHeader(text []byte) error {
	return decode(text, func(dec *jsontext.Decoder) error {
		return readObject(dec, func(name string) (err error) {
			switch name {
			case "alg":
				t.algorithm, err = readString(dec)
			case "kid":
				if t.keyID, err = readString(dec); t.keyID == "" {
					return unknownKey
				}
			case "typ":
				if typ, err := readString(dec); err != nil || !forAccess(typ) {
					return badHeader
				}
			case "crit", "b64", "zip", "enc", "cty":
				return badHeader
			default:
				err = dec.SkipValue()
			}
			return err
		})
	})
}

// forAccess reports whether a token's typ is one for access (RFC 7519, RFC 9068). Issuers sign tokens of other types,
// logout+jwt for one, with the same keys for something else (RFC 8725, section 3.11).
func forAccess(typ string) bool {
	return strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt") || strings.EqualFold(typ, "application/at+jwt")
}
