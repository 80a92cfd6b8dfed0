//go:build misuse

// A principal that no token was verified for.
package main

import "github.com/tenantry/tenantry/auth"

func main() {
	_ = auth.Principal{subject: "u1"}      // want: cannot refer to unexported field subject in struct literal of type auth\.Principal
	_ = auth.Principal{crossTenant: "any"} // want: cannot refer to unexported field crossTenant in struct literal of type auth\.Principal
}
