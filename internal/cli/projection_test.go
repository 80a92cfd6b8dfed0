package cli_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/internal/cli"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// picky is a handler that fails for one record.
type picky struct{}

func (picky) Up(_ context.Context, _ guard.Scope, cmd *record.Record) error {
	if cmd.Name == "bad" {
		return errors.New("it is bad")
	}
	return nil
}

func (picky) Down(context.Context, guard.Scope, *record.Record) error { return nil }

// TestProjectionVerbs has an operator look at what waits for a handler, retry and skip it, and rebuild and audit the read model.
func TestProjectionVerbs(t *testing.T) {
	products := readmodel.Declare[readmodel.Plain]("product", readmodel.Options{EntityType: record.MustEntityType("PRODUCT"), DuplicateCodes: true})
	model, err := readmodel.New([]readmodel.Declared{products})
	if err != nil {
		t.Fatal(err)
	}
	var db driver.Relational
	kept := worldtest.Wrapped(sqlite.At(t.TempDir()), func(e driver.Engine) driver.Engine { db = e.(driver.Relational); return e })
	s := apitest.Start(t, apitest.Options{Tenants: []string{"alpha"}, App: tenantry.Config{Model: model, ReadModel: kept, Handlers: []projection.Registration{{Name: "picky", Module: "product", Handler: picky{}}}}})
	for _, name := range []string{"bad", "good"} {
		s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/data/PRODUCT?mode=async", Body: `{"sk":"` + name + `","name":"` + name + `"}`})
	}
	run := func(want int, args ...string) string {
		t.Helper()
		var out, stderr bytes.Buffer
		args = append([]string{"projection"}, append(args, "--server", s.URL, "--token", s.Token("system_admin"))...)
		if code := cli.Run(t.Context(), args, cli.IO{In: strings.NewReader(""), Out: &out, Err: &stderr}); code != want {
			t.Fatalf("%v: exit code %d: %s%s", args[:2], code, &out, &stderr)
		}
		return out.String() + stderr.String()
	}
	shows := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			fields := strings.Fields(w)
			if !slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool {
				got := strings.Fields(line)
				return len(got) >= len(fields) && slices.Equal(got[:len(fields)], fields)
			}) {
				t.Errorf("no line begins with %q:\n%s", w, text)
			}
		}
	}
	var status string
	for deadline := time.After(time.Minute); !strings.Contains(status, "it is bad") || !strings.Contains(status, "projection"); {
		status = run(0, "status")
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("nothing waits: %s", status)
		}
	}
	shows(status, "handler picky product", "projection product PRODUCT", "picky alpha PRODUCT#alpha bad 1 1")
	apitest.Eventually(t, func() bool { // asking is recorded in the feed, and nothing is behind for that
		words := strings.Fields(run(0, "status"))
		of := slices.Index(words, "of")
		return of > 0 && words[of-1] == words[of+1]
	})
	if text := run(0, "status", "--json"); !strings.HasPrefix(text, `{"end":"`) || !strings.Contains(text, `"handlers":[{"name":"picky"`) {
		t.Errorf("as JSON: %s", text)
	}
	shows(run(0, "retry", "alpha", "--name", "picky", "--reason", "again"), "trying 1 record")
	shows(run(0, "retry", "alpha", "--name", "other", "--reason", "again"), "trying 0 records")
	if text := run(4, "skip", "alpha", "picky", "bad", "2", "--reason", "another version"); !strings.Contains(text, "does not wait for picky") {
		t.Errorf("skipping what does not wait: %s", text)
	}
	shows(run(0, "skip", "alpha", "picky", "bad", "1", "--reason", "nobody wants it"), "skipped 1 command")
	for deadline := time.After(time.Minute); !strings.Contains(run(0, "status", "--tenants"), "alpha"); {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatal("the read model does not come to the tenant")
		}
	}
	shows(run(0, "rebuild", "alpha", "--reason", "to be sure"), "alpha counters done", "alpha product done")
	shows(run(0, "audit", "alpha", "--name", "product", "--reason", "monthly"), "alpha product audit done")
	if err := db.Write(t.Context(), func(tx driver.Tx) error {
		_, err := tx.Exec(t.Context(), "UPDATE upkeep_counter SET live = live + 1 WHERE type = $1", "PRODUCT")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	shows(run(1, "audit", "alpha", "--reason", "monthly"), "upkeep_counter PRODUCT different live")
	run(1, "audit", "alpha", "--name", "counters", "--reason", "monthly", "--json")
	if text := run(0, "audit", "alpha", "--name", "product", "--reason", "monthly"); strings.Contains(text, "counter") {
		t.Errorf("what another audit found: %s", text)
	}
	shows(run(0, "audit", "--reason", "monthly"), "asked for")

	for _, args := range [][]string{{"rebuild", "alhpa"}, {"rebuild", "alhpa"}, {"audit", "alhpa"}, {"retry", "alhpa"}, {"skip", "alhpa", "picky", "bad", "1"}} { // the second one, too, after an audit entry may name it
		if text := run(4, append(args, "--reason", "typed in haste")...); !strings.Contains(text, "there is no such tenant") {
			t.Errorf("%v: %s", args, text)
		}
	}
}

// TestProjectionVerbsWithoutAReadModel has a server that keeps none say so.
func TestProjectionVerbsWithoutAReadModel(t *testing.T) {
	s := apitest.Start(t, apitest.Options{Tenants: []string{"alpha"}, App: tenantry.Config{Store: memory.New()}})
	for _, args := range [][]string{{"rebuild", "alpha", "--reason", "to be sure"}, {"audit", "--reason", "monthly"}, {"status", "--tenants"}} {
		var out, stderr bytes.Buffer
		args = append([]string{"projection"}, append(args, "--server", s.URL, "--token", s.Token("system_admin"))...)
		if code := cli.Run(t.Context(), args, cli.IO{In: strings.NewReader(""), Out: &out, Err: &stderr}); code != fault.Unavailable.ExitCode() || !strings.Contains(stderr.String(), "this server keeps no read model") {
			t.Errorf("%v: exit code %d: %s%s", args, code, &out, &stderr)
		}
	}
}
