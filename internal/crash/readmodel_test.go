package crash_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/upkeep"
)

// childModel makes this test binary one that keeps the read model of a store, as childStore names it, until it dies.
const childModel = "TENANTRY_CRASH_MODEL"

// TestKillProjection kills the process that keeps a read model, at random moments and inside its transactions, while rebuilds are under way.
func TestKillProjection(t *testing.T) {
	rounds, events := 10, 2_500
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		rounds, events = 200, 50_000
	}
	for engine, where := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return t.TempDir() },
		"postgres": func(t *testing.T) string { return postgrestest.New(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			m := newModelled(t, engine+" "+where(t), "")
			if problem := m.play(t, rounds, events); problem != "" {
				t.Fatal(problem)
			}
			if m.inside < rounds/4 {
				t.Errorf("%d of %d kills were inside a transaction: this proves little", m.inside, rounds)
			}
			t.Logf("measured: %d kills, %d of them inside a transaction, %d commands; %d rows and %d parked records are the model's and those of a rebuild",
				rounds, m.inside, events, m.rows, len(m.waits))
		})
	}
}

// TestProjectionBugsAreFound wants the harness to notice transactions that are not whole.
func TestProjectionBugsAreFound(t *testing.T) {
	m := newModelled(t, "sqlite "+t.TempDir(), "loose")
	if problem := m.play(t, 10, 2_500); problem == "" {
		t.Fatal("10 rounds went by unnoticed")
	}
}

// row is what a table has of a record.
type row struct {
	tenant, sk, name string
	version          int64
	deleted          bool
}

// modelled is a store with a read model, and what that should be.
type modelled struct {
	*worldtest.World
	store  string
	bug    string
	random *rand.Rand

	latest map[[2]string]row   // by tenant and sort key, as the log has it
	read   map[[2]string]row   // as the read model should have it
	waits  map[[2]string]int64 // the command that waits

	inside, rows int
}

func newModelled(t *testing.T, store, bug string) *modelled {
	t.Helper()
	src, err := sourceOf(store)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &modelled{World: worldtest.New(t, src, worldtest.Options{}), store: store, bug: bug, random: rand.New(rand.NewPCG(seed, 0)),
		latest: map[[2]string]row{}, read: map[[2]string]row{}, waits: map[[2]string]int64{}}
}

// play kills as many processes as there are rounds, while as many commands as there are events come in, and says what is wrong in the end.
func (m *modelled) play(t *testing.T, rounds, events int) string {
	t.Helper()
	m.with(func(app *tenantry.App) {}) // makes the tables
	for round := range rounds {
		m.plant(events/rounds, events)
		if round%10 == 4 {
			m.with(func(app *tenantry.App) {
				if _, err := app.Upkeep().Ask(t.Context(), worldtest.System("kill", nil), worldtest.Code("t1"), "", "kill", false); err != nil && !errors.Is(err, fault.NotFound) { // it may not have come that far
					t.Fatal(err)
				}
			})
		}
		if err := m.kill(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	return m.inspect()
}

// plant puts commands into the log, some of which the projection refuses.
func (m *modelled) plant(n, of int) {
	m.Helper()
	for n > 0 {
		var b driver.Batch
		for ; n > 0 && len(b.Writes) < driver.MaxBatch; n-- {
			r := row{tenant: fmt.Sprint("t", m.random.IntN(5)), sk: fmt.Sprint("p", m.random.IntN(max(1, of/50)))}
			key := [2]string{r.tenant, r.sk}
			r.version, r.deleted, r.name = m.latest[key].version+1, m.random.IntN(6) == 0, fmt.Sprint("name ", m.random.Uint32())
			if m.random.IntN(200) == 0 {
				r.name = "poison"
			}
			m.latest[key] = r
			switch _, waits := m.waits[key]; {
			case !waits && r.name == "poison":
				m.waits[key] = r.version
			case !waits:
				m.read[key] = r
			}
			b.Writes = append(b.Writes, driver.Write{Collection: driver.Command, If: driver.Condition{Kind: driver.IfAbsent}, Record: &record.Record{
				PK: "PRODUCT#" + r.tenant, SK: r.sk, Name: r.name, Version: r.version, IsDeleted: r.deleted, TenantCode: r.tenant, Type: "PRODUCT",
				CreatedAt: record.At(time.Now()), UpdatedAt: record.At(time.Now())}})
		}
		if _, err := m.Engine.Commit(m.Context(), b); err != nil {
			m.Fatal(err)
		}
	}
}

// modelConfig is the application's, in the child as in the parent.
func modelConfig(src driver.Source) (tenantry.Config, error) {
	keyring, err := auth.NewKeyring(auth.KeyringOptions{})
	if err != nil {
		return tenantry.Config{}, err
	}
	products := readmodel.Declare[readmodel.Plain]("product", readmodel.Options{DuplicateCodes: true})
	model, err := readmodel.New([]readmodel.Declared{products}, readmodel.Project("product", product,
		func(ctx context.Context, tx *readmodel.Tx, cmd *record.Record, _ map[string]any) error {
			if cmd.Name == "poison" {
				return errors.New("it is poison")
			}
			return products.Put(ctx, tx, cmd, readmodel.Plain{})
		}, products))
	return tenantry.Config{Store: src, Keyring: keyring, Model: model, Log: slog.New(slog.DiscardHandler), HandlerTerm: time.Second}, err
}

// with opens the App of a process that is not killed, and does not start it.
func (m *modelled) with(use func(*tenantry.App)) {
	m.Helper()
	src, err := sourceOf(m.store)
	if err != nil {
		m.Fatal(err)
	}
	cfg, err := modelConfig(src)
	if err != nil {
		m.Fatal(err)
	}
	app, err := tenantry.Open(m.Context(), cfg)
	if err != nil {
		m.Fatal(err)
	}
	defer func() {
		if err := app.Close(); err != nil {
			m.Error(err)
		}
	}()
	use(app)
}

// kill starts a process and has it die: inside a transaction, after one, or at any moment of its first second and a half.
func (m *modelled) kill() error {
	cmd := exec.CommandContext(m.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childModel+"="+m.store, childBug+"="+m.bug, childSeed+"="+fmt.Sprint(m.random.Uint64()))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	wait := 20 * time.Second // for it to die by itself
	if m.random.IntN(3) == 0 {
		wait = time.Duration(m.random.Int64N(int64(1500 * time.Millisecond)))
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-time.After(wait):
		_ = cmd.Process.Kill() // it may just have died
		err = <-ended
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("the child ended by itself: %w", err)
	}
	if strings.Contains(out.String(), "inside") {
		m.inside++
	}
	return nil
}

// keepModel keeps a read model until it dies.
func keepModel(store, seed, bug string) error {
	number, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(number, 1))
	src, err := sourceOf(store)
	if err != nil {
		return err
	}
	cfg, err := modelConfig(worldtest.Wrapped(src, func(e driver.Engine) driver.Engine {
		return &mortal{Engine: e, Relational: e.(driver.Relational), loose: bug == "loose", left: 1 + random.Int64N(150)}
	}))
	if err != nil {
		return err
	}
	app, err := tenantry.Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	if err := app.Start(context.Background()); err != nil {
		return err
	}
	select {}
}

// mortal is an engine whose process dies at a statement of a read model, or right after the transaction of one.
type mortal struct {
	driver.Engine
	driver.Relational
	loose bool // each statement is a transaction of its own

	mu   sync.Mutex
	left int64 // statements that it lives for
}

func (m *mortal) Write(ctx context.Context, f func(driver.Tx) error) error {
	if m.loose {
		return f(&mortalTx{of: m})
	}
	err := m.Relational.Write(ctx, func(tx driver.Tx) error { return f(&mortalTx{Tx: tx, of: m}) })
	m.step("after a transaction")
	return err
}

// step counts a statement, and dies at the last.
func (m *mortal) step(where string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left--; m.left == 0 {
		fmt.Println(where)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
		select {}
	}
}

type mortalTx struct {
	driver.Tx // nil for a loose one
	of        *mortal
}

func (t *mortalTx) As(ctx context.Context, tenant string) error {
	if t.of.loose {
		return nil
	}
	return t.Tx.As(ctx, tenant)
}

func (t *mortalTx) Exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	t.of.step("inside")
	if !t.of.loose {
		return t.Tx.Exec(ctx, query, args...)
	}
	err = t.of.Relational.Write(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		n, err = tx.Exec(ctx, query, args...)
		return err
	})
	return n, err
}

func (t *mortalTx) Send(ctx context.Context, query string, args ...any) error {
	if t.of.loose {
		_, err := t.Exec(ctx, query, args...)
		return err
	}
	t.of.step("inside")
	return t.Tx.Send(ctx, query, args...)
}

func (t *mortalTx) Settle(ctx context.Context) error {
	if t.of.loose {
		return nil
	}
	return t.Tx.Settle(ctx)
}

func (t *mortalTx) Query(ctx context.Context, each func(driver.Row) error, query string, args ...any) error {
	if !t.of.loose {
		return t.Tx.Query(ctx, each, query, args...)
	}
	return t.of.Relational.Read(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		return tx.Query(ctx, each, query, args...)
	})
}

// inspect lets the read model come to its end, and compares it with what it should be and with what a rebuild makes. It says what is wrong.
func (m *modelled) inspect() (problem string) {
	m.Helper()
	ctx, sys := m.Context(), worldtest.System("inspect", nil)
	m.with(func(app *tenantry.App) {
		if err := app.Start(ctx); err != nil {
			m.Fatal(err)
		}
		m.settle(app)
		if _, err := app.Upkeep().Ask(ctx, sys, tenant.Code{}, "", "inspect", true); err != nil {
			m.Fatal(err)
		}
		for _, b := range m.settle(app).Rebuilds {
			if b.Audit && b.Different > 0 {
				problem += fmt.Sprintf("%d rows of %s of %s are not what a rebuild makes; ", b.Different, b.Projection, b.TenantCode)
			}
		}
		parked, err := app.Upkeep().Parked(ctx, sys)
		if err != nil {
			m.Fatal(err)
		}
		waits := map[[2]string]int64{}
		for _, p := range parked {
			waits[[2]string{p.TenantCode, p.SK}] = p.Version
		}
		if diff := cmp.Diff(m.waits, waits); diff != "" {
			problem += "what is parked is not the model's: " + diff
		}
		problem += m.compare()
	})
	return problem
}

// settle waits until the read model is at the feed's end and no rebuild is under way.
func (m *modelled) settle(app *tenantry.App) upkeep.Status {
	m.Helper()
	deadline := time.After(5 * time.Minute)
	for {
		status, err := app.Upkeep().Status(m.Context(), worldtest.System("look", nil))
		if err != nil {
			m.Fatal(err)
		}
		if status.Position == status.End && !slices.ContainsFunc(status.Rebuilds, func(b upkeep.Rebuild) bool { return b.State != "done" }) {
			return status
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			m.Fatalf("it does not come to an end: %+v", status)
		}
	}
}

// compare says what of the rows and of the counters is not the model's, and what counter is not as many as there are.
func (m *modelled) compare() (problem string) {
	m.Helper()
	read, live, created := map[[2]string]row{}, map[string]int64{}, map[string]int64{}
	m.query(func(r driver.Row) error {
		var each row
		err := r.Scan(&each.tenant, &each.sk, &each.name, &each.version, &each.deleted)
		read[[2]string{each.tenant, each.sk}] = each
		return err
	}, "SELECT tenant_code, sk, name, version, is_deleted FROM product")
	m.rows = len(read)
	if !maps.Equal(m.read, read) {
		problem += fmt.Sprintf("%d rows, not the %d of the model, or others; ", len(read), len(m.read))
	}
	for _, r := range m.latest {
		if created[r.tenant]++; !r.deleted {
			live[r.tenant]++
		}
	}
	for what, want := range map[string]map[string]int64{
		"live FROM upkeep_counter WHERE type = 'PRODUCT'":                                              live,
		"count(*) FROM upkeep_record WHERE NOT deleted AND pk LIKE 'PRODUCT#%' GROUP BY tenant_code":   live,
		"CAST(sum(records) AS BIGINT) FROM upkeep_created WHERE type = 'PRODUCT' GROUP BY tenant_code": created,
		"count(*) FROM upkeep_record WHERE pk LIKE 'PRODUCT#%' GROUP BY tenant_code":                   created,
	} {
		got := map[string]int64{}
		m.query(func(r driver.Row) error {
			var code string
			var n int64
			err := r.Scan(&code, &n)
			got[code] = n
			return err
		}, "SELECT tenant_code, "+what)
		if !maps.Equal(want, got) {
			problem += fmt.Sprintf("%s: %v, not the model's %v; ", what, got, want)
		}
	}
	return problem
}

// query calls each for the rows of a query of the read model.
func (m *modelled) query(each func(driver.Row) error, text string) {
	m.Helper()
	err := m.Engine.(driver.Relational).Read(m.Context(), func(tx driver.Tx) error {
		if err := tx.As(m.Context(), driver.All); err != nil {
			return err
		}
		return tx.Query(m.Context(), each, text)
	})
	if err != nil {
		m.Fatal(err)
	}
}
