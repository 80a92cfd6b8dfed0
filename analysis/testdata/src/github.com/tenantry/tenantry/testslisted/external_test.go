package testslisted_test

import "github.com/tenantry/tenantry/internal/scope"

var inTest = scope.NewRoot()

var other = scope.New("acme") // want `Package .*/testslisted_test may not make a capability with scope.New`
