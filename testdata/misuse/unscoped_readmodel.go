//go:build misuse

// A read model that is read without a Scope, and written without the Tx that is bound to one tenant.
package main

import (
	"context"

	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

func read(ctx context.Context, db *readmodel.Database) {
	readmodel.Products.In(db)                                              // want: not enough arguments in call to readmodel\.Products\.In
	readmodel.Products.In(db, "acme")                                      // want: cannot use "acme" \(untyped string constant\) as scope\.Scope value in argument to readmodel\.Products\.In
	readmodel.Products.In(db, tenant.Common())                             // want: cannot use tenant\.Common\(\) \(value of struct type tenant\.Code\) as scope\.Scope value in argument to readmodel\.Products\.In
	readmodel.Products.List(ctx, readmodel.Query{})                        // want: readmodel\.Products\.List undefined
	db.Query(ctx, "SELECT * FROM product")                                 // want: not enough arguments in call to db\.Query
	_ = readmodel.Query{Where: []readmodel.Condition{{is: "= '' OR ''="}}} // want: cannot refer to unexported field is in struct literal of type readmodel\.Condition
}

func write(ctx context.Context, cmd *record.Record) {
	tx := &readmodel.Tx{tenant: "acme"}                          // want: unknown field tenant in struct literal of type readmodel\.Tx
	readmodel.Products.Put(ctx, "acme", cmd, readmodel.Plain{})  // want: cannot use "acme" \(untyped string constant\) as \*readmodel\.Tx value in argument to readmodel\.Products\.Put
	readmodel.Products.Put(ctx, tx, cmd, readmodel.UserTenant{}) // want: cannot use readmodel\.UserTenant{} \(value of struct type readmodel\.UserTenant\) as readmodel\.Plain value in argument to readmodel\.Products\.Put
	tx.tx.Exec(ctx, "DELETE FROM product")                       // want: tx\.tx undefined \(cannot refer to unexported field tx
}

func main() {}
