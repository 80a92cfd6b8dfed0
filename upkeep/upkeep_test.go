package upkeep_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/upkeep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(served{m}) }

type served struct{ *testing.M }

func (s served) Run() int {
	defer postgrestest.Stop()
	return s.M.Run()
}

// eachDatabase runs a test on each engine that holds a read model.
func eachDatabase(t *testing.T, test func(t *testing.T, src driver.Source)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqlite.At(t.TempDir())) })
	t.Run("postgres", func(t *testing.T) { test(t, postgres.At(postgrestest.New(t), postgres.Options{})) })
}

var (
	product = record.MustEntityType("PRODUCT")

	products = readmodel.Declare[attributes]("product", readmodel.Options{DuplicateCodes: true})
	again    = readmodel.Declare[attributes]("again", readmodel.Options{EntityType: product, DuplicateCodes: true})
)

type attributes struct {
	N int64 `json:"n" db:"n"`
}

// world is a store with a read model in it.
type world struct {
	*worldtest.World
	db     driver.Relational
	cfg    upkeep.Config
	runner *upkeep.Runner
	healed atomic.Bool // commands that are named poison or panic are good ones
}

func newWorld(t testing.TB, src driver.Source) *world {
	w := &world{World: worldtest.New(t, src, worldtest.Options{})}
	w.db = w.Engine.(driver.Relational)
	w.cfg = upkeep.Config{Store: w.Store, Database: w.db, Model: w.model(products), Leases: w.Keeper("LEASE"), Term: 4 * time.Second,
		Attempts: 3, Backoff: func(int) time.Duration { return time.Millisecond }, Log: slog.New(slog.DiscardHandler)}
	return w
}

// model returns the model of tables and of the projection products.
func (w *world) model(tables ...readmodel.Declared) *readmodel.Model {
	w.Helper()
	m, err := readmodel.New(tables, readmodel.Project("products", product, w.put, products))
	if err != nil {
		w.Fatal(err)
	}
	return m
}

func (w *world) put(ctx context.Context, tx *readmodel.Tx, cmd *record.Record, a attributes) error {
	if err := products.Put(ctx, tx, cmd, a); err != nil || w.healed.Load() {
		return err
	}
	switch {
	case strings.HasPrefix(cmd.Name, "poison"):
		return errors.New("it is poison")
	case strings.HasPrefix(cmd.Name, "away"):
		return fault.New(fault.Unavailable, "prices", "the price list is away")
	case strings.HasPrefix(cmd.Name, "slow"):
		<-ctx.Done()
		return ctx.Err()
	case strings.HasPrefix(cmd.Name, "panic"):
		panic("it panics")
	}
	return nil
}

func (w *world) publish(code, sk, name string, deleted bool) driver.Position {
	w.Helper()
	sc := worldtest.Scope(code)
	res, err := w.Commands.PublishAsync(w.Context(), sc, command.Input{Key: w.Key(sc, "PRODUCT", sk), Version: record.VersionLatest, Name: name, IsDeleted: deleted,
		Attributes: record.Attributes(fmt.Sprintf(`{"n":%d,"category":"chairs"}`, len(name)))})
	if err != nil {
		w.Fatal(err)
	}
	return res.Position
}

var codes = []string{"acme", "acme-2", "bravo", "common"}

// publishSome publishes random changes, under the older spelling of the common tenant too.
func (w *world) publishSome(seed uint64, n int) (last driver.Position) {
	w.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		last = w.publish(codes[random.IntN(len(codes))], fmt.Sprint("p", random.IntN(50)), fmt.Sprint("n", seed, "-", i), random.IntN(4) == 0)
	}
	return last
}

// run starts a Runner, until the test ends.
func (w *world) run(cfg upkeep.Config) *upkeep.Runner {
	w.Helper()
	r := upkeep.New(cfg)
	if err := r.Open(w.Context()); err != nil {
		w.Fatal(err)
	}
	r.Start(context.Background())
	w.Cleanup(r.Close)
	return r
}

// until waits for something to be so.
func (w *world) until(what string, is func() bool) {
	w.Helper()
	deadline := time.After(time.Minute)
	for !is() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			w.Fatalf("%s: not within a minute", what)
		}
	}
}

func (w *world) reach(r *upkeep.Runner, at driver.Position) {
	w.Helper()
	w.until("the position", func() bool {
		err := r.Wait(w.Context(), worldtest.Code("acme"), at)
		if err != nil && !errors.Is(err, fault.Behind) {
			w.Fatal(err)
		}
		return err == nil
	})
}

// query returns the rows of an answer as text, ordered.
func (w *world) query(text string) []string {
	w.Helper()
	out := []string{}
	err := w.db.Read(w.Context(), func(tx driver.Tx) error {
		out = out[:0]
		if err := tx.As(w.Context(), driver.All); err != nil {
			return err
		}
		return tx.Query(w.Context(), func(row driver.Row) error {
			values, to := make([]any, len(row.Columns())), make([]any, len(row.Columns()))
			for i := range values {
				to[i] = &values[i]
			}
			err := row.Scan(to...)
			for i, v := range values {
				if v == int64(0) || v == int64(1) {
					values[i] = v == int64(1) // a boolean, in SQLite
				}
			}
			out = append(out, fmt.Sprint(values))
			return err
		}, text)
	})
	if err != nil {
		w.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func (w *world) write(text string) {
	w.Helper()
	err := w.db.Write(w.Context(), func(tx driver.Tx) error {
		if err := tx.As(w.Context(), driver.All); err != nil {
			return err
		}
		_, err := tx.Exec(w.Context(), text)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
}

// check compares what is read with the records, and the counters with both.
func (w *world) check() {
	w.Helper()
	rows, live, created := []string{}, map[string]int64{}, map[string]int64{}
	var after driver.Ref
	for {
		recs, err := w.Engine.Scan(w.Context(), driver.Data, after, 500)
		if err != nil {
			w.Fatal(err)
		}
		for _, r := range recs {
			after = driver.RefOf(driver.Data, r)
			kind, code, _, err := record.SplitPK(r.PK)
			if err != nil {
				w.Fatal(err)
			}
			key := fmt.Sprintf("%s %s", code, kind)
			created[key]++
			if !r.IsDeleted {
				live[key]++
			}
			if kind == product {
				rows = append(rows, fmt.Sprint([]any{code.String(), r.SK, r.Name, fmt.Sprint(r.Version), r.IsDeleted, fmt.Sprint(len(r.Name))}))
			}
		}
		if len(recs) < 500 {
			break
		}
	}
	slices.Sort(rows)
	if diff := cmp.Diff(rows, w.query("SELECT tenant_code, sk, name, CAST(version AS TEXT), is_deleted, CAST(n AS TEXT) FROM product")); diff != "" {
		w.Errorf("the rows are not the records: %s", diff)
	}
	for table, want := range map[string]map[string]int64{"SELECT tenant_code || ' ' || type, live FROM upkeep_counter WHERE live <> 0": live,
		"SELECT tenant_code || ' ' || type, CAST(sum(records) AS BIGINT) FROM upkeep_created GROUP BY tenant_code, type":                                              created,
		"SELECT tenant_code || ' ' || substr(pk, 1, 7), count(*) FROM upkeep_record WHERE NOT deleted AND pk LIKE 'PRODUCT#%' GROUP BY tenant_code, substr(pk, 1, 7)": live} {
		if diff := cmp.Diff(want, w.numbers(table)); diff != "" {
			w.Errorf("%s is not the records: %s", table, diff)
		}
	}
}

// numbers returns the rows of an answer, a name and a number each.
func (w *world) numbers(text string) map[string]int64 {
	w.Helper()
	out := map[string]int64{}
	err := w.db.Read(w.Context(), func(tx driver.Tx) error {
		if err := tx.As(w.Context(), driver.All); err != nil {
			return err
		}
		return tx.Query(w.Context(), func(row driver.Row) error {
			var name string
			var n int64
			err := row.Scan(&name, &n)
			out[name] = n
			return err
		}, text)
	})
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// TestFollows publishes while a Runner runs, stops it, goes on and starts another.
func TestFollows(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		w.publishSome(1, 200)
		first := w.run(w.cfg)
		w.reach(first, w.publishSome(2, 200))
		first.Close()
		last := w.publishSome(3, 200)
		w.reach(w.run(w.cfg), last)
		w.check()
	})
}

// TestOlderCommon follows commands that stand under X#COMMON, and leaves out those that no View shows.
func TestOlderCommon(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	put := func(pk string, version int64) {
		rec := &record.Record{PK: pk, SK: "old", Version: version, Name: "older", TenantCode: "COMMON", Type: "PRODUCT", Attributes: record.Attributes(`{"n":5}`)}
		writes := []driver.Write{{Collection: driver.Command, Record: rec}, {Collection: driver.Data, Record: rec}}
		if _, err := w.Engine.Commit(t.Context(), driver.Batch{Writes: writes}); err != nil {
			t.Fatal(err)
		}
	}
	put("PRODUCT#COMMON", 1)
	put("PRODUCT#ACME", 1)
	w.reach(w.run(w.cfg), w.publish("common", "old", "newer", false))
	if diff := cmp.Diff([]string{"[common PRODUCT#common old newer 2]"}, w.query("SELECT tenant_code, pk, sk, name, version FROM product")); diff != "" {
		t.Error(diff)
	}
	if got := w.query("SELECT tenant_code, type, live FROM upkeep_counter"); !slices.Equal(got, []string{"[common PRODUCT true]"}) {
		t.Errorf("the counters are %v; want one record of common", got)
	}
}

// TestExactlyOnce lets several processes that know of no lease keep one read model: each command takes effect once.
func TestExactlyOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		var runners []*upkeep.Runner
		for n := range 3 {
			cfg := w.cfg
			cfg.Leases = w.Keeper(fmt.Sprint("LEASE", n))
			runners = append(runners, w.run(cfg))
		}
		for seed := range uint64(5) {
			w.reach(runners[0], w.publishSome(seed, 60))
		}
		w.check()
	})
}

// TestWait checks that a reader waits for what it names, and no longer than it may.
func TestWait(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	at := w.publish("acme", "p", "n", false)
	w.cfg.Patience = 30 * time.Millisecond
	r := upkeep.New(w.cfg)
	if err := r.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := r.Wait(t.Context(), worldtest.Code("acme"), at)
	if e := fault.As(err); !errors.Is(err, fault.Behind) || e.RetryAfter != time.Second {
		t.Errorf("before anything is applied: %v", err)
	}
	for _, bad := range []driver.Position{"", "0", "01", "+1", "x", "99"} {
		if err := r.Wait(t.Context(), worldtest.Code("acme"), bad); !errors.Is(err, fault.InvalidCursor) {
			t.Errorf("position %q: %v", bad, err)
		}
	}
	r.Start(context.Background())
	defer r.Close()
	w.reach(r, at)
}
