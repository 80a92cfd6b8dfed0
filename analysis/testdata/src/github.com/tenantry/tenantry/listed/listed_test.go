package listed

import "github.com/tenantry/tenantry/internal/scope"

var inTest = scope.New("acme")
