package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

// token is the verb that issues a token.
type token struct {
	Sub           string        `required:"" help:"User ID: 1 to 255 printable ASCII characters without #."`
	Tenant        *code         `placeholder:"CODE" help:"The tenant that the token is bound to."`
	Role          string        `placeholder:"ROLE" help:"A role that holds everywhere; system_admin reaches every tenant."`
	Roles         string        `placeholder:"LIST" help:"Roles in tenants, and everywhere: acme=admin,bravo=user,viewer. Or the claim's JSON."`
	Groups        string        `placeholder:"LIST" help:"Groups in tenants: acme=sales+support,bravo=sales. Or the claim's JSON."`
	UserCode      string        `placeholder:"TEXT" help:"User code. Defaults to the user ID."`
	Email         string        `placeholder:"ADDRESS" help:"E-mail address."`
	EmailVerified bool          `help:"The address is known to be the user's."`
	TTL           time.Duration `name:"ttl" default:"1h" help:"How long the token lives, as 30m or 12h. Defaults to 1h."`
	store
	CrossTenantRoles string `group:"rules" placeholder:"ROLE,..." env:"TENANTRY_CROSS_TENANT_ROLES,CROSS_TENANT_ROLES" help:"Roles that reach every tenant, beside system_admin."`
}

// Help implements kong.HelpProvider.
func (token) Help() string {
	return `Only the token is printed, so it can go into a variable. Examples:

    TOKEN=$(tenantry token --sub ann --tenant acme --role admin)
    tenantry token --sub operator --role system_admin --ttl 15m
    tenantry token --sub ben --roles acme=admin,bravo=user --groups acme=sales+support`
}

// Run runs the verb.
func (v token) Run(ctx context.Context, std IO) error {
	claims := auth.Claims{Subject: v.Sub, Role: v.Role, UserCode: v.UserCode, Email: v.Email, EmailVerified: v.EmailVerified, TTL: v.TTL}
	if v.Tenant != nil {
		claims.Tenant = v.Tenant.Code
	}
	if v.TTL < time.Second {
		return fault.Invalid("cli.token", fault.Field{Field: "--ttl", Problem: "is at least a second"})
	}
	var err error
	if claims.Roles, err = parseRoles(v.Roles); err != nil {
		return err
	}
	if claims.Groups, err = parseGroups(v.Groups); err != nil {
		return err
	}
	cross, err := auth.ParseCrossTenantRoles(v.CrossTenantRoles)
	if err != nil {
		return err
	}
	keyring, err := v.keyring(ctx, std, auth.KeyringOptions{CrossTenantRoles: cross})
	if err != nil {
		return err
	}
	text, err := keyring.Issue(claims)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.Out, text)
	return err
}

// keyring opens the keys, and makes them where there are none.
func (v token) keyring(ctx context.Context, std IO, opts auth.KeyringOptions) (keyring *auth.Keyring, err error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	if v.isShared() {
		err = v.withKeys(ctx, func(keys auth.Keys) error {
			keyring, err = keys.Keyring(ctx, opts)
			return err
		})
		return keyring, err
	}
	_, missing := os.Stat(filepath.Join(v.Data, "keys.json"))
	if keyring, err = auth.OpenKeyring(v.Data, opts); err == nil && missing != nil {
		fmt.Fprintf(std.Err, "tenantry: %s had no keys, so they were made; only a server with this data directory takes the token\n", v.Data)
	}
	return keyring, err
}
