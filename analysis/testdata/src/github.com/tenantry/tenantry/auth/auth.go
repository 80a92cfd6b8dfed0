// Package auth is a stub of the real one.
package auth

type PrincipalKey struct{}

type Principal struct{ subject string }

type ID int
