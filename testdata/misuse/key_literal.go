//go:build misuse

// A key, and the partition in it, that no scope was asked for.
package main

import (
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

func main() {
	_ = record.Key{sk: "p1"}                        // want: cannot refer to unexported field sk in struct literal of type record\.Key
	_ = record.Partition{text: "PRODUCT#acme"}      // want: cannot refer to unexported field text in struct literal of type record\.Partition
	_ = record.Partition{tenant: tenant.Code{}}     // want: cannot refer to unexported field tenant in struct literal of type record\.Partition
	record.NewKey("acme", product(), "p1")          // want: cannot use "acme" \(untyped string constant\) as scope\.Scope value in argument to record\.NewKey
	record.NewPartition(tenant.Single(), product()) // want: cannot use tenant\.Single\(\) \(value of struct type tenant\.Code\) as scope\.Scope value in argument to record\.NewPartition
	record.ParseKey("PRODUCT#acme", "p1")           // want: not enough arguments in call to record\.ParseKey
}

func product() record.EntityType { return record.MustEntityType("PRODUCT") }
