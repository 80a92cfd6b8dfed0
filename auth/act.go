package auth

import (
	"github.com/go-json-experiment/json/jsontext"
)

// Act is who calls in the name of a token's subject: the claim act of RFC 8693, section 4.1, of one actor. The zero Act is
// none. Issuer must be one that the Verifier knows, so that the token ends with the actor's own access.
type Act struct {
	Issuer  string `json:"iss"`          // of the actor: Principal.Issuer. Required: 1 to 255 bytes of printable UTF-8
	Subject string `json:"sub"`          // of the actor. Required: 1 to 255 printable ASCII characters without #
	TokenID string `json:"jti,omitzero"` // of the actor's own token: at most 255 bytes of printable UTF-8. Defaults to none
}

const actForm = "is not an issuer, a subject and, where the actor's token has one, its ID, each of 1 to 255 printable characters"

func (a Act) isValid() bool {
	return checkText(a.Issuer) == nil && isSubject(a.Subject) && (a.TokenID == "" || checkText(a.TokenID) == nil)
}

// readAct returns the next value, which must be an object of exactly the members of Act: an actor has no actor.
func readAct(dec *jsontext.Decoder) (a Act, err error) {
	err = readObject(dec, func(name string) (err error) {
		switch name {
		case "iss":
			a.Issuer, err = readString(dec)
		case "sub":
			a.Subject, err = readString(dec)
		case "jti":
			a.TokenID, err = readString(dec)
		default:
			err = errKind
		}
		return err
	})
	if err == nil && !a.isValid() {
		err = errKind
	}
	return a, err
}
