package transfer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/transfer"
)

// scanned is a store that tells which collections are read to their end.
func scanned(src driver.Source, tell func(driver.Collection)) driver.Source {
	return worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return telling{e, tell} })
}

type telling struct {
	driver.Engine
	tell func(driver.Collection)
}

func (e telling) Scan(ctx context.Context, c driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
	e.tell(c)
	return e.Engine.Scan(ctx, c, after, limit)
}

// TestComparedBeforeThePause has rows differ when the stores are compared, and others change once they were found the same. The pause reads none of the
// stores' records but what changed, and yet the digests are those of what is there: a copy of a source at rest has the same.
func TestComparedBeforeThePause(t *testing.T) {
	src := memory.New()
	from := started(t, src)
	from.fill()
	w := worldtest.New(t, src, worldtest.Options{})
	var phase transfer.Phase
	changed := false
	source := open(t, scanned(src, func(c driver.Collection) {
		switch {
		case phase == transfer.Paused && c != driver.System:
			t.Errorf("the pause reads %v to its end", c)
		case phase == transfer.Comparing && c == driver.History && !changed: // commands and states were compared
			changed = true
			for n := range 10 {
				from.put("acme", note, fmt.Sprint("n", n), "changed")
				from.put("acme2", product, fmt.Sprint("late", n), "new")
			}
		}
	}))
	told := false
	to := open(t, memory.New())
	first, err := transfer.Copy(t.Context(), source.side(), to.side(), transfer.Options{Progress: func(p transfer.Progress) {
		if phase = p.Phase; phase == transfer.Comparing && !told { // past the feed, as another framework does
			told = true
			w.Plant(driver.Data, &record.Record{PK: "NOTE#acme", SK: "n11", Version: 1, Name: "changed past the feed", TenantCode: "acme"},
				&record.Record{PK: "NOTE#acme", SK: "alone", Version: 1, TenantCode: "acme"})
		}
	}})
	if err != nil || !changed || !told {
		t.Fatal(changed, told, err)
	}
	if diff := cmp.Diff(from.rows(records...), to.rows(records...)); diff != "" {
		t.Errorf("the stores differ (-source +target):\n%s", diff)
	}
	if _, err := transfer.Resume(t.Context(), from.side(), tenant.Code{}); err != nil {
		t.Fatal(err)
	}
	second := copyAll(t, from, open(t, memory.New()), transfer.Options{})
	of := func(r transfer.Result) map[string]transfer.Digest {
		digests := map[string]transfer.Digest{}
		for _, d := range r.Tenants {
			if d.TenantCode != "common" { // each copy leaves an entry in its log
				digests[d.TenantCode] = d
			}
		}
		return digests
	}
	if diff := cmp.Diff(of(second), of(first)); diff != "" {
		t.Errorf("the digests (-at rest +while it was used):\n%s", diff)
	}
}

// TestSpreadOtherwise copies between DynamoDB tables whose partitions are spread over different numbers of keys, which is how the number is changed.
func TestSpreadOtherwise(t *testing.T) {
	from := started(t, tables(t))
	from.fill()
	to := open(t, tables(t, dynamodb.Shards{Type: note, Count: 3}, dynamodb.Shards{Type: product, Tenant: worldtest.Code("acme"), Count: 2}))
	copyAll(t, from, to, transfer.Options{})
	compared(t, from, to)
}
