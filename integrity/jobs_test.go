package integrity_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/webhooks"
)

// fails is work that fails: for good where its payload says so.
var fails = jobs.Kind{Name: "fails", Backoff: func(int) time.Duration { return time.Hour }, Run: func(_ context.Context, _ guard.Scope, j jobs.Job) error {
	err := errors.New("as its name says")
	if len(j.Payload) > len("{}") {
		return jobs.Final(err)
	}
	return err
}}

// background leaves rows of every shape that jobs and webhooks keep: a job that waits, one that failed and waits elsewhere, one that is dead, and
// a delivery. It returns the IDs of the jobs, without their kind.
func (w *world) background() (waits, moved, dead string) {
	w.t.Helper()
	acme := w.Scope("acme")
	order := func(o jobs.Order) string {
		w.t.Helper()
		o.Kind = fails.Name
		j, err := w.Jobs().Enqueue(w.t.Context(), acme, o)
		if err != nil {
			w.t.Fatal(err)
		}
		return j.ID
	}
	waits, moved, dead = order(jobs.Order{After: 24 * time.Hour, Unique: "waits"}), order(jobs.Order{Unique: "moved"}), order(jobs.Order{Payload: record.Attributes(`{"final":true}`)})
	url := "https://localhost:1024/" // which is not public
	hook, err := w.Webhooks().Create(w.t.Context(), acme, webhooks.Change{URL: &url})
	if err == nil {
		_, err = w.Webhooks().Ping(w.t.Context(), acme, hook.ID)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for settled := false; !settled; {
		page, err := w.Webhooks().Deliveries(w.t.Context(), acme, hook.ID, 1, "")
		if err != nil {
			w.t.Fatal(err)
		}
		left, _, err := w.Jobs().List(w.t.Context(), acme, jobs.Query{Limit: 10})
		if err != nil {
			w.t.Fatal(err)
		}
		settled = len(left) == 2 && left[0].State == jobs.Waiting && left[1].State == jobs.Waiting && left[0].Attempts+left[1].Attempts == 1 && page.Items[0].State == webhooks.Dead
		select {
		case <-deadline:
			w.t.Fatalf("the jobs don't come to rest: %+v %+v", left, page.Items)
		case <-time.After(2 * time.Millisecond):
		}
	}
	short := func(id string) string { return strings.TrimPrefix(id, fails.Name+".") }
	return short(waits), short(moved), short(dead)
}

// rows returns the rows of the system under a PK whose sort keys begin with prefix.
func (w *world) rows(pk, prefix string) []*record.Record {
	w.t.Helper()
	rows, err := w.engine.Range(w.t.Context(), driver.Range{Collection: driver.System, PK: pk, Prefix: prefix, Limit: 100, IncludeDeleted: true})
	if err != nil || len(rows) == 0 {
		w.t.Fatalf("there is no row %s %s: %v", pk, prefix, err)
	}
	return rows
}

// TestPlantedJobs plants faults in what is kept of background work, and wants each found, and nothing else.
func TestPlantedJobs(t *testing.T) {
	const acme, bravo = "JOB#acme", "JOB#bravo"
	for name, plant := range map[string]func(w *world, waits, moved, dead string) (want []string){
		"a job stands in another tenant's partition": func(w *world, waits, _, _ string) []string {
			row := w.get(driver.System, acme, "fails#due#"+waits, 0)
			row.PK = bravo
			w.put(driver.System, row)
			return []string{"jobs JOB#bravo#fails#due#" + waits}
		},
		"a dead job stands in another tenant's partition": func(w *world, _, _, dead string) []string {
			row := w.get(driver.System, acme, "fails#kept#"+dead, 0)
			row.PK = bravo
			w.put(driver.System, row)
			return []string{"jobs JOB#bravo#fails#kept#" + dead}
		},
		"a job's row names another tenant": func(w *world, waits, _, _ string) []string {
			row := w.get(driver.System, acme, "fails#due#"+waits, 0)
			row.TenantCode = "bravo"
			w.put(driver.System, row)
			return []string{"jobs JOB#acme#fails#due#" + waits}
		},
		"a job can't be read": func(w *world, _, _, dead string) []string {
			row := w.get(driver.System, acme, "fails#kept#"+dead, 0)
			row.Attributes = record.Attributes(`{"id":7}`)
			w.put(driver.System, row)
			return []string{"jobs JOB#acme#fails#kept#" + dead}
		},
		"nobody looks for a job": func(w *world, waits, _, _ string) []string {
			w.drop(driver.System, w.get(driver.System, "JOBS#common", "acme#fails", 0))
			place := w.rows(acme, "fails#due#")
			return []string{"jobs JOB#acme#" + place[0].SK, "jobs JOB#acme#" + place[1].SK}
		},
		"nobody knows where a job went": func(w *world, _, moved, _ string) []string {
			w.drop(driver.System, w.get(driver.System, acme, "fails#moved#"+moved, 0))
			place := w.rows(acme, "fails#due#")
			return []string{"jobs JOB#acme#" + place[0].SK, "jobs JOB#acme#" + w.unique(moved)}
		},
		"a job that moved is gone": func(w *world, _, moved, _ string) []string {
			w.drop(driver.System, w.rows(acme, "fails#due#")[0])
			return []string{"jobs JOB#acme#fails#moved#" + moved, "jobs JOB#acme#" + w.unique(moved)}
		},
		"a unique text is free while its job waits": func(w *world, waits, _, _ string) []string {
			w.drop(driver.System, w.get(driver.System, acme, w.unique(waits), 0))
			return []string{"jobs JOB#acme#fails#due#" + waits}
		},
		"a row that is no job's": func(w *world, _, _, _ string) []string {
			w.put(driver.System, &record.Record{PK: acme, SK: "fails#later#x", Version: 1})
			return []string{"jobs JOB#acme#fails#later#x"}
		},
		"a directory of nobody": func(w *world, _, _, _ string) []string {
			w.put(driver.System, &record.Record{PK: "JOBS#common", SK: "acme", Version: 1})
			return []string{"jobs JOBS#common#acme"}
		},
		"a delivery tells of another tenant's record": func(w *world, _, _, _ string) []string {
			row := &record.Record{PK: "DELIVERY#bravo", SK: "h#d", Version: 1, Attributes: record.Attributes(`{"command":{"pk":"PRODUCT#acme","sk":"1","version":1},"id":"d","webhookId":"h"}`)}
			w.put(driver.System, row)
			return []string{"jobs DELIVERY#bravo#h#d"}
		},
		"a delivery of nothing": func(w *world, _, _, _ string) []string {
			w.put(driver.System, &record.Record{PK: "DELIVERY#bravo", SK: "h#d", Version: 1})
			return []string{"jobs DELIVERY#bravo#h#d"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			waits, moved, dead := w.background()
			expect(t, w.verify())
			want := plant(w, waits, moved, dead)
			expect(t, w.verify(), want...)
		})
	}
}

// unique returns the sort key of the row that holds the unique text of a job.
func (w *world) unique(id string) string {
	w.t.Helper()
	for _, row := range w.rows("JOB#acme", "fails#unique#") {
		if strings.Contains(string(row.Attributes), id) {
			return row.SK
		}
	}
	w.t.Fatalf("no text is held for %s", id)
	return ""
}
