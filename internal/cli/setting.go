package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/fault"
)

// settingVerb are the verbs about settings.
type settingVerb struct {
	Get     settingGet     `cmd:"" help:"Show a tenant's settings, or the master setting that holds under a code."`
	Set     settingSet     `cmd:"" help:"Change a tenant's settings, or a master setting."`
	Explain settingExplain `cmd:"" help:"Show every level of a master setting, and why the one holds that does."`
	List    settingList    `cmd:"" help:"List master settings."`
}

// tenantSettings are the arguments of verbs about the settings of a tenant.
type tenantSettings struct {
	Tenant code `arg:"" help:"Tenant code; common for what all tenants share."`
	target
	output
}

// in calls use with a client that acts in the tenant.
func (v tenantSettings) in(ctx context.Context, std IO, use func(*client.Client) error) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error { return use(c.In(v.Tenant.Code)) })
}

// forWhom says for whom a master setting is resolved.
type forWhom struct {
	User string `placeholder:"SUB" help:"Resolve for this user. Defaults to the caller."`
	Role string `placeholder:"ROLE" help:"With --user: the user's role, whose setting groups are looked at. Defaults to none."`
}

type settingGet struct {
	tenantSettings
	Code string `arg:"" optional:"" help:"Code of a master setting. Without it the tenant's settings are shown."`
	forWhom
}

// Help implements kong.HelpProvider.
func (settingGet) Help() string {
	return `Examples:

    tenantry setting get acme
    tenantry setting get acme tax --user ann --role clerk
    tenantry setting get acme tax --json | jq .settingValue`
}

// Run runs the verb.
func (v settingGet) Run(ctx context.Context, std IO) error {
	if v.Code == "" && v.forWhom != (forWhom{}) {
		return fault.New(fault.InvalidRequest, "cli", "--user and --role resolve a master setting: name its code")
	}
	return v.in(ctx, std, func(c *client.Client) error {
		if v.Code == "" {
			s, err := c.Settings(ctx)
			if err != nil {
				return err
			}
			return v.whole(std, "settings", s.JSON)
		}
		s, err := c.MasterSetting(ctx, v.Code, client.Resolution{UserID: v.User, Role: v.Role})
		if err != nil {
			return err
		}
		if v.JSON {
			return raw(std.Out, s.JSON)
		}
		return printSetting(std.Out, s)
	})
}

// whole prints a JSON value: under a name for people, as it came for programs.
func (o output) whole(std IO, name string, text jsontext.Value) error {
	if o.JSON {
		return raw(std.Out, text)
	}
	return printJSON(std.Out, name, text)
}

// place returns a level with whose it is.
func place(level, group, user string) string {
	if owner := group + user; owner != "" { // one of them at most
		return level + " " + owner
	}
	return level
}

func printSetting(w io.Writer, s client.MasterSetting) error {
	t := newTable(w)
	t.row("code", s.Code)
	t.row("name", s.Name)
	t.row("level", place(s.Level, s.GroupID, s.UserID))
	t.row("version", versionText(s.Version))
	if err := t.w.Flush(); err != nil {
		return err
	}
	return printJSON(w, "value", s.Value)
}

type settingSet struct {
	tenantSettings
	Code     string     `arg:"" optional:"" help:"Code of a master setting; with --value or --delete."`
	Settings attributes `placeholder:"JSON" help:"Merged into the tenant's settings; null returns a member to its default. @FILE reads a file, - standard input."`
	Value    attributes `placeholder:"JSON" help:"The master setting's value: a JSON object; @FILE reads a file, - standard input."`
	Name     string     `placeholder:"NAME" help:"The master setting's name. Defaults to its code."`
	Group    string     `xor:"owner" placeholder:"GROUP" help:"Set it for this group. Defaults to the whole tenant."`
	User     string     `xor:"owner" placeholder:"SUB" help:"Set it for this user."`
	Delete   bool       `help:"Delete the master setting; the next level holds from then on."`
}

// Help implements kong.HelpProvider.
func (settingSet) Help() string {
	return `Examples:

    tenantry setting set acme --settings '{"timezone":"Europe/Berlin","features":{"exportEnabled":false}}'
    tenantry setting set common tax --value '{"rate":10}'
    tenantry setting set acme tax --value '{"rate":7}' --group 'sales#eu'
    tenantry setting set acme tax --user ann --delete`
}

// Run runs the verb.
func (v settingSet) Run(ctx context.Context, std IO) error {
	given := 0
	for _, one := range []bool{v.Settings != "", v.Value != "", v.Delete} {
		if one {
			given++
		}
	}
	if given != 1 || (v.Settings == "") != (v.Code != "") || v.Settings != "" && v.Name+v.Group+v.User != "" {
		return fault.New(fault.InvalidRequest, "cli", "give --settings alone for the tenant's settings, or a code with either --value or --delete for a master setting")
	}
	if v.Settings != "" {
		return v.update(ctx, std)
	}
	ref := client.MasterRef{Level: "tenant", GroupID: v.Group, UserID: v.User, Code: v.Code}
	switch {
	case v.Group != "":
		ref.Level = "group"
	case v.User != "":
		ref.Level = "user"
	case v.Tenant.IsCommon():
		ref.Level = "common"
	}
	value, err := object(v.Value, "--value", std.In)
	if err != nil {
		return err
	}
	if v.Name == "" {
		v.Name = v.Code
	}
	return v.in(ctx, std, func(c *client.Client) error {
		done, change := "set", func() (client.MasterSetting, error) { return c.PutMasterSetting(ctx, ref, v.Name, value) }
		if v.Delete {
			done, change = "deleted", func() (client.MasterSetting, error) { return c.DeleteMasterSetting(ctx, ref) }
		}
		s, err := change()
		if err != nil {
			return err
		}
		return v.changed(std, client.Record{Version: s.Version, Changed: s.Changed, Answer: s.Answer}, done, v.Code+" for "+place(s.Level, s.GroupID, s.UserID)+" of "+v.Tenant.String())
	})
}

func (v settingSet) update(ctx context.Context, std IO) error {
	patch, err := object(v.Settings, "--settings", std.In)
	if err != nil {
		return err
	}
	return v.in(ctx, std, func(c *client.Client) error {
		s, err := c.UpdateSettings(ctx, patch)
		if err != nil {
			return err
		}
		return v.whole(std, "settings", s.JSON)
	})
}

// object returns the value of a flag that is a JSON object.
func object(a attributes, flag string, in io.Reader) (any, error) {
	value, err := a.value(in)
	if e := fault.As(err); e != nil && len(e.Fields) > 0 {
		err = fault.Invalid("cli", fault.Field{Field: flag, Problem: e.Fields[0].Problem})
	}
	return value, err
}

type settingExplain struct {
	tenantSettings
	Code string `arg:"" help:"Code of a master setting."`
	forWhom
}

// Help implements kong.HelpProvider.
func (settingExplain) Help() string {
	return `The first level that has the setting holds. Example:

    tenantry setting explain acme tax --user ann --role clerk`
}

// Run runs the verb.
func (v settingExplain) Run(ctx context.Context, std IO) error {
	return v.in(ctx, std, func(c *client.Client) error {
		s, err := c.MasterSetting(ctx, v.Code, client.Resolution{UserID: v.User, Role: v.Role, Explain: true})
		if err != nil {
			return err
		}
		if v.JSON || s.Explain == nil {
			return raw(std.Out, s.JSON)
		}
		t := newTable(std.Out)
		t.row("", "LEVEL", "VERSION", "VALUE")
		won := false
		for _, l := range s.Explain.Levels {
			mark, version, value := "", "-", "none"
			switch {
			case l.Found:
				if !won {
					mark, won = "*", true
				}
				version, value = versionText(l.Version), cut(string(l.Value))
			case l.Deleted:
				version, value = versionText(l.Version), "deleted"
			}
			t.row(mark, place(l.Level, l.GroupID, l.UserID), version, value)
		}
		if err := t.w.Flush(); err != nil {
			return err
		}
		_, err = fmt.Fprintf(std.Out, "%s\n", printable(s.Explain.Reason))
		return err
	})
}

type settingList struct {
	tenantSettings
	Level  string `enum:",common,tenant,group,user" default:"" placeholder:"LEVEL" help:"common, tenant, group or user. Defaults to all of the tenant."`
	Group  string `placeholder:"GROUP" help:"With --level group: of this group."`
	User   string `placeholder:"SUB" help:"With --level user: of this user."`
	Prefix string `placeholder:"TEXT" help:"Codes that begin with this."`
	paging
}

// Help implements kong.HelpProvider.
func (settingList) Help() string {
	return `Examples:

    tenantry setting list acme
    tenantry setting list acme --level group --group 'sales#eu' --all --json`
}

// Run runs the verb.
func (v settingList) Run(ctx context.Context, std IO) error {
	return v.in(ctx, std, func(c *client.Client) error {
		return pages(std, v.paging, v.output, printSettings, func(p client.Paging) (client.Page[client.MasterSetting], error) {
			return c.MasterSettings(ctx, client.MasterQuery{Level: v.Level, GroupID: v.Group, UserID: v.User, Prefix: v.Prefix, Paging: p})
		})
	})
}

func printSettings(w io.Writer, settings []client.MasterSetting, first bool) error {
	t := newTable(w)
	if first {
		t.row("CODE", "LEVEL", "VERSION", "NAME", "VALUE")
	}
	for _, s := range settings {
		t.row(s.Code, place(s.Level, s.GroupID, s.UserID), versionText(s.Version), cut(s.Name), cut(string(s.Value)))
	}
	return t.w.Flush()
}
