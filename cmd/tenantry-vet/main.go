// Command tenantry-vet holds Tenantry's analyzers in the form that go vet runs:
//
//	go vet -vettool=$(go env GOPATH)/bin/tenantry-vet ./...
//
// Package analysis says what each of them reports.
package main

import (
	"golang.org/x/tools/go/analysis/unitchecker"

	"github.com/tenantry/tenantry/analysis"
)

func main() { unitchecker.Main(analysis.Analyzers()...) }
