// Package tenant holds the tenant code: parsed once at the edge, canonical and comparable from there on.
//
// A code matches [a-z0-9][a-z0-9_-]{0,62}. [Parse] is the only way to make one. It lower-cases ASCII
// letters and validates; it does not fold, trim, decode or normalise anything else, because two spellings
// that one layer takes for the same tenant and another does not are how tenants meet each other's data.
package tenant

import (
	"strings"

	"github.com/tenantry/tenantry/fault"
)

// MaxLength is the length of the longest tenant code, in bytes.
const MaxLength = 63

// Code names a tenant. The zero Code names none and is refused wherever a tenant is needed
// (fault.TenantRequired). Codes are comparable with == and usable as map keys.
type Code struct{ text string }

// Common returns the code of the tenant whose shared records every tenant may read.
func Common() Code { return Code{"common"} }

// Single returns the code of the only tenant of a single-tenant installation.
func Single() Code { return Code{"single"} }

// Parse returns the Code that text spells. It fails with fault.InvalidKey; the message states the form
// and does not repeat the text.
func Parse(text string) (Code, error) {
	if text == "" {
		return Code{}, invalid("is empty")
	}
	if len(text) > MaxLength {
		return Code{}, invalid("is longer than 63 characters")
	}
	upper := false
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c >= 'A' && c <= 'Z':
			upper = true
		case (c == '_' || c == '-') && i > 0:
		default:
			return Code{}, invalid("has a character that is not allowed")
		}
	}
	if upper {
		text = strings.ToLower(text) // ASCII only: every other letter was refused above
	}
	return Code{text}, nil
}

func invalid(problem string) error {
	return fault.New(fault.InvalidKey, "tenant.Parse",
		"the tenant code %s; it is 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit", problem)
}

// String returns the code's text, "" for the zero Code.
func (c Code) String() string { return c.text }

// IsZero reports whether c names no tenant.
func (c Code) IsZero() bool { return c.text == "" }

// IsCommon reports whether c is the common tenant.
func (c Code) IsCommon() bool { return c.text == "common" }

// Reserved reports whether no tenant can be created under c: the two built-in tenants and the words
// that other systems read as "none" or "all".
func (c Code) Reserved() bool {
	switch c.text {
	case "common", "single", "system", "master", "admin", "all", "null", "undefined":
		return true
	}
	return false
}

// Compare orders codes by their bytes, for slices.SortFunc.
func (c Code) Compare(other Code) int { return strings.Compare(c.text, other.text) }

// MarshalText returns the code's text, for JSON and logs. There is no UnmarshalText: a code enters through Parse.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.text), nil }
