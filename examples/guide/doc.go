// Package guide holds the guide "Multi-Tenant Patterns" of mbc-cqrs-serverless as programs: one Example for each of its sections,
// under the section's own title, written with this library. README.md lists them.
//
// Each Example asks package tenantrytest for an App, for Scopes and for tokens. In a program, a Scope comes from the guard
// and nowhere else: an operation finds it in its route.Call, a handler is given one, and a System enters one.
package guide
