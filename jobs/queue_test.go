package jobs_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

type ran struct {
	Tenant string
	N      int
	Actor  scope.Actor
	Job    jobs.Job
}

// reporting returns a kind whose jobs report that they ran.
func reporting(to chan<- ran) jobs.Kind {
	return jobs.Kind{Name: "report", Run: func(_ context.Context, sc scope.Scope, j jobs.Job) error {
		to <- ran{sc.Tenant().String(), number(j), sc.Actor(), j}
		return nil
	}}
}

func TestAJobRunsInItsTenantForWhoOrderedIt(t *testing.T) {
	worldtest.EachEngine(t, testAJobRuns)
}

func testAJobRuns(t *testing.T, src driver.Source) {
	out := make(chan ran, 10)
	w := newWorld(t, src, nil, reporting(out))
	w.run()
	acme := worldtest.Scope("acme")
	j := w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(7)})
	got := receive(t, out)
	want := acme.Actor()
	want.Role, want.Source, want.Email = "system", "job report", ""
	if got.Tenant != "acme" || got.N != 7 || got.Job.ID != j.ID || got.Job.Attempts != 1 || got.Job.State != jobs.Running {
		t.Errorf("ran %+v", got)
	}
	if diff := cmp.Diff(want, got.Actor); diff != "" {
		t.Errorf("the actor is another: %s", diff)
	}
	until(t, "the job is not kept", func() bool {
		_, err := w.Get(t.Context(), acme, j.ID)
		return errors.Is(err, fault.NotFound)
	})
	until(t, "nothing of jobs is kept but who claimed last", func() bool {
		for _, r := range w.Rows(driver.System) {
			if r.PK != "JOB#acme" || r.SK != "report#claims" {
				return false
			}
		}
		return true
	})
}

func TestAJobInACommandsCommit(t *testing.T) {
	out := make(chan ran, 10)
	w := newWorld(t, driver.Source{}, nil, reporting(out))
	acme := worldtest.Scope("acme")
	in := command.Input{Key: w.Key(acme, "PRODUCT", "1"), Name: "Chair"}
	w.Publish(acme, in, w.Beside(jobs.Order{Kind: "report", Payload: payload(1)}))
	if _, err := w.Commands.PublishSync(t.Context(), acme, in, w.Beside(jobs.Order{Kind: "report", Payload: payload(2)})); !errors.Is(err, fault.VersionConflict) {
		t.Errorf("a second create: %v", err)
	}
	in.Version = record.VersionLatest
	w.Publish(acme, in, w.Beside(jobs.Order{Kind: "report", Payload: payload(3)})) // changes nothing
	in.Key, in.Version = w.Key(acme, "PRODUCT", "2"), 0
	if _, err := w.Commands.PublishSync(t.Context(), acme, in, w.Beside(jobs.Order{Kind: "none"})); !errors.Is(err, fault.ValidationFailed) {
		t.Errorf("a kind that is none: %v", err)
	}
	w.run()
	if got := receive(t, out); got.N != 1 {
		t.Errorf("job %d ran", got.N)
	}
	until(t, "no other job waits", func() bool {
		waiting, _, err := w.List(t.Context(), acme, jobs.Query{Kind: "report", Limit: 10})
		return err == nil && len(waiting) == 0
	})
	if len(out) > 0 {
		t.Errorf("job %d ran too", (<-out).N)
	}
}

func TestAFailureIsTriedAgainUntilTheJobIsDead(t *testing.T) {
	worldtest.EachEngine(t, testAFailure)
}

func testAFailure(t *testing.T, src driver.Source) {
	attempts := make(chan int, 10)
	kind := jobs.Kind{Name: "fails", Attempts: 3, Backoff: func(int) time.Duration { return 30 * time.Millisecond },
		Run: func(_ context.Context, _ scope.Scope, j jobs.Job) error {
			attempts <- j.Attempts
			if j.Attempts == 2 {
				panic("a secret of the process")
			}
			return fault.New(fault.Unavailable, "test", "the printer is out of paper")
		}}
	w := newWorld(t, src, nil, kind)
	w.run()
	acme := worldtest.Scope("acme")
	j := w.enqueue(acme, jobs.Order{Kind: "fails", Payload: payload(1)})
	for n := range 3 {
		if got := receive(t, attempts); got != n+1 {
			t.Errorf("attempt %d", got)
		}
	}
	dead := func() (dead jobs.Job, ok bool) {
		dead, err := w.Get(t.Context(), acme, j.ID)
		return dead, err == nil && dead.State == jobs.Dead
	}
	until(t, "the job is dead", func() bool { _, ok := dead(); return ok })
	got, _ := dead()
	if got.Attempts != 3 || got.Reason != "the printer is out of paper" || !got.Shown || got.ID != j.ID || number(got) != 1 {
		t.Errorf("kept %+v", got)
	}
	if _, err := w.Get(t.Context(), worldtest.Scope("bravo"), j.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("another tenant gets it: %v", err)
	}
	kept, _, err := w.List(t.Context(), worldtest.Scope("bravo"), jobs.Query{Kind: "fails", Kept: true, Limit: 10})
	if err != nil || len(kept) > 0 {
		t.Errorf("another tenant lists %v, %v", kept, err)
	}
	if _, err := w.Retry(t.Context(), acme, j.ID); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if got := receive(t, attempts); got != n+1 {
			t.Errorf("attempt %d after the retry", got)
		}
	}
	until(t, "the job is dead again", func() bool { _, ok := dead(); return ok })
	if _, err := w.Cancel(t.Context(), acme, j.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Get(t.Context(), acme, j.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("dropped, but: %v", err)
	}
}

// What an application's functions do to their goroutine is a failure of its job: the process, and the next job, go on.
func TestAJobThatEndsItsGoroutine(t *testing.T) {
	out := make(chan ran, 10)
	w := newWorld(t, driver.Source{}, nil, reporting(out), jobs.Kind{Name: "exits", Attempts: 1, Workers: 1, Run: func(context.Context, scope.Scope, jobs.Job) error {
		runtime.Goexit()
		return nil
	}}, jobs.Kind{Name: "pauses", Workers: 1, Backoff: func(n int) time.Duration { return []time.Duration{time.Second}[n] }, Run: func(context.Context, scope.Scope, jobs.Job) error {
		panic("as its name does not say")
	}})
	acme := worldtest.Scope("acme")
	w.run()
	for range 3 { // of one worker
		exits, pauses := w.enqueue(acme, jobs.Order{Kind: "exits"}), w.enqueue(acme, jobs.Order{Kind: "pauses"})
		until(t, "the job is dead, and the other waits for an hour", func() bool {
			dead, err := w.Get(t.Context(), acme, exits.ID)
			waits, other := w.Get(t.Context(), acme, pauses.ID)
			return err == nil && dead.State == jobs.Dead && other == nil && waits.State == jobs.Waiting && waits.Attempts == 1 && waits.Due.After(time.Now().Add(50*time.Minute))
		})
	}
	w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(1)})
	receive(t, out)
}

// A row that came into another tenant's partition, by a restore or by hand, is neither run nor shown there.
func TestAJobInAnotherTenantsPartitionIsNotRun(t *testing.T) {
	out := make(chan ran, 10)
	w := newWorld(t, driver.Source{}, nil, reporting(out))
	acme, bravo := worldtest.Scope("acme"), worldtest.Scope("bravo")
	waits := w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(1), After: time.Hour})
	dueNow := w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(2), Unique: "text"})
	for _, id := range []string{waits.ID, dueNow.ID} {
		row, err := w.Keeper("JOB").Get(t.Context(), "acme", strings.Replace(id, ".", "#due#", 1))
		if err != nil || row.Version == 0 {
			t.Fatalf("there is no row of %s: %v", id, err)
		}
		row.Owner, row.Version = "bravo", 0
		if err := w.Keeper("JOB").Commit(t.Context(), w.Keeper("JOB").Put(row)); err != nil {
			t.Fatal(err)
		}
	}
	own := w.enqueue(bravo, jobs.Order{Kind: "report", Payload: payload(3)})
	later := w.enqueue(bravo, jobs.Order{Kind: "report", Payload: payload(4), After: time.Hour, Unique: "text"})
	w.run()
	got := []ran{receive(t, out), receive(t, out)}
	for _, r := range got {
		if r.Tenant == "bravo" && r.N != 3 || r.Tenant == "acme" && r.N != 2 {
			t.Errorf("job %d ran in %s", r.N, r.Tenant)
		}
	}
	until(t, "the row that was due is put aside", func() bool {
		row, err := w.Keeper("JOB").Get(t.Context(), "bravo", strings.Replace(dueNow.ID, ".", "#kept#", 1))
		return err == nil && row.Version > 0
	})
	for _, kept := range []bool{false, true} {
		shown, _, err := w.List(t.Context(), bravo, jobs.Query{Kept: kept, Limit: 10})
		if err != nil || slices.ContainsFunc(shown, func(j jobs.Job) bool { return kept || j.ID != own.ID && j.ID != later.ID }) {
			t.Errorf("bravo is shown %+v, %v", shown, err)
		}
	}
	for _, id := range []string{waits.ID, dueNow.ID} {
		if _, err := w.Cancel(t.Context(), bravo, id); !errors.Is(err, fault.NotFound) {
			t.Errorf("bravo cancels another's job: %v", err)
		}
	}
	if again := w.enqueue(bravo, jobs.Order{Kind: "report", Payload: payload(4), Unique: "text"}); again.ID != later.ID {
		t.Error("bravo's own unique text went with it")
	}
	if len(out) > 0 {
		t.Errorf("run too: %+v", <-out)
	}
}

func TestASuspendedTenantWaitsAndADeletedOnesJobsAreDropped(t *testing.T) {
	out := make(chan ran, 10)
	w := newWorld(t, driver.Source{}, nil, reporting(out))
	acme, bravo := worldtest.Scope("acme"), worldtest.Scope("bravo")
	w.tenants.set("acme", guard.State{Exists: true, Suspended: true})
	w.tenants.set("bravo", guard.State{})
	w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(1)})
	j := w.enqueue(bravo, jobs.Order{Kind: "report", Payload: payload(2)})
	w.run()
	until(t, "the deleted tenant's job is dropped", func() bool {
		got, err := w.Get(t.Context(), bravo, j.ID)
		return err == nil && got.State == jobs.Dropped && got.Reason != ""
	})
	if len(out) > 0 {
		t.Fatalf("a job ran: %+v", <-out)
	}
	w.tenants.set("acme", guard.State{Exists: true})
	if got := receive(t, out); got.Tenant != "acme" {
		t.Errorf("ran %+v", got)
	}
	if len(out) > 0 {
		t.Errorf("another job ran: %+v", <-out)
	}
}
