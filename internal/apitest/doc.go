// Package apitest attacks and exercises the HTTP API from outside, for the tests of this module: a server on a real port over a
// store in memory, an identity provider, and a client that checks with every answer what must hold for all of them.
//
// What holds for every answer, whatever a test is about: the status is one that the OpenAPI document lists for the operation and
// the body has the form that it states; nothing is 5xx; a refusal is a problem of at most 2 KiB that shows no stack, query, type
// or path of a file; a denial leaves one line in the log and anything else none; it comes within 2 seconds, without the race detector.
//
//	s := apitest.Start(t, apitest.Options{Tenants: []string{"alpha"}})
//	a := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: "/api/me"})
package apitest
