// Package demo holds what `tenantry serve --demo` shows: three tenants with products and orders, a user who is a member of two, and templates that
// all share. It is written through the same services that an application uses.
package demo

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
)

// subject is who writes the demo's data.
const subject = "demo"

// Types returns the entity types of the demo. All tenants share the records of TEMPLATE.
func Types() []entity.Type {
	return []entity.Type{{Name: record.MustEntityType(product)}, {Name: record.MustEntityType(order)}, {Name: record.MustEntityType(template), Shared: true}}
}

const (
	product  = "PRODUCT"
	order    = "ORDER"
	template = "TEMPLATE"
)

// Load writes what isn't there yet, and returns the demo's tenants that live. What a user changed or deleted since stays so. It
// fails with fault.InvalidRequest where the store holds other tenants and no demo: they are left in peace.
func Load(ctx context.Context, app *tenantry.App) ([]tenant.Code, error) {
	sys, err := system(ctx, app)
	if err != nil {
		return nil, err
	}
	if err := ours(ctx, app, sys); err != nil {
		return nil, err
	}
	var content content
	if err := json.Unmarshal(contentText, &content, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if err := write(ctx, app, sys, tenant.Common(), template, content.Templates); err != nil {
		return nil, err
	}
	var live []tenant.Code
	for _, t := range content.Tenants {
		code, err := tenant.Parse(t.Code)
		if err != nil {
			return nil, err
		}
		_, err = app.Tenants().CreateTenant(ctx, sys, tenants.Create{Code: code, Name: t.Name})
		if errors.Is(err, fault.TenantNotPurged) {
			continue // a user deleted it
		}
		switch {
		case err == nil:
			if err := add(ctx, app, sys, code, t.Members); err != nil {
				return nil, err
			}
		case !errors.Is(err, fault.AlreadyExists):
			return nil, err
		}
		if err := write(ctx, app, sys, code, product, t.Products); err != nil {
			return nil, err
		}
		if err := write(ctx, app, sys, code, order, t.Orders); err != nil {
			return nil, err
		}
		live = append(live, code)
	}
	return live, nil
}

// content is the form of content.json.
type content struct {
	Templates []item `json:"templates"`
	Tenants   []struct {
		Code     string   `json:"code"`
		Name     string   `json:"name"`
		Members  []member `json:"members"`
		Products []item   `json:"products"`
		Orders   []item   `json:"orders"`
	} `json:"tenants"`
}

type member struct {
	UserCode  string `json:"userCode"`
	Role      string `json:"role"`
	IsDefault bool   `json:"isDefault"`
}

type item struct {
	SK         string         `json:"sk"`
	Name       string         `json:"name"`
	Attributes jsontext.Value `json:"attributes"`
}

//go:embed content.json
var contentText []byte

// system returns the right to cross tenants, as any operator gets it: by a token.
func system(ctx context.Context, app *tenantry.App) (guard.System, error) {
	token, err := app.Keyring().Issue(auth.Claims{Subject: subject, Role: auth.SystemAdmin, TTL: time.Minute})
	if err != nil {
		return guard.System{}, err
	}
	principal, err := app.Verifier().Verify(ctx, token)
	if err != nil {
		return guard.System{}, err
	}
	return app.System(principal, guard.Actor{RequestID: record.NewID(), SourceIP: "127.0.0.1", Source: "serve --demo"}, "load the demo's data")
}

// ours fails where the store holds tenants, none of which the demo made.
func ours(ctx context.Context, app *tenantry.App, sys guard.System) error {
	page, err := app.Tenants().List(ctx, sys, data.MaxLimit, "", true)
	if err != nil {
		return err
	}
	for _, rec := range page.Items {
		if rec.CreatedBy == subject {
			return nil
		}
	}
	if len(page.Items) > 0 {
		return fault.New(fault.InvalidRequest, "demo.Load", "the store holds tenants that are not the demo's; --demo takes a data directory, a database or tables of its own")
	}
	return nil
}

// add makes the members of a new tenant.
func add(ctx context.Context, app *tenantry.App, sys guard.System, code tenant.Code, all []member) error {
	sc, err := sys.Enter(ctx, code, time.Time{})
	if err != nil {
		return err
	}
	for _, m := range all {
		if _, _, err := app.Members().Add(ctx, sc, members.Add{UserCode: m.UserCode, Role: m.Role, IsDefault: m.IsDefault}); err != nil {
			return err
		}
	}
	return nil
}

// write creates those of items that never were there.
func write(ctx context.Context, app *tenantry.App, sys guard.System, code tenant.Code, entityType string, items []item) error {
	state, err := app.Tenants().State(ctx, code)
	if err != nil {
		return err
	}
	sc, err := sys.Enter(ctx, code, state.Born)
	if err != nil {
		return err
	}
	for _, it := range items {
		key, err := record.NewKey(sc, record.MustEntityType(entityType), it.SK)
		if err != nil {
			return err
		}
		attributes, err := record.ParseAttributes(it.Attributes)
		if err != nil {
			return err
		}
		_, err = app.Commands().Change(ctx, sc, key, record.VersionLatest, func(current *record.Record) (*record.Record, error) {
			if current != nil {
				return current, nil
			}
			return &record.Record{Name: it.Name, Attributes: attributes}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
