package dynamodb

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// allows evaluates a policy as IAM does, for what a policy of this package has: a request of an action on a table with the
// partition keys that it names, none for a scan.
func allows(t *testing.T, doc []byte, action, table string, keys ...string) bool {
	t.Helper()
	var p policy
	dec := json.NewDecoder(strings.NewReader(string(doc)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil || p.Version != "2012-10-17" || len(p.Statement) == 0 {
		t.Fatalf("no policy: %s, %v", doc, err)
	}
	return slices.ContainsFunc(p.Statement, func(s statement) bool {
		if s.Effect != "Allow" || len(s.Condition) != 2 || !slices.Contains(s.Action, action) ||
			!slices.Contains(s.Resource, "arn:aws:dynamodb:eu-central-1:123456789012:table/"+table) {
			return false
		}
		if s.Condition["Null"]["dynamodb:LeadingKeys"] == "false" && len(keys) == 0 {
			return false
		}
		patterns := s.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"].([]any)
		for _, key := range keys {
			if !slices.ContainsFunc(patterns, func(pattern any) bool {
				like := strings.ReplaceAll(strings.ReplaceAll(regexp.QuoteMeta(pattern.(string)), `\*`, `.*`), `\?`, `.`)
				return regexp.MustCompile(`^` + like + `$`).MatchString(key)
			}) {
				return false
			}
		}
		return true
	})
}

func TestPolicy(t *testing.T) {
	alph, err := tenant.Parse("alph")
	if err != nil {
		t.Fatal(err)
	}
	cfg, at := Config{Prefix: "prod-shop"}, Place{Region: "eu-central-1", Account: "123456789012"}
	product, order := record.MustEntityType("PRODUCT"), record.MustEntityType("ORDER")
	doc, err := Policy(cfg, at, alph, product, order)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		action, table string
		keys          []string
		want          bool
	}{
		{"GetItem", "prod-shop-product-data", []string{"PRODUCT#alph"}, true},
		{"PutItem", "prod-shop-product-command", []string{"PRODUCT#alph"}, true},
		{"UpdateItem", "prod-shop-order-history", []string{"ORDER#alph#2026-11", "ORDER#alph"}, true},
		{"BatchGetItem", "prod-shop-product-data", []string{"PRODUCT#alph", "PRODUCT#alph#1"}, true},
		{"PutItem", "prod-shop-product-data", []string{"PRODUCT#alph##7", "PRODUCT#alph#2026-11##0"}, true}, // its shards
		{"PutItem", "prod-shop-tenantry-system", []string{"RECEIPT#alph##3"}, true},
		{"PutItem", "prod-shop-tenantry-system", []string{"RECEIPT#alph", "CODE#alph", "PARTITIONS#alph", "ANSWER#alph"}, true},

		{"GetItem", "prod-shop-product-data", []string{"PRODUCT#alpha2"}, false},
		{"GetItem", "prod-shop-product-data", []string{"PRODUCT#alp"}, false},
		{"GetItem", "prod-shop-product-data", []string{"PRODUCT#beta#alph"}, false},
		{"GetItem", "prod-shop-product-data", []string{"PRODUCT#beta#alph#1"}, false},
		{"GetItem", "prod-shop-product-data", []string{"PRODUCT#alpha2##0"}, false},
		{"GetItem", "prod-shop-product-data", []string{"PRODUCT#beta##0"}, false},
		{"GetItem", "prod-shop-product-data", []string{"XPRODUCT#alph"}, false},
		{"GetItem", "prod-shop-product-data", []string{"PRODUCT#common"}, false},
		{"BatchGetItem", "prod-shop-product-data", []string{"PRODUCT#alph", "PRODUCT#beta"}, false},
		{"Query", "prod-shop-product-data", nil, false},
		{"Scan", "prod-shop-product-data", nil, false},
		{"Scan", "prod-shop-product-data", []string{"PRODUCT#alph"}, false},
		{"GetItem", "prod-shop-invoice-data", []string{"PRODUCT#alph"}, false},
		{"GetItem", "prod-shop-tenantry-system", []string{"TENANTS#common"}, false},
		{"GetItem", "prod-shop-tenantry-system", []string{"RECEIPT#beta"}, false},
		{"GetItem", "prod-shop-tenantry-system", []string{"FEED#common"}, false},
		{"PutItem", "prod-shop-tenantry-system", []string{"LAYOUT#common"}, false},
		{"DeleteTable", "prod-shop-product-data", []string{"PRODUCT#alph"}, false},
	} {
		if got := allows(t, doc, "dynamodb:"+tc.action, tc.table, tc.keys...); got != tc.want {
			t.Errorf("%s of %q in %s: allowed %v, want %v", tc.action, tc.keys, tc.table, got, tc.want)
		}
	}
	if _, err := Policy(cfg, at, tenant.Code{}, product); fault.CodeOf(err) != fault.TenantRequired {
		t.Errorf("without a tenant: %v", err)
	}
	for _, place := range []Place{{}, {Region: "eu-central-1"}, {Account: "123456789012"}} {
		if _, err := Policy(cfg, place, alph, product); fault.CodeOf(err) != fault.InvalidRequest {
			t.Errorf("in %+v: %v", place, err)
		}
	}
	if _, err := Policy(cfg, at, alph); fault.CodeOf(err) != fault.InvalidRequest {
		t.Errorf("without entity types: %v", err)
	}
}
