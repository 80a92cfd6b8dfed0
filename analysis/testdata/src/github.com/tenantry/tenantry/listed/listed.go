// Package listed may make a Scope.
package listed

import "github.com/tenantry/tenantry/internal/scope"

func Make() scope.Scope { return scope.New("acme") }

var later = scope.New

func Cross() scope.System {
	return scope.NewSystem("reason") // want `Package .*/listed may not make a capability with scope.NewSystem`
}
