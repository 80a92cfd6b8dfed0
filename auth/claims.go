package auth

import (
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// DefaultClaimPrefix is what the names of Tenantry's own claims begin with: custom:tenant, custom:roles.
const DefaultClaimPrefix = "custom:"

const (
	maxSubject = 255
	maxEmail   = 320 // 64 before the @ and 255 after it
	maxEpoch   = 64
)

// claims is what the payload of a token says. A claim that is absent has its zero value.
type claims struct {
	issuer, subject, id, origin string

	audience    []string
	hasAudience bool
	client, use string

	expires, notBefore, issuedAt time.Time

	email         string
	emailVerified bool

	userCode, username string
	tenant             tenant.Code
	role               string // "" also for a text that is no role
	roles              []RoleGrant
	groups             []GroupGrant
	epoch              string
	act                Act
}

// readIssuer returns the iss of a payload, which says whose keys to verify it with. It reads nothing else, but refuses
// a payload that is not one object with distinct names in valid UTF-8.
func readIssuer(payload []byte) (issuer string, err error) {
	err = decode(payload, func(dec *jsontext.Decoder) error {
		return readObject(dec, func(name string) (err error) {
			if name != "iss" {
				return dec.SkipValue()
			}
			if issuer, err = readString(dec); err != nil {
				return Reason(name)
			}
			return nil
		})
	})
	return issuer, err
}

// readClaims reads the payload of a token that iss signed. Names are compared byte for byte. Its errors hold the
// Reason, which for a claim that has not its form is the claim's name.
func readClaims(payload []byte, iss *issuer) (*claims, error) {
	c := new(claims)
	err := decode(payload, func(dec *jsontext.Decoder) error {
		return readObject(dec, func(name string) error {
			known, err := c.readRegistered(dec, name, iss.builtin)
			if own, ok := strings.CutPrefix(name, iss.prefix); !known && ok {
				known, err = c.readOwn(dec, own, iss.builtin)
			}
			switch {
			case !known:
				return dec.SkipValue()
			case err != nil:
				return Reason(name)
			}
			return nil
		})
	})
	return c, err
}

// readRegistered reads a claim that has one name with every issuer. Not known means that the value was left unread.
func (c *claims) readRegistered(dec *jsontext.Decoder, name string, builtin bool) (known bool, err error) {
	switch name {
	case "iss":
		c.issuer, err = readString(dec)
	case "sub":
		c.subject, err = readString(dec)
		if !isSubject(c.subject) {
			err = errKind
		}
	case "aud":
		c.hasAudience = true
		c.audience, err = readStrings(dec)
	case "exp":
		c.expires, err = readDate(dec)
	case "nbf":
		c.notBefore, err = readDate(dec)
	case "iat":
		c.issuedAt, err = readDate(dec)
	case "jti":
		c.id, err = readString(dec)
	case "client_id":
		c.client, err = readString(dec)
	case "token_use":
		c.use, err = readString(dec)
	case "email":
		c.email, err = readText(dec, maxEmail)
	case "email_verified":
		c.emailVerified, err = readBool(dec)
	case "cognito:username":
		c.username, err = readText(dec, maxText)
	case "idp": // other issuers use the name for something else
		if !builtin {
			return false, nil
		}
		c.origin, err = readString(dec)
	case "act": // others write their own chains of actors into it
		if !builtin {
			return false, nil
		}
		c.act, err = readAct(dec)
	default:
		return false, nil
	}
	return true, err
}

// readOwn reads a claim of Tenantry, named without its prefix.
func (c *claims) readOwn(dec *jsontext.Decoder, name string, builtin bool) (known bool, err error) {
	var text string
	switch name {
	case "tenant":
		if text, err = readString(dec); err == nil && text != "" {
			c.tenant, err = tenant.Parse(text)
		}
	case "role":
		text, err = readString(dec)
		c.role, _ = foldRole(text)
	case "roles":
		if text, err = readString(dec); err == nil {
			c.roles, err = parseRoles(text)
		}
	case "groups":
		if text, err = readString(dec); err == nil {
			c.groups, err = parseGroups(text)
		}
	case "user_code":
		c.userCode, err = readText(dec, maxText)
	case "epoch": // only the built-in issuer knows the memberships
		if !builtin {
			return false, nil
		}
		if c.epoch, err = readString(dec); err == nil && !isEpoch(c.epoch) {
			err = errKind
		}
	default:
		return false, nil
	}
	return true, err
}

// isSubject reports whether text is 1 to 255 printable ASCII characters without #.
func isSubject(text string) bool { return isASCII(text, maxSubject) && !strings.Contains(text, "#") }

// isEpoch reports whether text is 1 to 64 printable ASCII characters.
func isEpoch(text string) bool { return isASCII(text, maxEpoch) }

// isASCII reports whether text is 1 to limit printable ASCII characters.
func isASCII(text string, limit int) bool {
	notPrintable := func(r rune) bool { return r < ' ' || r > '~' }
	return text != "" && len(text) <= limit && !strings.ContainsFunc(text, notPrintable)
}

// readText returns the next value, which must be "" or a string of at most limit bytes of printable UTF-8.
func readText(dec *jsontext.Decoder, limit int) (string, error) {
	text, err := readString(dec)
	if err == nil && text != "" {
		err = record.CheckText(text, limit)
	}
	return text, err
}

// readStrings returns the next value, which must be a string or an array of strings.
func readStrings(dec *jsontext.Decoder) (list []string, err error) {
	add := func() error {
		text, err := readString(dec)
		list = append(list, text)
		return err
	}
	if dec.PeekKind() == '"' {
		err = add()
	} else {
		err = readArray(dec, add)
	}
	return list, err
}

// readBool returns the next value, which must be true or false, or one of them as a string, as some issuers write it.
func readBool(dec *jsontext.Decoder) (bool, error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return false, err
	}
	switch tok.String() {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errKind
}

// check returns why c is not acceptable for an audience at a time, "" where it is. Whether it has expired is the
// caller's to compare, last.
func (c *claims) check(audience string, now time.Time, leeway time.Duration) Reason {
	switch {
	case c.subject == "":
		return "sub"
	case !c.isFor(audience):
		return "aud"
	case c.use != "" && c.use != "access" && c.use != "id":
		return "token_use"
	case c.expires.IsZero():
		return "exp"
	case c.notBefore.After(now.Add(leeway)):
		return "nbf"
	case c.issuedAt.IsZero(), c.issuedAt.After(now.Add(leeway)):
		return "iat"
	}
	return ""
}

// isFor reports whether c names the audience. Access tokens of Cognito have no aud; in those the client is the
// audience.
func (c *claims) isFor(audience string) bool {
	if c.hasAudience {
		return slices.Contains(c.audience, audience)
	}
	return c.use == "access" && c.client == audience
}

// hasCrossTenantRole reports whether c names a cross-tenant role anywhere, even where it would not count.
func (c *claims) hasCrossTenantRole(cross CrossTenantRoles) bool {
	return cross.Has(c.role) || slices.ContainsFunc(c.roles, func(g RoleGrant) bool { return cross.Has(g.Role) })
}
