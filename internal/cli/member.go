package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/fault"
)

// memberVerb are the verbs about the members of tenants.
type memberVerb struct {
	Add    memberAdd    `cmd:"" help:"Make a user a member of a tenant."`
	List   memberList   `cmd:"" help:"List a tenant's members, or a user's tenants."`
	Update memberUpdate `cmd:"" help:"Change a member's role, or the user's default tenant."`
	Remove memberRemove `cmd:"" help:"End a membership, for tokens already issued too."`
	Invite memberInvite `cmd:"" help:"Invite a user; the secret is shown once."`
}

// oneMember are the arguments of verbs about one member.
type oneMember struct {
	Tenant code   `arg:"" help:"Tenant code."`
	User   string `arg:"" help:"User code: 1 to 255 bytes, which may hold # and @."`
	target
	output
}

// done prints what became of a membership.
func (v oneMember) done(std IO, m client.Membership, done string) error {
	switch {
	case v.JSON:
		return raw(std.Out, m.JSON)
	case m.Changed != nil && !*m.Changed:
		done = "unchanged:"
	}
	_, err := fmt.Fprintf(std.Out, "%s %s in %s, role %s, version %d\n", done, printable(m.UserCode), m.TenantCode, printable(m.Role), m.Version)
	return err
}

type memberAdd struct {
	oneMember
	Role    string `default:"user" placeholder:"ROLE" help:"Role in the tenant: admin manages its members and settings. Defaults to user."`
	Default bool   `help:"Make the tenant the user's default."`
	UserID  string `name:"user-id" placeholder:"SUB" help:"The only sub that the membership serves. Without it, any that has the user code."`
}

// Help implements kong.HelpProvider.
func (memberAdd) Help() string {
	return `Examples:

    tenantry member add acme ann --role admin
    tenantry member add acme bob@example.com --default`
}

// Run runs the verb.
func (v memberAdd) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		m, err := c.AddMember(ctx, v.Tenant.Code, client.NewMember{UserCode: v.User, Role: v.Role, IsDefault: v.Default, UserID: v.UserID})
		if err != nil {
			return err
		}
		return v.done(std, m, "added")
	})
}

type memberList struct {
	Tenant code   `arg:"" optional:"" help:"Tenant code."`
	User   string `placeholder:"USER" help:"List the tenants of this user code instead."`
	paging
	target
	output
}

// Help implements kong.HelpProvider.
func (memberList) Help() string {
	return `Examples:

    tenantry member list acme
    tenantry member list --user ann
    tenantry member list acme --all --json | jq -r .userCode`
}

// Run runs the verb.
func (v memberList) Run(ctx context.Context, std IO) error {
	if v.Tenant.IsZero() == (v.User == "") {
		return fault.Invalid("cli", fault.Field{Field: "<tenant>", Problem: "or --user is needed, one of them"})
	}
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		return pages(std, v.paging, v.output, printMembers, func(p client.Paging) (client.Page[client.Membership], error) {
			if v.User != "" {
				return c.TenantsOf(ctx, v.User)
			}
			return c.Members(ctx, v.Tenant.Code, p)
		})
	})
}

func printMembers(w io.Writer, all []client.Membership, first bool) error {
	t := newTable(w)
	if first {
		t.row("TENANT", "USER", "ROLE", "DEFAULT", "USER ID", "VERSION", "SINCE")
	}
	for _, m := range all {
		isDefault, userID := "", "any"
		if m.IsDefault {
			isDefault = "yes"
		}
		if m.UserID != "" {
			userID = m.UserID
		}
		t.row(m.TenantCode, cut(m.UserCode), m.Role, isDefault, cut(userID), versionText(m.Version), moment(m.CreatedAt))
	}
	return t.w.Flush()
}

type memberUpdate struct {
	oneMember
	Role    *string `placeholder:"ROLE" help:"New role in the tenant."`
	Default *bool   `negatable:"" help:"Make the tenant the user's default; --no-default makes it none."`
}

// Help implements kong.HelpProvider.
func (memberUpdate) Help() string {
	return `What is not given stays as it is. Examples:

    tenantry member update acme ann --role user
    tenantry member update acme ann --default`
}

// Run runs the verb.
func (v memberUpdate) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		m, err := c.UpdateMember(ctx, v.Tenant.Code, v.User, client.MemberUpdate{Role: v.Role, IsDefault: v.Default})
		if err != nil {
			return err
		}
		return v.done(std, m, "changed")
	})
}

type memberRemove struct{ oneMember }

// Help implements kong.HelpProvider.
func (memberRemove) Help() string {
	return `From then on the user is refused in the tenant, within a second on every server. Example:

    tenantry member remove acme ann`
}

// Run runs the verb.
func (v memberRemove) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		m, err := c.RemoveMember(ctx, v.Tenant.Code, v.User)
		if err != nil {
			return err
		}
		return v.done(std, m, "removed")
	})
}

type memberInvite struct {
	Tenant  code          `arg:"" help:"Tenant code."`
	Email   string        `placeholder:"ADDRESS" help:"Whom to invite: by the address that their issuer verified."`
	User    string        `placeholder:"USER" help:"Whom to invite: by their user code."`
	Role    string        `default:"user" placeholder:"ROLE" help:"Role in the tenant. Defaults to user."`
	Expires time.Duration `default:"168h" placeholder:"DURATION" help:"How long it can be accepted, at most 2160h. Defaults to 168h."`
	target
	output
}

// Help implements kong.HelpProvider.
func (memberInvite) Help() string {
	return `The invitee accepts with their own token:

    curl -H "Authorization: Bearer $TOKEN" -d '{"secret":"…"}' -H 'Content-Type: application/json' https://…/api/invitations/ID/accept

Example:

    tenantry member invite acme --email ann@example.com --role admin`
}

// Run runs the verb.
func (v memberInvite) Run(ctx context.Context, std IO) error {
	if v.Expires < time.Second {
		return fault.Invalid("cli.member", fault.Field{Field: "--expires", Problem: "is at least a second"})
	}
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		made, err := c.Invite(ctx, v.Tenant.Code, client.Invite{Email: v.Email, UserCode: v.User, Role: v.Role, ExpiresIn: int64(v.Expires / time.Second)})
		if err != nil {
			return err
		}
		if v.JSON {
			return raw(std.Out, made.JSON)
		}
		_, err = fmt.Fprintf(std.Out, "invited %s to %s as %s, until %s\nid      %s\nsecret  %s\nThe secret is not shown again.\n",
			printable(made.Email+made.UserCode), made.TenantCode, printable(made.Role), moment(made.ExpiresAt), made.ID, made.Secret)
		return err
	})
}
