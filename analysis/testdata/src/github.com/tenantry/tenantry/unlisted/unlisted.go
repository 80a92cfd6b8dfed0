// Package unlisted may make nothing.
package unlisted

import capability "github.com/tenantry/tenantry/internal/scope"

func Make() capability.Scope {
	return capability.New("acme") // want `may not make a capability with scope.New`
}

func Pass() func(string) capability.Scope {
	return capability.New // want `may not make a capability with scope.New`
}

func New() {} // another New

func Other() { New() }
