// Package linkname goes round the compiler.
package linkname

import _ "unsafe"

//go:linkname forge github.com/tenantry/tenantry/internal/scope.NewRoot // want `reaches into internal/scope past the compiler`
func forge() struct{ granted bool }

//go:linkname nanotime runtime.nanotime
func nanotime() int64
