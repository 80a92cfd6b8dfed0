// Package httpapi is the layer that hands a request's mentions to the guard.
package httpapi

import "net/http"

func Mentions(r *http.Request) []string { return r.Header.Values("x-tenant-code") }
