package archtest

import "path/filepath"

const modulePath = "github.com/tenantry/tenantry"

// root is the directory of go.mod. The tests run in this package's own.
var root = func() string {
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		panic(err)
	}
	return dir
}()
