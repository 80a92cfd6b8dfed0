package auth

import (
	"slices"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// SystemAdmin is the cross-tenant role that every installation has.
const SystemAdmin = "system_admin"

// maxRole is the length of the longest role, in bytes.
const maxRole = 63

// ParseRole returns the role that text spells: its ASCII letters in lower case, matching [a-z][a-z0-9_]{0,62}. Nothing
// else is folded or trimmed. It fails with fault.ValidationFailed; the message doesn't repeat the text.
func ParseRole(text string) (string, error) {
	if role, ok := foldRole(text); ok {
		return role, nil
	}
	return "", fault.Invalid("auth.ParseRole", fault.Field{Field: "role", Problem: roleForm})
}

const roleForm = "is not a role; a role is 1 to 63 of a-z, 0-9 and _, beginning with a letter"

func foldRole(text string) (role string, ok bool) {
	if text == "" || len(text) > maxRole {
		return "", false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case (c == '_' || c >= '0' && c <= '9') && i > 0:
		default:
			return "", false
		}
	}
	return strings.ToLower(text), true // ASCII only: every other letter was refused above
}

// CrossTenantRoles is the set of roles that reach every tenant. SystemAdmin is always in it, so the zero value holds
// exactly that one. It is immutable.
type CrossTenantRoles struct{ others []string }

// ParseCrossTenantRoles returns the set that a comma-separated list names, the form of the environment variable
// CROSS_TENANT_ROLES; "" is the zero set. It fails with fault.ValidationFailed for what is not a role.
func ParseCrossTenantRoles(list string) (CrossTenantRoles, error) {
	var set CrossTenantRoles
	if list == "" {
		return set, nil
	}
	for text := range strings.SplitSeq(list, ",") {
		role, ok := foldRole(strings.Trim(text, " "))
		if !ok {
			return CrossTenantRoles{}, fault.Invalid("auth.ParseCrossTenantRoles", fault.Field{Field: "CROSS_TENANT_ROLES", Problem: "one entry " + roleForm})
		}
		set.others = append(set.others, role)
	}
	return set, nil
}

// Has reports whether role, in lower case, is a cross-tenant role. Such a role counts only where it holds everywhere: never
// write one into a membership, an invitation, a group or an entry that names a tenant.
func (c CrossTenantRoles) Has(role string) bool {
	return role == SystemAdmin || slices.Contains(c.others, role)
}

// RoleGrant is a role in one tenant or, with the zero Tenant, everywhere.
type RoleGrant struct {
	Tenant tenant.Code
	Role   string
}

// GroupGrant is membership of groups in one tenant or, with the zero Tenant, everywhere.
type GroupGrant struct {
	Tenant tenant.Code
	Groups []string
}

// maxText is the length of the longest user code, and of the longest name of a group, in bytes.
const maxText = 255

// checkText says what keeps a user code or a group from being one, nil if nothing does.
func checkText(text string) error { return record.CheckText(text, maxText) }
