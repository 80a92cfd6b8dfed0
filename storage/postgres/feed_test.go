package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
)

// bySequence is the bug: places come from a sequence, and whoever has one commits when it likes.
var bySequence = numbering{lock: "SELECT 1",
	take: "SELECT nextval('planted') - %[1]s AS base WHERE 1 = %[2]s",
	mark: "SELECT nextval('planted') - %[1]s AS base, true AS shared WHERE 1 = %[2]s AND $1::text <> '' AND $2::bigint > 0"}

// missed follows the feed while one transaction is held open, and returns the sort keys that a follower sees and those that
// are in the feed in the end.
func missed(t *testing.T, n *numbering) (followed, whole []string) {
	t.Helper()
	url := postgrestest.New(t)
	e := opened(t, url, Options{}, tuning{numbering: n})
	admin := administrator(t, url)
	run(t, admin, "CREATE SEQUENCE planted")
	run(t, admin, "GRANT USAGE ON SEQUENCE planted TO tenantry_app")

	// Another process has sent the commit of "slow"; the server is still at it.
	slow := connected(t, url, appRole)
	run(t, slow, "BEGIN")
	g := newGroup()
	g.join(newRequest(t.Context(), creates("slow")))
	s := session{numbering: n, id: "slow", number: 1, statements: make(map[shape]string)}
	run(t, slow, "SELECT set_config('tenantry.tenants', '{#}', true)")
	run(t, slow, "INSERT INTO session (id) VALUES ('slow')")
	if _, err := s.send(t.Context(), slow, g); err != nil {
		t.Fatal(err)
	}

	// This process commits "fast" meanwhile, as far as it is let.
	fast := make(chan error, 1)
	go func() {
		_, err := e.Commit(t.Context(), creates("fast"))
		fast <- err
	}()
	waiting := "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	made := false
	for !made && !value[bool](t, admin, waiting) {
		select {
		case err := <-fast:
			if made = true; err != nil {
				t.Fatal(err)
			}
		case <-time.After(5 * time.Millisecond):
		}
	}

	var after driver.Position
	follow := func() {
		changes, err := e.Changes(t.Context(), after, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			followed = append(followed, c.Command.SK)
			after = c.Position
		}
	}
	follow()
	run(t, slow, "COMMIT")
	if !made {
		if err := <-fast; err != nil {
			t.Fatal(err)
		}
	}
	follow()
	changes, err := e.Changes(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		whole = append(whole, c.Command.SK)
	}
	return followed, whole
}

func TestFollowerMissesNothing(t *testing.T) {
	followed, whole := missed(t, &inOrder)
	if diff := cmp.Diff([]string{"slow", "fast"}, whole); diff != "" {
		t.Errorf("the feed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(whole, followed); diff != "" {
		t.Errorf("what a follower saw of it (-feed +follower):\n%s", diff)
	}
}

func TestFollowerMissesWhatASequenceNumbered(t *testing.T) {
	followed, whole := missed(t, &bySequence)
	if diff := cmp.Diff([]string{"slow", "fast"}, whole); diff != "" {
		t.Errorf("the feed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"fast"}, followed); diff != "" {
		t.Errorf("the planted bug was not caught: the follower's changes (-want +got):\n%s", diff)
	}
}

// grouped has batches committed in one group where they may be, in their order, and returns their requests.
func grouped(t *testing.T, e *engine, batches ...driver.Batch) []*request {
	t.Helper()
	lock := connected(t, e.writer.session.cfg.ConnString(), "")
	run(t, lock, "BEGIN")
	run(t, lock, "SELECT set_config('tenantry.tenants', '{#}', true)")
	run(t, lock, "SELECT FROM feed FOR UPDATE")
	before := newRequest(context.Background(), creates("before"))
	e.writer.queue <- before
	admin := administrator(t, e.writer.session.cfg.ConnString())
	for !value[bool](t, admin, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") {
	}
	requests := make([]*request, len(batches))
	for i, b := range batches {
		requests[i] = newRequest(context.Background(), b)
		e.writer.queue <- requests[i]
	}
	run(t, lock, "COMMIT")
	<-before.done
	for _, r := range requests {
		<-r.done
	}
	return requests
}

// commitsOf returns how many transactions committed groups.
func commitsOf(t *testing.T, e *engine) int64 {
	t.Helper()
	return value[int64](t, administrator(t, e.writer.session.cfg.ConnString()), "SELECT commits FROM feed")
}

// late returns the batch that creates a record and then fails, for a row that is taken.
func late(sk, taken string) driver.Batch {
	b := creates(sk)
	b.Writes = append(b.Writes, driver.Write{Collection: driver.Data, Record: row("A#acme", taken, 1), If: driver.Condition{Kind: driver.IfAbsent}})
	return b
}

func TestGroupIsExact(t *testing.T) {
	e := opened(t, postgrestest.New(t), Options{}, tuning{})
	commit(t, e, creates("taken"))
	update := driver.Batch{Writes: []driver.Write{
		{Collection: driver.Data, Record: row("A#acme", "b", 2), If: driver.Condition{Kind: driver.IfVersion, Version: 1}}}}
	requests := grouped(t, e,
		creates("a"),         // made
		creates("taken"),     // its first write fails
		late("x", "taken"),   // its third write fails, beside the one before
		creates("b"),         // made
		creates("a"),         // fails because of the first of this list
		late("y", "b"),       // fails because of the fourth
		update,               // made, over the fourth
		late("z", "missing"), // made: nothing is there yet
		creates("missing"),   // its second write fails, because of the one before; its command must not stay
		creates("c"),         // made
	)
	var got []string
	for _, r := range requests {
		switch conflict, ok := r.err.(*driver.Conflict); {
		case ok:
			got = append(got, fmt.Sprint(conflict.Write, conflict.Found, conflict.Actual))
		case r.err != nil:
			t.Error(r.err)
		default:
			got = append(got, fmt.Sprint("made ", r.position))
		}
	}
	// c is of the first group; what names a row that another names comes after it.
	want := []string{"made 3", "0 true 1", "2 true 1", "made 4", "0 true 1", "2 true 1", "made ", "made 5", "1 true 1", "made 6"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	recs, err := e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, rec := range recs {
		rows = append(rows, fmt.Sprint(rec.SK, rec.Version))
	}
	if diff := cmp.Diff([]string{"a1", "b2", "before1", "c1", "missing1", "taken1", "z1"}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestGroupIsOneTransaction(t *testing.T) {
	e := opened(t, postgrestest.New(t), Options{}, tuning{})
	var batches []driver.Batch
	for i := range 20 {
		batches = append(batches, creates(fmt.Sprint(i)))
	}
	grouped(t, e, batches...)
	if got := commitsOf(t, e); got != 2 {
		t.Errorf("21 batches were made by %d commits, want 2: the first, and the 20 that came meanwhile", got)
	}
}

// TestConditionsHoldAcrossProcesses has two engines make one version of a row at once, in groups that look at conditions first and
// put no command: nothing but the lock keeps both from finding that theirs holds.
func TestConditionsHoldAcrossProcesses(t *testing.T) {
	url := postgrestest.New(t)
	engines := []*engine{opened(t, url, Options{}, tuning{}), opened(t, url, Options{}, tuning{})}
	commit(t, engines[0], driver.Batch{Writes: []driver.Write{{Collection: driver.System, Record: row("A#acme", "1", 1)}}})
	for version := int64(1); version <= 60; version++ {
		errs := make(chan error)
		for n, e := range engines {
			go func() {
				_, err := e.Commit(t.Context(), driver.Batch{Writes: []driver.Write{
					{Collection: driver.System, Record: row("A#acme", "1", version+1), If: driver.Condition{Kind: driver.IfVersion, Version: version}},
					{Collection: driver.System, Record: row("A#acme", fmt.Sprint("any", n), 1)},
				}})
				errs <- err
			}()
		}
		made := 0
		for range engines {
			err := <-errs
			if err == nil {
				made++
			} else if _, conflict := err.(*driver.Conflict); !conflict {
				t.Error(err)
			}
		}
		if made != 1 {
			t.Fatalf("version %d was made by %d engines", version+1, made)
		}
	}
}

// TestReadsUseIndexes looks at the plans of queries on tables that hold next to nothing, which is where planners err, and with
// policies, which keep conditions out of an index where their operators may leak.
func TestReadsUseIndexes(t *testing.T) {
	_, e := filled(t)
	conn := connected(t, e.writer.session.cfg.ConnString(), "")
	for name, v := range e.writer.session.cfg.RuntimeParams {
		run(t, conn, "SELECT set_config($1, $2, false)", name, v)
	}
	run(t, conn, "SELECT set_config('tenantry.tenants', '{acme}', false)")
	for _, tc := range []struct{ query, arguments, want string }{
		{getQuery[driver.Data], "'A#acme', '1'", "Index Cond: ((pk = $1) AND (sk = $2))"},
		{getQuery[driver.System], "'A#acme', '1', 0", "Index Cond: ((pk = $1) AND (sk = $2))"},
		{getQuery[driver.Command], "'A#acme', '1', 1", "Index Cond: ((pk = $1) AND (sk = $2) AND (version = $3))"},
		{columns + "data WHERE pk = $1 AND sk >= $2 AND sk < $3 AND NOT deleted ORDER BY sk LIMIT $4", "'A#acme', '1', '2', 5",
			"Index Cond: ((pk = $1) AND (sk >= $2) AND (sk < $3))"},
		{scanQuery[driver.Data], "'A#acme', '1', 5", "Index Cond: (ROW(pk, sk) > ROW($1, $2))"},
		{changesQuery, "1, 5", `Index Cond: ("position" > $1)`},
	} {
		run(t, conn, "PREPARE planned AS "+tc.query)
		lines, err := conn.Query(t.Context(), "EXPLAIN (COSTS OFF) EXECUTE planned ("+tc.arguments+")", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(lines, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "\n")
		if !strings.Contains(text, tc.want) || strings.Contains(text, "Sort") {
			t.Errorf("%s\nhas the plan\n%s\nwant %s, and no sort", tc.query, text, tc.want)
		}
		run(t, conn, "DEALLOCATE planned")
	}
}
