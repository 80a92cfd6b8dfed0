// Package baseline does what Tenantry does and nothing else, each as fast as we know how: no scopes, no contexts, no feed, no
// other process. It works on a file that Tenantry made, with Tenantry's settings of SQLite and rows of the bytes that Tenantry
// stored. Package bench measures the two side by side, and go run ./bench/ratios prints the ratios.
//
// What was tried and did not help, measured in processor time, a few percent being noise: to bind the partition key only where
// it changes, and to write the limit of a list into its statement; statements that insert 32 rows in place of 16.
//
// What was not tried, since it would do less: to keep a read transaction open (it reads an old state), an exclusive lock on
// the file or a larger cache (other settings), a document bound once for all rows (rows of a program differ), and a handler
// that takes the connection from net/http.
package baseline
