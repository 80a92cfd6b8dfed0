package dynamodbtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Policy is an IAM policy of the form that Tenantry writes, evaluated as IAM does. It has not been compared with IAM itself.
type Policy struct {
	Version   string
	Statement []struct {
		Sid, Effect      string
		Action, Resource []string
		Condition        struct {
			ForAllValues map[string][]string `json:"ForAllValues:StringLike"`
			Null         map[string]string
		}
	}
}

// leadingKeys is the condition key of the partition keys that a call names.
const leadingKeys = "dynamodb:LeadingKeys"

// ParsePolicy reads a policy. It fails where the text has what Allows would not look at.
func ParsePolicy(text []byte) (Policy, error) {
	var p Policy
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, fmt.Errorf("the policy: %w", err)
	}
	if p.Version != "2012-10-17" || len(p.Statement) == 0 {
		return p, fmt.Errorf("no policy: %s", text)
	}
	return p, nil
}

// Allows reports whether p allows an action on a table to who has a tag "tenant", "" for none; keys are the partition keys that the call names, none for
// a scan.
func (p Policy) Allows(action, table string, keys []string, tag string) bool {
	for _, s := range p.Statement {
		here := slices.ContainsFunc(s.Resource, func(arn string) bool { return strings.HasSuffix(arn, ":table/"+table) })
		if s.Effect != "Allow" || !here || !slices.Contains(s.Action, "dynamodb:"+action) {
			continue
		}
		if s.Condition.Null[leadingKeys] == "false" && len(keys) == 0 {
			continue
		}
		every := true // ForAllValues holds for none
		for _, key := range keys {
			every = every && slices.ContainsFunc(s.Condition.ForAllValues[leadingKeys], func(pattern string) bool { return like(pattern, key, tag) })
		}
		if every {
			return true
		}
	}
	return false
}

// like reports whether a text matches a pattern of IAM: * is any text, ? any character, and a variable stands for what it names, by the letter. A variable without
// a value matches nothing.
func like(pattern, text, tag string) bool {
	const variable = "${aws:PrincipalTag/tenant}"
	if tag == "" && strings.Contains(pattern, variable) {
		return false
	}
	parts := strings.Split(pattern, variable)
	for i, part := range parts {
		parts[i] = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(part))
	}
	return regexp.MustCompile(`^(?s:` + strings.Join(parts, regexp.QuoteMeta(tag)) + `)$`).MatchString(text)
}
