package crash_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenants"
)

// childJobs makes this test binary a process that orders jobs and runs them: the store's directory.
const childJobs = "TENANTRY_CRASH_JOBS"

// mark is what a job leaves of an order: a record of the same sort key as the note that it was ordered with.
var mark = record.MustEntityType("MARK")

type markOrder struct {
	Tenant string `json:"tenant"`
	SK     string `json:"sk"`
}

// jobsApp opens the application whose jobs make marks.
func jobsApp(ctx context.Context, dir string) (*tenantry.App, error) {
	cfg, err := config(dir, sqlite.At(dir))
	if err != nil {
		return nil, err
	}
	var app *tenantry.App
	cfg.Handlers = nil
	cfg.Jobs = []jobs.Kind{{Name: "mark", Workers: 16, PerTenant: 4, Backoff: func(int) time.Duration { return time.Millisecond },
		Run: func(ctx context.Context, sc guard.Scope, j jobs.Job) error {
			var o markOrder
			if err := j.Payload.Decode(&o); err != nil {
				return err
			}
			if rand.IntN(20) == 0 {
				panic("now and then")
			}
			key, err := record.NewKey(sc, mark, o.SK)
			if err != nil {
				return err
			}
			a, err := record.EncodeAttributes(o)
			if err != nil {
				return err
			}
			_, err = app.Commands().PublishAsync(ctx, sc, command.Input{Key: key, Version: record.VersionLatest, Name: "mark", Attributes: a})
			return err
		}}}
	app, err = tenantry.Open(ctx, cfg)
	return app, err
}

// orderJobs orders jobs beside notes, and runs them, until it is killed. Each order that was acknowledged is a line.
func orderJobs(dir, seed string, out io.Writer) error {
	ctx := context.Background()
	app, err := jobsApp(ctx, dir)
	if err != nil {
		return err
	}
	if err := app.Start(ctx); err != nil {
		return err
	}
	failed := make(chan error)
	for n := range writers {
		go func() {
			for i := 0; ; i++ {
				code := tenantCodes[i%len(tenantCodes)]
				sc := worldtest.Scope(code)
				o := markOrder{Tenant: code, SK: fmt.Sprint(seed, "-", n, "-", i)}
				payload, err := record.EncodeAttributes(o)
				if err != nil {
					failed <- err
				}
				key, err := record.NewKey(sc, note, o.SK)
				if err != nil {
					failed <- err
				}
				if _, err = app.Commands().PublishAsync(ctx, sc, command.Input{Key: key, Name: "note"}, app.Jobs().Beside(jobs.Order{Kind: "mark", Payload: payload})); err != nil {
					failed <- err
				}
				fmt.Fprintln(out, code, o.SK)
			}
		}()
	}
	return <-failed
}

// TestKillJobs kills the process that orders and runs jobs again and again. Afterwards every order has had its effect, in its own tenant, and
// no effect is without its order.
func TestKillJobs(t *testing.T) {
	rounds := 5
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		rounds = 50
	}
	dir := t.TempDir()
	app, err := jobsApp(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	sys := worldtest.System("set up", nil)
	for _, code := range tenantCodes {
		if _, err := app.Tenants().CreateTenant(t.Context(), sys, tenants.Create{Code: worldtest.Code(code), Name: code}); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string][]string{}
	for round := range rounds {
		if err := killWhileJobsRun(t.Context(), dir, fmt.Sprint("r", round), acknowledged); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	if app, err = jobsApp(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	report, err := integrity.Verify(t.Context(), app.Store(), worldtest.System("verify", nil), integrity.Options{Entities: app.Entities()}) // what waits, too
	if err != nil || !report.Clean() {
		t.Errorf("after the kills: %v\n%s", err, report)
	}
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	orders := 0
	for _, code := range tenantCodes {
		sc := worldtest.Scope(code)
		waitForJobs(t, app, sc)
		notes, marks := skList(t, app, sc, note), skList(t, app, sc, mark)
		for _, sk := range acknowledged[code] {
			if !notes[sk] {
				t.Errorf("the note %s of %s was acknowledged and is not there", sk, code)
			}
		}
		for sk := range notes {
			if orders++; !marks[sk] {
				t.Errorf("the job of %s was lost in %s", sk, code)
			}
		}
		for sk := range marks {
			if !notes[sk] {
				t.Errorf("a job left %s in %s, where nobody ordered it", sk, code)
			}
		}
	}
	if orders < rounds*10 {
		t.Errorf("%d orders in %d rounds: this proves little", orders, rounds)
	}
	t.Logf("measured: %d kills of a process that ran jobs, %d orders, each carried out in its own tenant", rounds, orders)
}

// killWhileJobsRun starts a process, and kills it some time after its first order.
func killWhileJobsRun(ctx context.Context, dir, seed string, acknowledged map[string][]string) error {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childJobs+"="+dir, childSeed+"="+seed)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var once sync.Once
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		once.Do(func() {
			time.AfterFunc(time.Duration(300+rand.IntN(700))*time.Millisecond, func() { cmd.Process.Kill() })
		})
		if code, sk, ok := strings.Cut(lines.Text(), " "); ok {
			acknowledged[code] = append(acknowledged[code], sk)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		return fmt.Errorf("the process ended by itself: %v: %s", err, stderr.String())
	}
	return nil
}

func waitForJobs(t *testing.T, app *tenantry.App, sc guard.Scope) {
	t.Helper()
	deadline := time.After(5 * time.Minute)
	for {
		left, _, err := app.Jobs().List(t.Context(), sc, jobs.Query{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("a job of %s waits still: %+v", sc.Tenant(), left[0])
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// skList returns the sort keys of all records of a type, and checks that each says it is of the tenant that it stands in.
func skList(t *testing.T, app *tenantry.App, sc guard.Scope, typ record.EntityType) map[string]bool {
	t.Helper()
	partition, err := record.NewPartition(sc, typ)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for cursor := ""; ; {
		page, err := app.Data().List(t.Context(), sc, data.Query{Partition: partition, Limit: data.MaxLimit, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Items {
			var o markOrder
			if err := r.Attributes.Decode(&o); err != nil || o.Tenant != "" && o.Tenant != sc.Tenant().String() {
				t.Errorf("%s stands in %s and is of %q: %v", r.SK, sc.Tenant(), o.Tenant, err)
			}
			all[r.SK] = true
		}
		if cursor = page.Cursor; cursor == "" {
			return all
		}
	}
}
