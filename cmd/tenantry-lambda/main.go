// Command tenantry-lambda is the server as an AWS Lambda function over DynamoDB, for requests of an API Gateway HTTP API and batches of the
// data tables' streams. It is configured by the environment variables of tenantry serve, TENANTRY_TABLE_PREFIX, TENANTRY_MASTER_KEY and
// TENANTRY_TENANT_ROLE among them, and TENANTRY_AUTHORIZER_CLAIMS; --help lists them all. It keeps no read model: reports answer 503.
//
// For Lambda's runtime provided.al2023 it is built as bootstrap:
//
//	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -tags lambda.norpc -o bootstrap ./cmd/tenantry-lambda
//
// The HTTP API passes all paths on in its $default stage, with payload format 2.0. The mapping of each stream reports batch item failures
// (ReportBatchItemFailures). The function's time must be longer than a takeover of the change log, 5 seconds.
//
// From the start of the process to its first answer it took 21 to 28 ms on two cores, beside a server for tests (TestFunction -v); on Lambda itself
// it was not measured.
package main

import "github.com/tenantry/tenantry/internal/cli"

func main() { cli.Lambda() }
