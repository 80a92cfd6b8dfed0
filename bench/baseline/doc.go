// Package baseline does what Tenantry does and nothing else, each in the fewest lines that are fast: no scopes, no contexts,
// no conflicts, no feed, no other process. It works on a file that Tenantry made, with Tenantry's settings of SQLite and rows
// of the bytes that Tenantry stored. Package bench measures the two side by side, and go run ./bench/ratios prints the ratios.
package baseline
