package dynamodb

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Place is where the tables are in AWS.
type Place struct {
	Cloud   string // the first word of its ARNs. Defaults to "aws".
	Region  string // "eu-central-1"
	Account string // twelve digits
}

// Policy returns the text of an IAM policy for the session of one tenant: it allows reading and writing the tenant's own partitions in the
// tables of entity types and in the system's, and nothing else: neither what the common tenant shares nor the change feed. It is derived from the form of keys, ENTITY#tenant and ENTITY#tenant#…, and is a second wall behind
// Scopes: what a session with this policy asks for under another key is refused by AWS.
//
// ForAllValues is true of a request without any key, a Scan; the condition Null: false refuses those. It fails with
// fault.TenantRequired for the zero code, and fault.InvalidRequest for a place or prefix that is incomplete.
func Policy(cfg Config, at Place, of tenant.Code, entityTypes ...record.EntityType) ([]byte, error) {
	if of.IsZero() {
		return nil, fault.New(fault.TenantRequired, "dynamodb.Policy", "a policy is one tenant's; name it")
	}
	return cfg.policy(at, of.String(), entityTypes)
}

// RolePolicy returns the text of the IAM policy of a [Config.TenantRole]: what [Policy] allows one tenant, it allows each session to the tenant of
// its tag. A session without the tag may do nothing. The entity types of the built-in modules must be among those that are named, else the server
// can't reach them. It fails as Policy does.
func RolePolicy(cfg Config, at Place, entityTypes ...record.EntityType) ([]byte, error) {
	return cfg.policy(at, "${aws:PrincipalTag/"+tenantTag+"}", entityTypes)
}

// TrustPolicy returns the text that says who may begin sessions of a [Config.TenantRole]: the principal with an ARN, which is that of
// the servers, and only with a tenant's tag and no other. It fails with fault.InvalidRequest for what is no ARN.
func TrustPolicy(principal string) ([]byte, error) {
	if !strings.HasPrefix(principal, "arn:") || strings.ContainsAny(principal, "*? ") {
		return nil, fault.New(fault.InvalidRequest, "dynamodb.TrustPolicy", "who begins sessions of tenants is named by an ARN, as arn:aws:iam::123456789012:role/shop-server")
	}
	return policy{Version: policyVersion, Statement: []statement{{
		Sid:       "TenantSessions",
		Effect:    "Allow",
		Principal: map[string]string{"AWS": principal},
		Action:    []string{"sts:AssumeRole", "sts:TagSession"},
		Condition: map[string]map[string]any{
			"Null":                      {"aws:RequestTag/" + tenantTag: "false"},
			"ForAllValues:StringEquals": {"aws:TagKeys": []string{tenantTag}},
		},
	}}}.text()
}

// policy returns a policy for whom a code, or what IAM puts in its place, names.
func (cfg Config) policy(at Place, of string, entityTypes []record.EntityType) ([]byte, error) {
	if at.Region == "" || at.Account == "" || !validPrefix.MatchString(cfg.Prefix) || len(entityTypes) == 0 {
		return nil, fault.New(fault.InvalidRequest, "dynamodb.Policy", "a policy needs the prefix of the tables, a region, an account and entity types")
	}
	if at.Cloud == "" {
		at.Cloud = "aws"
	}
	if cfg.Module == nil {
		cfg.Module = defaultModule
	}
	var names []string
	for _, t := range entityTypes {
		names = append(names, t.String())
	}
	wanted, err := server{cfg: cfg}.wanted(names)
	if err != nil {
		return nil, err
	}
	var tables []string
	for _, t := range wanted {
		if t.collection != driver.System {
			tables = append(tables, t.name)
		}
	}
	return policy{Version: policyVersion, Statement: []statement{
		at.statement("TenantRecords", tables, ownKeys(of, names)),
		at.statement("TenantBookkeeping", []string{server{cfg: cfg}.systemTable()}, ownKeys(of, keptWords)),
	}}.text()
}

// keptWords begin the partitions in which the system keeps what one tenant's publishes carry with them: see docs/adr/0006-what-the-system-keeps.md.
var keptWords = []string{"ANSWER", "CODE", "PARTITIONS", "RECEIPT", "SYNC_FENCE"}

// ownKeys returns the patterns of a tenant's partitions. The word before the tenant is spelt out: * stands for # too, so that *#acme would
// be PRODUCT#bravo#acme as well.
func ownKeys(of string, words []string) (patterns []string) {
	for _, word := range words {
		own := word + record.Separator + of
		patterns = append(patterns, own, own+record.Separator+"*")
	}
	return patterns
}

func (at Place) statement(sid string, tables, keys []string) statement {
	s := statement{
		Sid:    sid,
		Effect: "Allow",
		Action: []string{"dynamodb:BatchGetItem", "dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"},
		Condition: map[string]map[string]any{
			"ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys},
			"Null":                    {"dynamodb:LeadingKeys": "false"},
		},
	}
	for _, table := range tables {
		s.Resource = append(s.Resource, "arn:"+at.Cloud+":dynamodb:"+at.Region+":"+at.Account+":table/"+table)
	}
	return s
}

const policyVersion = "2012-10-17"

type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid       string
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  []string `json:",omitempty"`
	Condition map[string]map[string]any
}

func (p policy) text() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "dynamodb.Policy", "the policy can't be written as JSON")
	}
	return out.Bytes(), nil
}
