package kit

import "github.com/tenantry/tenantry/tenantrytest"

var inTest = tenantrytest.Scope("acme")
