package dynamodb

import (
	"strings"
	"testing"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/tenant"
)

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
	policy, err := dynamodbtest.ParsePolicy(doc)
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
		if got := policy.Allows(tc.action, tc.table, tc.keys, ""); got != tc.want {
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

func TestRolePolicy(t *testing.T) {
	cfg, at := Config{Prefix: "prod-shop"}, Place{Region: "eu-central-1", Account: "123456789012"}
	doc, err := RolePolicy(cfg, at, record.MustEntityType("PRODUCT"))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := dynamodbtest.ParsePolicy(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		tag, key string
		want     bool
	}{
		{"alph", "PRODUCT#alph", true},
		{"alph", "PRODUCT#alph#2026", true},
		{"alph", "PRODUCT#alph##3", true},
		{"beta", "PRODUCT#alph", false},
		{"alph", "PRODUCT#alpha", false},
		{"alph", "PRODUCT#beta#alph", false},
		{"alph", "ORDER#alph", false},
		{"*", "PRODUCT#alph", false},
		{"", "PRODUCT#", false},
		{"", "PRODUCT#alph", false},
	} {
		if got := policy.Allows("GetItem", "prod-shop-product-data", []string{tc.key}, tc.tag); got != tc.want {
			t.Errorf("a session of %q at %q: allowed %v, want %v", tc.tag, tc.key, got, tc.want)
		}
	}
	if policy.Allows("Scan", "prod-shop-product-data", nil, "alph") {
		t.Error("a session may scan")
	}
	if _, err := RolePolicy(cfg, Place{}, record.MustEntityType("PRODUCT")); fault.CodeOf(err) != fault.InvalidRequest {
		t.Errorf("without a place: %v", err)
	}
}

func TestTrustPolicy(t *testing.T) {
	doc, err := TrustPolicy("arn:aws:iam::123456789012:role/shop-server")
	for _, want := range []string{`"sts:TagSession"`, `"AWS": "arn:aws:iam::123456789012:role/shop-server"`, `"aws:RequestTag/tenant": "false"`, `"aws:TagKeys"`} {
		if err != nil || !strings.Contains(string(doc), want) {
			t.Errorf("%s is missing: %s, %v", want, doc, err)
		}
	}
	for _, everyone := range []string{"", "*", "arn:aws:iam::*:root", "123456789012"} {
		if _, err := TrustPolicy(everyone); fault.CodeOf(err) != fault.InvalidRequest {
			t.Errorf("of %q: %v", everyone, err)
		}
	}
}
