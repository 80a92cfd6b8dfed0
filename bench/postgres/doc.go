// Package postgres measures publishing on PostgreSQL beside a group commit by hand that makes the same rows (package baseline),
// on a server of their own:
//
//	go test ./bench/postgres -run '^$' -bench . -count 5
//
// ADR 9 says what was measured, and where the difference goes. Publishes wait for the disk: on a machine that others use, only runs that take turns compare.
package postgres
