// Package testslisted may make a Root in its tests.
package testslisted

import "github.com/tenantry/tenantry/internal/scope"

var Root = scope.NewRoot() // want `may not make a capability with scope.NewRoot`
