// Package kit takes its scopes from the test kit.
package kit

import "github.com/tenantry/tenantry/tenantrytest" // want `Package tenantrytest gives any Scope to whoever asks; import it in tests only`

var Scope = tenantrytest.Scope("acme")
