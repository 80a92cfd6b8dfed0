// Package auth is a stub of the real one.
package auth

type PrincipalKey struct{}

type ID int
