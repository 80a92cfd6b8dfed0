package record

import "github.com/tenantry/tenantry/fault"

// EntityType is the kind of a record, the first segment of its PK: [A-Z][A-Z0-9_]{0,62}. It is upper case only;
// nothing is folded. The zero EntityType is refused with fault.InvalidKey.
type EntityType struct{ text string }

// ParseEntityType returns the EntityType that text spells. It fails with fault.InvalidKey.
func ParseEntityType(text string) (EntityType, error) {
	ok := len(text) >= 1 && len(text) <= 63 && text[0] >= 'A' && text[0] <= 'Z'
	for i := 1; ok && i < len(text); i++ {
		c := text[i]
		ok = c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
	}
	if !ok {
		return EntityType{}, fault.New(fault.InvalidKey, "record.ParseEntityType",
			"the entity type is not 1 to 63 of A-Z, 0-9 and _, beginning with a letter")
	}
	return EntityType{text}, nil
}

// MustEntityType is ParseEntityType for constants of a program; it panics where that fails.
func MustEntityType(text string) EntityType {
	t, err := ParseEntityType(text)
	if err != nil {
		panic(err)
	}
	return t
}

// String returns the type's text.
func (t EntityType) String() string { return t.text }

// IsZero reports whether t names no type.
func (t EntityType) IsZero() bool { return t.text == "" }
