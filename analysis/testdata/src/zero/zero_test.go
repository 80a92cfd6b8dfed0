package zero

import "github.com/tenantry/tenantry/guard"

// That the zero value is refused is what a test says.
func refusesZero() error { return read(guard.Scope{}) }
