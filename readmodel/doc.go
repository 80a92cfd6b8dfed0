// Package readmodel is tables of a relational database that follow commands, for questions that records by their keys don't answer.
//
// A struct with tags becomes a table. Every table has the columns of a record, tenant_code first, and one for each tagged field;
// every index begins with the tenant, every row is written for the tenant of a [Tx] and read by the Scope of a [View], and the database
// itself holds tenants apart where it can:
//
//	type Product struct {
//		Price    float64 `json:"price" db:"price,index"`
//		Category string  `json:"category" db:"category,index"`
//	}
//
//	var Products = readmodel.Declare[Product]("product", readmodel.Options{EntityType: record.MustEntityType("PRODUCT")})
//
//	view, err := Products.In(db, sc)
//	page, err := view.List(ctx, readmodel.Query{
//		Where: []readmodel.Condition{Products.Column("price").AtMost(100)},
//		Order: []readmodel.Order{Products.Column("name").Ascending()},
//	})
//
// A table with an EntityType has a projection that makes a row of each of its records. What else rows are made of is a [Projection] of
// the application's own, made with [Project]. Rows can always be made anew, from the commands: a declaration that changes marks its table
// for a rebuild, into a shadow beside it.
package readmodel
