//go:build misuse

// A scope put together by hand.
package main

import (
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/tenant"
)

func main() {
	_ = guard.Scope{tenant: tenant.Common()}    // want: cannot refer to unexported field tenant in struct literal of type guard\.Scope
	_ = guard.Scope{tenant.Common(), 1, 0, nil} // want: implicit assignment to unexported field tenant in struct literal of type guard\.Scope
	_ = guard.Scope("acme")                     // want: cannot convert "acme" \(untyped string constant\) to type guard\.Scope
	_ = guard.System{system: nil}               // want: cannot refer to unexported field system in struct literal of type guard\.System
}
