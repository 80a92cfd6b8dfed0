package cli

import (
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

type roleEntry struct {
	Tenant string `json:"tenant"`
	Role   string `json:"role"`
}

type groupsEntry struct {
	Tenant string   `json:"tenant"`
	Groups []string `json:"groups"`
}

// parseRoles reads --roles: tenant=role,role or the JSON of the claim custom:roles.
func parseRoles(text string) ([]auth.RoleGrant, error) {
	entries, err := entriesOf("--roles", text, func(t, role string) roleEntry { return roleEntry{t, role} })
	if err != nil {
		return nil, err
	}
	grants := make([]auth.RoleGrant, len(entries))
	for i, entry := range entries {
		grants[i].Role = entry.Role
		if grants[i].Tenant, err = grantee("--roles", entry.Tenant); err != nil {
			return nil, err
		}
	}
	return grants, nil
}

// parseGroups reads --groups: tenant=group+group,group or the JSON of the claim custom:groups.
func parseGroups(text string) ([]auth.GroupGrant, error) {
	entries, err := entriesOf("--groups", text, func(t, groups string) groupsEntry { return groupsEntry{t, strings.Split(groups, "+")} })
	if err != nil {
		return nil, err
	}
	grants := make([]auth.GroupGrant, len(entries))
	for i, entry := range entries {
		grants[i].Groups = entry.Groups
		if grants[i].Tenant, err = grantee("--groups", entry.Tenant); err != nil {
			return nil, err
		}
	}
	return grants, nil
}

// entriesOf returns the entries of a list, or of a claim's JSON. Make makes one of a tenant, "" for everywhere, and what is
// granted in it.
func entriesOf[T any](flag, text string, make func(t, granted string) T) (entries []T, err error) {
	if strings.HasPrefix(text, "[") {
		if err := json.Unmarshal([]byte(text), &entries, json.RejectUnknownMembers(true)); err != nil {
			return nil, fault.Invalid("cli.token", fault.Field{Field: flag, Problem: "is not the JSON of the claim; a list like acme=a,b will do too"})
		}
		return entries, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		switch t, granted, bound := strings.Cut(part, "="); {
		case part == "":
		case bound && t == "":
			return nil, fault.Invalid("cli.token", fault.Field{Field: flag, Problem: "has an entry without a tenant before its =; leave the = out for what holds everywhere"})
		case bound:
			entries = append(entries, make(t, granted))
		default:
			entries = append(entries, make("", part))
		}
	}
	return entries, nil
}

// grantee returns the tenant that an entry names, zero for everywhere.
func grantee(flag, text string) (tenant.Code, error) {
	if text == "" {
		return tenant.Code{}, nil
	}
	code, err := tenant.Parse(text)
	if err != nil {
		return code, fault.Invalid("cli.token", fault.Field{Field: flag, Problem: fault.As(err).Msg})
	}
	return code, nil
}
