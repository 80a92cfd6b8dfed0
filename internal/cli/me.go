package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/tenantry/tenantry/client"
)

// me is the verb that shows who the caller is.
type me struct {
	target
	output
}

// Help implements kong.HelpProvider.
func (me) Help() string {
	return `Examples:

    tenantry me --server http://127.0.0.1:8080 --token "$TOKEN"
    tenantry me --json | jq .memberships`
}

// Run runs the verb.
func (v me) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		m, err := c.Me(ctx)
		if err != nil {
			return err
		}
		if v.JSON {
			return raw(std.Out, m.JSON)
		}
		for _, line := range [][2]string{{"user", m.UserID}, {"user code", m.UserCode}, {"issuer", m.Issuer}, {"e-mail", m.Email}, {"acting for them", m.ActUserID},
			{"tenant", m.TenantCode}, {"role", m.Role}, {"groups", strings.Join(m.Groups, ", ")}} {
			if line[1] != "" {
				fmt.Fprintf(std.Out, "%-16s%s\n", line[0], printable(line[1]))
			}
		}
		if len(m.Memberships) == 0 {
			return nil
		}
		fmt.Fprintln(std.Out)
		return printMembers(std.Out, m.Memberships, true)
	})
}
