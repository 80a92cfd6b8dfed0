package dynamodb_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/tenant"
)

func ExamplePolicy() {
	acme, err := tenant.Parse("acme")
	if err != nil {
		log.Fatal(err)
	}
	cfg, place := dynamodb.Config{Prefix: "prod-shop"}, dynamodb.Place{Region: "eu-central-1", Account: "123456789012"}
	policy, err := dynamodb.Policy(cfg, place, acme, record.MustEntityType("PRODUCT"))
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(policy)) {
		if strings.Contains(line, "PRODUCT#") || strings.Contains(line, "arn:") {
			fmt.Println(strings.TrimSpace(line))
		}
	}
	// Output:
	// "arn:aws:dynamodb:eu-central-1:123456789012:table/prod-shop-product-data",
	// "arn:aws:dynamodb:eu-central-1:123456789012:table/prod-shop-product-command",
	// "arn:aws:dynamodb:eu-central-1:123456789012:table/prod-shop-product-history"
	// "PRODUCT#acme",
	// "PRODUCT#acme#*"
	// "arn:aws:dynamodb:eu-central-1:123456789012:table/prod-shop-tenantry-system"
}
