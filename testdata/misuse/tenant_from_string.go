//go:build misuse

// A tenant from a string that nobody parsed.
package main

import "github.com/tenantry/tenantry/tenant"

func greet(tenant.Code) {}

func main() {
	greet("acme")                    // want: cannot use "acme" \(untyped string constant\) as tenant\.Code value in argument to greet
	greet(tenant.Code("acme"))       // want: cannot convert "acme" \(untyped string constant\) to type tenant\.Code
	greet(tenant.Code{"acme"})       // want: implicit assignment to unexported field text in struct literal of type tenant\.Code
	greet(tenant.Code{text: "acme"}) // want: cannot refer to unexported field text in struct literal of type tenant\.Code
}
