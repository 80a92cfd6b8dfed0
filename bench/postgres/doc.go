// Package postgres measures publishing on PostgreSQL beside a group commit by hand that makes the same rows (package baseline),
// on a server of their own:
//
//	go test ./bench/postgres -run '^$' -bench . -count 5
package postgres
