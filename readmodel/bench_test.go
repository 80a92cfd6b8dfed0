//go:build unix

package readmodel

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// BenchmarkApply projects new records into the guide's table, 500 in a transaction, as catching up does.
func BenchmarkApply(b *testing.B) {
	db := opened(b, sqliteIn(b))
	m := model(b, db, Guide()...)
	p := m.Projections()[0]
	cmd := command(b, "acme", "1", 1, map[string]any{"price": 12, "description": "A chair of oak, oiled; 45 cm high, for the kitchen and the garden. Delivered in parts.", "tags": []string{"oak", "chair", "kitchen"}})
	const together = 500
	n, before := 0, cpu(b)
	for b.Loop() {
		if n%together == 0 {
			must(b, db.Write(b.Context(), func(dtx driver.Tx) error {
				tx, err := p.Begin(b.Context(), dtx, scopeOf(fmt.Sprint("t", n/together%100)), Live)
				for i := 0; err == nil && i < together; i++ {
					c := cmd.Clone()
					c.SK = record.NewID()
					c.PK, c.Code, c.Name = "PRODUCT#"+tx.Tenant().String(), c.SK, "chair "+c.SK
					err = p.Apply(b.Context(), tx, c)
				}
				return err
			}))
		}
		n++
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(n), "cpu-ns/op")
}

// cpu returns the processor time that this process has used, which other load on the machine does not change.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkList reads a page of 100 from 10,000 rows of a tenant.
func BenchmarkList(b *testing.B) {
	db := opened(b, sqliteIn(b))
	m := model(b, db, Guide()...)
	p := m.Projections()[0]
	for t := range 2 {
		must(b, db.Write(b.Context(), func(dtx driver.Tx) error {
			tx, err := p.Begin(b.Context(), dtx, scopeOf(fmt.Sprint("t", t)), Live)
			for i := 0; err == nil && i < 10_000; i++ {
				err = p.Apply(b.Context(), tx, command(b, fmt.Sprint("t", t), record.NewID(), 1, map[string]any{"price": 12}))
			}
			return err
		}))
	}
	v, err := Products.In(database(b, m, db), scopeOf("t1"))
	must(b, err)
	for b.Loop() {
		page, err := v.List(b.Context(), Query{Order: []Order{Products.Column("created_at").Descending()}})
		must(b, err)
		if len(page.Rows) != 100 {
			b.Fatal(len(page.Rows))
		}
	}
}
