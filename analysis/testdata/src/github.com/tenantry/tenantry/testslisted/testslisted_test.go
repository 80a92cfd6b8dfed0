package testslisted

import "github.com/tenantry/tenantry/internal/scope"

var inTest = scope.NewRoot()
