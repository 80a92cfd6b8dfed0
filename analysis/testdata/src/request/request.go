// Package request reads values from HTTP requests.
package request

import "net/http"

const header = "X-Tenant-Code"

func reads(r *http.Request, answer *http.Response) {
	_ = r.Header.Get("x-tenant-code")   // want `This takes a tenant from the request before the guard has compared it with the token; let the guard yield a guard.Scope`
	_ = r.Header.Values(header)         // want `takes a tenant from the request`
	_ = r.PathValue("tenantCode")       // want `takes a tenant from the request`
	_ = r.URL.Query().Get("tenantCode") // want `takes a tenant from the request`
	_ = r.FormValue("tenant")           // want `takes a tenant from the request`

	_ = r.Header.Get("Accept")
	_ = r.PathValue("sk")
	_ = answer.Header.Get("x-tenant-code")
	r.Header.Set("x-tenant-code", "acme")
	_ = map[string]string{}["tenant"]
}
