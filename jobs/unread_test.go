package jobs_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// rewrite gives a member of what stands in a row of acme's jobs another value.
func (w *world) rewrite(sk, member, value string) {
	w.Helper()
	row, err := w.Keeper("JOB").Get(w.Context(), "acme", sk)
	if err != nil || row.Version == 0 {
		w.Fatalf("there is no row %s: %v", sk, err)
	}
	if row.Value, err = row.Value.With(member, []byte(value)); err != nil {
		w.Fatal(err)
	}
	if err := w.Keeper("JOB").Commit(w.Context(), w.Keeper("JOB").Put(row)); err != nil {
		w.Fatal(err)
	}
}

// TestAJobOfAnotherVersion has rows of a form that this version doesn't know among others: they are set aside with the reason, the others run, and the version that
// knows them has them tried again.
func TestAJobOfAnotherVersion(t *testing.T) {
	out := make(chan ran, 10)
	w := newWorld(t, driver.Source{}, nil, reporting(out))
	acme := worldtest.Scope("acme")
	row := func(j jobs.Job, part string) string { return strings.Replace(j.ID, ".", "#"+part+"#", 1) }
	strange := w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(1), Unique: "text"})
	nameless := w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(2)})
	w.rewrite(row(strange, "due"), "attempts", `{"of":"another form"}`)
	w.rewrite(row(nameless, "due"), "id", `7`)
	for range 20 { // more than a look reads
		w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(3)})
	}
	listed, _, err := w.List(t.Context(), acme, jobs.Query{Kind: "report", Limit: 100})
	if err != nil || len(listed) != 22 {
		t.Errorf("%d jobs are listed, %v", len(listed), err)
	}
	w.run()
	for range 20 {
		if got := receive(t, out); got.N != 3 {
			t.Errorf("job %d ran", got.N)
		}
	}
	for _, j := range []jobs.Job{strange, nameless} {
		until(t, "it is set aside", func() bool {
			got, err := w.Get(t.Context(), acme, j.ID)
			return err == nil && got.State == jobs.Dead && strings.Contains(got.Reason, "another version") && got.Shown
		})
		if _, err := w.Retry(t.Context(), acme, j.ID); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("a retry by a version that can't read it: %v", err)
		}
	}
	dead, _, err := w.List(t.Context(), acme, jobs.Query{Kind: "report", Kept: true, Limit: 100})
	if err != nil || len(dead) != 2 {
		t.Errorf("set aside are %+v, %v", dead, err)
	}
	if other := w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(4), Unique: "text"}); other.ID == strange.ID || receive(t, out).N != 4 {
		t.Error("its unique text is held still")
	}

	w.rewrite(row(strange, "kept"), "attempts", `1`) // as the version that wrote it reads it
	if _, err := w.Retry(t.Context(), acme, strange.ID); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, out); got.N != 1 || got.Job.ID != strange.ID {
		t.Errorf("tried again: %+v", got)
	}
	if _, err := w.Cancel(t.Context(), acme, nameless.ID); err != nil {
		t.Fatal(err)
	}
	until(t, "nothing is left of them", func() bool {
		return !slices.ContainsFunc(w.Rows(driver.System), func(r *record.Record) bool { return r.PK == "JOB#acme" && r.SK != "report#claims" })
	})
}

// TestAJobThatAnotherVersionRuns leaves such a job to the process that runs it, for as long as that lives.
func TestAJobThatAnotherVersionRuns(t *testing.T) {
	out := make(chan ran, 10)
	w := newWorld(t, driver.Source{}, func(c *jobs.Config) { c.Term = time.Hour }, reporting(out))
	acme := worldtest.Scope("acme")
	j := w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(1)})
	place := strings.TrimPrefix(j.ID, "report.")
	w.rewrite("report#due#"+place, "worker", `"newer"`)
	w.rewrite("report#due#"+place, "attempts", `{"of":"another form"}`)
	for word, row := range map[string]storage.Row{"WORKER": {Owner: "common", SK: "newer"}, "JOB": {Owner: "acme", SK: "report#claims", Value: record.Attributes(`{"running":["` + place + `"]}`)}} {
		if err := w.Keeper(word).Commit(t.Context(), w.Keeper(word).Put(row)); err != nil {
			t.Fatal(err)
		}
	}
	w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(2)})
	w.run()
	if got := receive(t, out); got.N != 2 {
		t.Errorf("job %d ran", got.N)
	}
	w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(3)})
	receive(t, out)
	if got, err := w.Get(t.Context(), acme, j.ID); err != nil || got.State != jobs.Running {
		t.Errorf("what another process runs is %+v, %v", got, err)
	}
	if err := w.Keeper("WORKER").Commit(t.Context(), w.Keeper("WORKER").Delete(storage.Row{Owner: "common", SK: "newer"})); err != nil {
		t.Fatal(err)
	}
	until(t, "it is set aside when that process is dead", func() bool {
		got, err := w.Get(t.Context(), acme, j.ID)
		return err == nil && got.State == jobs.Dead
	})
}
