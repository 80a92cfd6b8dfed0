package unlisted

import "github.com/tenantry/tenantry/internal/scope"

var inTest = scope.New("acme") // want `may not make a capability with scope.New`
