package guide_test

import (
	"fmt"

	"github.com/tenantry/tenantry"
)

// "Tenant Guard": wherever a request names a tenant, in its path, query, header, body or a pk in its body, the caller
// may use that tenant or the request is refused before anything is read. The guard stands before every operation.
func Example_tenantGuard() {
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("acme", "bravo")
	api, ann, operator := serve(app), tokenFor(app, "ann", "acme", "admin"), adminToken(app)

	fmt.Println("nothing named:", send(api, ann, "GET", "/api/data/PRODUCT", ""))
	fmt.Println("path:  ", send(api, ann, "GET", "/api/tenants/bravo/data/PRODUCT", ""))
	fmt.Println("query: ", send(api, ann, "GET", "/api/data/PRODUCT?tenantCode=bravo", ""))
	fmt.Println("header:", send(api, ann, "GET", "/api/data/PRODUCT", "", "x-tenant-code", "bravo"))
	fmt.Println("body:  ", send(api, ann, "POST", "/api/data/PRODUCT", `{"name":"Chair","tenantCode":"bravo"}`))
	fmt.Println("pk:    ", send(api, ann, "POST", "/api/data/PRODUCT", `{"name":"Chair","pk":"PRODUCT#bravo"}`))
	fmt.Println("operator:", send(api, operator, "GET", "/api/tenants/bravo/data/PRODUCT", ""))
	// Output:
	// nothing named: 200
	// path:   403 tenant_forbidden
	// query:  403 tenant_forbidden
	// header: 403 tenant_mismatch
	// body:   403 tenant_forbidden
	// pk:     403 tenant_forbidden
	// operator: 200
}
