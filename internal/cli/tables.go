package cli

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/tenant"
)

// tablesVerb are the verbs about DynamoDB tables.
type tablesVerb struct {
	Create tablesCreate `cmd:"" help:"Create the DynamoDB tables that are missing."`
	Check  tablesCheck  `cmd:"" help:"Check DynamoDB tables, and list the items that no tenant sees."`
}

// tablesOf are the tables of entity types, and of the built-in modules.
type tablesOf struct {
	Entities []entityType `placeholder:"TYPE" help:"Entity types whose tables are meant, beside those of the built-in modules."`
	tables
	output
}

type tablesCreate struct {
	tablesOf
	Shards []shards `placeholder:"TYPE=N" help:"Spread the partitions of entity types over N keys each, as ORDER=8; of one tenant, as ORDER#acme=8. They must be empty."`
}

// shards is a spread on the command line.
type shards struct{ dynamodb.Shards }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *shards) UnmarshalText(text []byte) (err error) {
	name, count, _ := strings.Cut(string(text), "=")
	kind, owner, ofOne := strings.Cut(name, record.Separator)
	if s.Type, err = record.ParseEntityType(kind); err != nil {
		return err
	}
	if ofOne {
		if s.Tenant, err = tenant.Parse(owner); err != nil {
			return err
		}
	}
	if s.Count, err = strconv.Atoi(count); err != nil || s.Count < 2 || s.Count > dynamodb.MaxShards {
		return fault.New(fault.InvalidRequest, "cli", "is TYPE=N or TYPE#TENANT=N, with an N of 2 to %d", dynamodb.MaxShards)
	}
	return nil
}

// Help implements kong.HelpProvider.
func (tablesCreate) Help() string {
	return `What exists is not touched. Each module has the tables PREFIX-MODULE-command, -data and -history.

A partition of an entity type and a tenant takes 166 updates of small records a second. --shards spreads those that need more; lists of them cost a
query for each key. Servers on a store that is used learn of it by themselves within a minute, for which the command waits. Examples:

    tenantry tables create --table-prefix prod-shop --entities PRODUCT,ORDER
    tenantry tables create --table-prefix prod-shop --shards ORDER=8,RECEIPT#acme=4
    tenantry tables create --table-prefix local-demo --dynamodb-endpoint http://127.0.0.1:8000`
}

// Run runs the verb.
func (v tablesCreate) Run(ctx context.Context, std IO) error {
	cfg, err := v.config(tenantry.Declarations())
	if err != nil {
		return err
	}
	created, err := dynamodb.CreateTables(ctx, cfg, names(v.Entities)...)
	if err != nil {
		return err
	}
	var spread []dynamodb.Shards
	for _, s := range v.Shards {
		spread = append(spread, s.Shards)
	}
	if err := dynamodb.Spread(ctx, cfg, spread...); err != nil {
		return err
	}
	if v.JSON {
		text, err := json.Marshal(struct {
			Created []string `json:"created"`
		}{append([]string{}, created...)})
		if err != nil {
			return err
		}
		return raw(std.Out, text)
	}
	for _, name := range created {
		if _, err := fmt.Fprintf(std.Out, "created %s\n", printable(name)); err != nil {
			return err
		}
	}
	if len(created) == 0 {
		_, err = fmt.Fprintln(std.Out, "all tables are there")
	}
	return err
}

type tablesCheck struct{ tablesOf }

// Help implements kong.HelpProvider.
func (tablesCheck) Help() string {
	return `Every table of the prefix is scanned. The exit code is 1 where something is wrong. Examples:

    tenantry tables check --table-prefix prod-shop --entities PRODUCT,ORDER
    tenantry tables check --table-prefix prod-shop --json | jq .problems`
}

// Run runs the verb.
func (v tablesCheck) Run(ctx context.Context, std IO) error {
	cfg, err := v.config(tenantry.Declarations())
	if err != nil {
		return err
	}
	problems, err := dynamodb.CheckTables(ctx, cfg, names(v.Entities)...)
	if err != nil {
		return err
	}
	if err := v.print(std, problems); err != nil {
		return err
	}
	if len(problems) > 0 {
		return errUnsound
	}
	return nil
}

func (v tablesCheck) print(std IO, problems []dynamodb.Problem) error {
	if v.JSON {
		type problem struct {
			Table   string `json:"table"`
			PK      string `json:"pk,omitzero"`
			SK      string `json:"sk,omitzero"`
			Problem string `json:"problem"`
		}
		list := []problem{}
		for _, p := range problems {
			list = append(list, problem{p.Table, p.PK, p.SK, p.What})
		}
		text, err := json.Marshal(struct {
			Problems []problem `json:"problems"`
		}{list})
		if err != nil {
			return err
		}
		return raw(std.Out, text)
	}
	for _, p := range problems {
		where := p.Table
		for _, part := range []string{p.PK, p.SK} {
			if part != "" {
				where += " " + part
			}
		}
		if _, err := fmt.Fprintf(std.Out, "%s: %s\n", printable(where), printable(p.What)); err != nil {
			return err
		}
	}
	if len(problems) == 0 {
		_, err := fmt.Fprintln(std.Out, "the tables are as they should be")
		return err
	}
	return nil
}

// policyVerb are the verbs that print what a database's own access control should say.
type policyVerb struct {
	DynamoDB policyDynamoDB `cmd:"" name:"dynamodb" help:"Print the IAM policy for sessions of one tenant, or of each."`
	Trust    policyTrust    `cmd:"" help:"Print who may begin sessions of tenants: the trust policy of their role."`
}

type policyDynamoDB struct {
	Tenant   code         `xor:"whose" required:"" placeholder:"CODE" help:"The tenant whose records the session reads and writes."`
	Each     bool         `xor:"whose" required:"" help:"For the role that --tenant-role names to the server: each session reads and writes the records of the tenant in its tag."`
	Entities []entityType `required:"" placeholder:"TYPE" help:"The entity types that it reads and writes; with --each beside those of the built-in modules."`
	Region   string       `required:"" env:"TENANTRY_REGION,AWS_REGION" placeholder:"REGION" help:"The region of the tables, as eu-central-1."`
	Account  string       `required:"" placeholder:"ID" help:"The AWS account, twelve digits."`
	Cloud    string       `default:"aws" placeholder:"NAME" help:"The first word of ARNs. Defaults to aws."`
	tables
}

// Help implements kong.HelpProvider.
func (policyDynamoDB) Help() string {
	return `The policy is derived from the form of keys; a request that names no key is denied. Nothing is called. Example:

    tenantry policy dynamodb --table-prefix prod-shop --tenant acme --entities PRODUCT,ORDER --region eu-central-1 --account 123456789012`
}

var account = regexp.MustCompile(`^[0-9]{12}$`)

// Run runs the verb.
func (v policyDynamoDB) Run(std IO) error {
	if !account.MatchString(v.Account) {
		return fault.Invalid("cli.policy", fault.Field{Field: "--account", Problem: "is the twelve digits of an AWS account"})
	}
	declared := tenantry.Declarations()
	cfg, err := v.config(declared)
	if err != nil {
		return err
	}
	var types []record.EntityType
	for _, t := range v.Entities {
		types = append(types, t.EntityType)
	}
	at := dynamodb.Place{Cloud: v.Cloud, Region: v.Region, Account: v.Account}
	if !v.Each {
		text, err := dynamodb.Policy(cfg, at, v.Tenant.Code, types...)
		if err != nil {
			return err
		}
		return raw(std.Out, text)
	}
	for _, t := range declared {
		types = append(types, t.Name)
	}
	text, err := dynamodb.RolePolicy(cfg, at, types...)
	if err != nil {
		return err
	}
	return raw(std.Out, text)
}

type policyTrust struct {
	Principal string `required:"" placeholder:"ARN" help:"Who the server is, as arn:aws:iam::123456789012:role/shop-server."`
}

// Help implements kong.HelpProvider.
func (policyTrust) Help() string {
	return `Give the text to the role of tenants' sessions, beside what "tenantry policy dynamodb --each" prints, and the role's ARN to the server as
--tenant-role. Nothing is called. Example:

    tenantry policy trust --principal arn:aws:iam::123456789012:role/shop-server`
}

// Run runs the verb.
func (v policyTrust) Run(std IO) error {
	text, err := dynamodb.TrustPolicy(v.Principal)
	if err != nil {
		return err
	}
	return raw(std.Out, text)
}
