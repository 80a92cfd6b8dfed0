// Tenantry runs the server, and the verbs of an operator. `tenantry --help` lists them.
package main

import "github.com/tenantry/tenantry/internal/cli"

func main() { cli.Main() }
