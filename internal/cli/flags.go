package cli

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// groups are the headings under which help shows flags.
var groups = []kong.Group{
	{Key: "where", Title: "Where the data is:"},
	{Key: "rules", Title: "Rules of the data, the same for all that open it:"},
	{Key: "issuers", Title: "Who may issue tokens, beside the data directory's key:"},
	{Key: "limits", Title: "Limits:"},
}

// code is a tenant code on the command line.
type code struct{ tenant.Code }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *code) UnmarshalText(text []byte) (err error) {
	c.Code, err = tenant.Parse(string(text))
	return err
}

// entityType is an entity type on the command line.
type entityType struct{ record.EntityType }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *entityType) UnmarshalText(text []byte) (err error) {
	t.EntityType, err = record.ParseEntityType(string(text))
	return err
}

// positive is a whole number from 1 on, on the command line; 0 is a flag that was left out.
type positive int

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *positive) UnmarshalText(text []byte) error {
	v, err := strconv.Atoi(string(text))
	if err != nil || v < 1 {
		return errors.New("is a whole number from 1 on")
	}
	*n = positive(v)
	return nil
}

// rules say how records are to be treated. Whoever opens a store opens it by the same ones.
type rules struct {
	Entities          []entityType `group:"rules" placeholder:"TYPE" help:"The entity types that there are; all others are refused. Without it any are taken."`
	Shared            []entityType `group:"rules" placeholder:"TYPE" help:"Entity types whose records in the tenant common every tenant reads."`
	SingleTenant      bool         `group:"rules" help:"Callers that name no tenant act in the tenant single."`
	Membership        string       `group:"rules" enum:"optional,required" default:"optional" help:"required refuses callers without a membership record in the tenant they act in; with optional the roles of their token count there. Defaults to optional."`
	CommonTenantCodes []string     `group:"rules" placeholder:"CODE" env:"TENANTRY_COMMON_TENANT_CODES,COMMON_TENANT_CODES" help:"Other names of the tenant common."`
	CrossTenantRoles  string       `group:"rules" placeholder:"ROLE,..." env:"TENANTRY_CROSS_TENANT_ROLES,CROSS_TENANT_ROLES" help:"Roles that reach every tenant, beside system_admin."`
}

// config returns what the rules say of an App. Types are declared beside those of the rules.
func (r rules) config(types ...entity.Type) (cfg tenantry.Config, err error) {
	declared := map[record.EntityType]*entity.Type{}
	declare := func(name record.EntityType) *entity.Type {
		if declared[name] == nil {
			declared[name] = &entity.Type{Name: name}
		}
		return declared[name]
	}
	for _, t := range types {
		declared[t.Name] = &t
	}
	for _, t := range r.Entities {
		declare(t.EntityType)
	}
	for _, t := range r.Shared {
		declare(t.EntityType).Shared = true
	}
	for _, t := range declared {
		cfg.Entities = append(cfg.Entities, *t)
	}
	cfg.ClosedEntities, cfg.SingleTenant, cfg.MembershipRequired = len(r.Entities) > 0, r.SingleTenant, r.Membership == "required"
	for _, text := range r.CommonTenantCodes {
		if text = strings.Trim(text, " "); text == "" {
			continue
		}
		c, err := tenant.Parse(text)
		if err != nil {
			return cfg, fault.Invalid("cli", fault.Field{Field: "--common-tenant-codes", Problem: fault.As(err).Msg})
		}
		cfg.CommonTenantCodes = append(cfg.CommonTenantCodes, c)
	}
	cfg.CrossTenantRoles, err = auth.ParseCrossTenantRoles(r.CrossTenantRoles)
	return cfg, err
}

// attributes is a JSON object on the command line, in a file or on standard input.
type attributes string

// value returns the attributes' text, nil where none were given.
func (a attributes) value(in io.Reader) (any, error) {
	text, err := []byte(a), error(nil)
	switch {
	case a == "":
		return nil, nil
	case a == "-":
		text, err = io.ReadAll(in)
	case a[0] == '@':
		text, err = os.ReadFile(string(a[1:]))
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.InvalidRequest, "cli", "the attributes can't be read: %v", err)
	}
	if v := jsontext.Value(text); v.IsValid() && v.Kind() == '{' {
		return v, nil
	}
	return nil, fault.Invalid("cli", fault.Field{Field: "--attributes", Problem: `is a JSON object, as '{"price":1}', @FILE, or - for standard input`})
}

// paging are the flags of listings.
type paging struct {
	Limit  positive `default:"100" help:"How many at most, 1 to 1000. Defaults to 100."`
	Cursor string   `placeholder:"CURSOR" help:"Where the page before ended."`
	All    bool     `help:"Go on to the end, page after page. With --json, one item on a line."`
}

func (p paging) client() client.Paging { return client.Paging{Limit: int(p.Limit), Cursor: p.Cursor} }

// output is the flag of verbs that print data.
type output struct {
	JSON bool `help:"Print what the API answers, for programs."`
}
