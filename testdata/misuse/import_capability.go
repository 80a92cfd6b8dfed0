//go:build misuse

// An import of the package that makes capabilities.
package main

import (
	"time"

	"github.com/tenantry/tenantry/internal/scope" // want: use of internal package github\.com/tenantry/tenantry/internal/scope not allowed
	"github.com/tenantry/tenantry/tenant"
)

func main() {
	scope.New(tenant.Common(), scope.Full, time.Time{}, &scope.Actor{})
}
