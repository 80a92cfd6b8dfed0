package auth

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/tenant"
)

// maxEntries bounds the entries of custom:roles and of custom:groups, and the groups in the latter.
const maxEntries = 1000

var (
	errEntries = errors.New("there are more than 1000 entries")
	errMember  = errors.New("an entry has a member that is not known, so what it grants is not known either")
)

// parseRoles reads the text of custom:roles, [{"tenant":"acme","role":"admin"}]. An entry whose tenant or role can't be
// one grants nothing and is left out; it never becomes an entry without tenant. Any other deviation is an error.
func parseRoles(text string) ([]RoleGrant, error) {
	var grants []RoleGrant
	err := readEntries(text, func(dec *jsontext.Decoder) error {
		var entryTenant, entryRole string
		err := readObject(dec, func(name string) (err error) {
			switch name {
			case "tenant":
				entryTenant, err = readString(dec)
			case "role":
				entryRole, err = readString(dec)
			default:
				err = errMember
			}
			return err
		})
		code, ok := parseGrantee(entryTenant)
		if role, isRole := foldRole(entryRole); ok && isRole {
			grants = append(grants, RoleGrant{Tenant: code, Role: role})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return grants, nil
}

// parseGroups reads the text of custom:groups, [{"tenant":"acme","groups":["sales"]}], by the rules of parseRoles.
func parseGroups(text string) ([]GroupGrant, error) {
	var (
		grants []GroupGrant
		total  int
	)
	err := readEntries(text, func(dec *jsontext.Decoder) error {
		var (
			entryTenant string
			groups      []string
		)
		err := readObject(dec, func(name string) (err error) {
			switch name {
			case "tenant":
				entryTenant, err = readString(dec)
			case "groups":
				err = readArray(dec, func() error {
					if total++; total > maxEntries {
						return errEntries
					}
					group, err := readString(dec)
					if err == nil && checkText(group) == nil {
						groups = append(groups, group)
					}
					return err
				})
			default:
				err = errMember
			}
			return err
		})
		if code, ok := parseGrantee(entryTenant); ok && len(groups) > 0 {
			grants = append(grants, GroupGrant{Tenant: code, Groups: groups})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return grants, nil
}

// readEntries runs entry before each element of an array of at most maxEntries.
func readEntries(text string, entry func(*jsontext.Decoder) error) error {
	count := 0
	return decode([]byte(text), func(dec *jsontext.Decoder) error {
		return readArray(dec, func() error {
			if count++; count > maxEntries {
				return errEntries
			}
			return entry(dec)
		})
	})
}

// parseGrantee returns the tenant that an entry names: the zero Code for "", which means everywhere. Not ok means a text
// that is no tenant code and so matches none.
func parseGrantee(text string) (code tenant.Code, ok bool) {
	if text == "" {
		return tenant.Code{}, true
	}
	code, err := tenant.Parse(text)
	return code, err == nil
}
