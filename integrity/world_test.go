package integrity_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenantrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an App, and the engine beneath it, through which a test plants what no service writes.
type world struct {
	*tenantrytest.App
	t      *testing.T
	src    driver.Source
	engine driver.Engine
}

var (
	product = record.MustEntityType("PRODUCT") // its codes are unique
	note    = record.MustEntityType("NOTE")
)

// own is a handler that wants no command of another tenant, and fails for records that are named so.
type own struct{ t *testing.T }

func (h own) Up(_ context.Context, sc guard.Scope, cmd *record.Record) error {
	if _, rest, _ := strings.Cut(cmd.PK, "#"); rest != sc.Tenant().String() && !strings.HasPrefix(rest, sc.Tenant().String()+"#") {
		h.t.Errorf("a handler for %s got the command %s", sc.Tenant(), cmd.ID())
	}
	if cmd.SK == "fails" {
		return errors.New("as its name says")
	}
	return nil
}

func (h own) Down(context.Context, guard.Scope, *record.Record) error { return nil }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, src: memory.New()}
	w.App = tenantrytest.New(t, tenantry.Config{
		Store: worldtest.Wrapped(w.src, func(e driver.Engine) driver.Engine {
			w.engine = e
			return e
		}),
		Entities: []entity.Type{{Name: product, UniqueCode: true}},
		Handlers: []projection.Registration{{Name: "own", Handler: own{t}}},
		Jobs:     []jobs.Kind{fails},
		Log:      slog.New(slog.DiscardHandler),
	})
	return w
}

// populate writes records of every shape that the services write.
func (w *world) populate() {
	w.t.Helper()
	for _, code := range []string{"acme", "acme2", "bravo", "common"} {
		sc := w.Scope(code)
		for _, sk := range []string{"p1", "p2", "p3"} {
			w.publish(sc, product, sk, 4)
			w.publish(sc, note, sk, 1)
		}
		w.publish(sc, note, "gone", 3)
		w.delete(sc, note, "gone")
		w.publish(sc, note, "fails", 2)
		w.delete(sc, product, "p2")
		w.publish(sc, product, "p2", 1) // begins a new life
		w.publish(sc, note, "x", 2, "2026-11")
		w.publish(sc, product, "p1x", 2, "2026-11", "a")
		key := w.key(sc, note, "once")
		for range 2 {
			w.must(w.Commands().PublishSync(w.t.Context(), sc, command.Input{Key: key}, command.WithReceipt(
				command.NewReceipt(sc.Tenant(), sc.Born(), sc.Actor(), "test", "key", "", nil))))
		}
	}
	w.members()
	w.older()
}

// members makes users members of tenants, with defaults, admins and former members.
func (w *world) members() {
	w.t.Helper()
	add := func(code, user, role string, isDefault bool) {
		w.t.Helper()
		if _, _, err := w.Members().Add(w.t.Context(), w.Scope(code), members.Add{UserCode: user, Role: role, IsDefault: isDefault}); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, code := range []string{"acme", "acme2"} {
		add(code, "ann", "admin", code == "acme2")
		add(code, "joann", "admin", false)
		add(code, "former", "user", true)
		if _, _, err := w.Members().Remove(w.t.Context(), w.Scope(code), "former"); err != nil {
			w.t.Fatal(err)
		}
	}
	add("bravo", "x#ann", "user", true)
}

// older writes what older services left: records under X#COMMON, and of tenants that no Scope can name.
func (w *world) older() {
	w.t.Helper()
	row := func(pk, tenantCode string) *record.Record {
		return &record.Record{PK: pk, SK: "old", Code: "old", Type: "NOTE", TenantCode: tenantCode, Version: 1, Status: record.StatusFinished, UpdatedAt: seconds(w.t)}
	}
	common, mixed := row("NOTE#COMMON", "COMMON"), row("NOTE#MixedCase", "MixedCase")
	w.put(driver.Command, common)
	w.put(driver.Data, common)
	w.put(driver.Command, mixed)
	w.put(driver.Data, mixed)
	w.put(driver.Data, row("PLAIN", "plain"))
	w.publish(w.Scope("common"), note, "old", 1) // changed where it stands
}

func seconds(t *testing.T) record.Time {
	at, err := record.ParseTime("2026-01-15T09:00:07+00:00")
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func (w *world) key(sc guard.Scope, t record.EntityType, sk string, segments ...string) record.Key {
	w.t.Helper()
	partition, err := record.NewPartition(sc, t, segments...)
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := partition.Key(sk)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *world) must(res command.Result, err error) command.Result {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// publish publishes n versions of a record, each with another content.
func (w *world) publish(sc guard.Scope, t record.EntityType, sk string, n int, segments ...string) {
	w.t.Helper()
	for i := range n {
		w.Clock.Advance(1500 * 1e6)
		w.must(w.Commands().PublishSync(w.t.Context(), sc, command.Input{Key: w.key(sc, t, sk, segments...), Version: record.VersionLatest,
			Name: fmt.Sprint("name ", i), Attributes: record.Attributes(fmt.Sprintf(`{"n":%d,"text":"é"}`, i))}))
	}
}

func (w *world) delete(sc guard.Scope, t record.EntityType, sk string) {
	w.t.Helper()
	deleted := true
	w.must(w.Commands().PublishPartialUpdateSync(w.t.Context(), sc, command.Partial{Key: w.key(sc, t, sk), Version: record.VersionLatest, IsDeleted: &deleted}))
}

// get returns a row as it is stored.
func (w *world) get(c driver.Collection, pk, sk string, version int64) *record.Record {
	w.t.Helper()
	rec, err := w.engine.Get(w.t.Context(), driver.Ref{Collection: c, PK: pk, SK: sk, Version: version})
	if err != nil || rec == nil {
		w.t.Fatalf("there is no row %s %s at %d: %v", pk, sk, version, err)
	}
	return rec
}

func (w *world) commit(c driver.Collection, rec *record.Record, remove bool) {
	w.t.Helper()
	if _, err := w.engine.Commit(w.t.Context(), driver.Batch{Writes: []driver.Write{{Collection: c, Record: rec, Delete: remove}}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(c driver.Collection, rec *record.Record)  { w.t.Helper(); w.commit(c, rec, false) }
func (w *world) drop(c driver.Collection, rec *record.Record) { w.t.Helper(); w.commit(c, rec, true) }

// verify returns the report of the world's store.
func (w *world) verify() integrity.Report {
	w.t.Helper()
	report, err := integrity.Verify(w.t.Context(), w.Store(), w.System("verify a test"), integrity.Options{Entities: w.Entities()})
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// expect fails the test unless report lists exactly the problems wanted, each as "kind ID".
func expect(t *testing.T, report integrity.Report, want ...string) {
	t.Helper()
	got := []string{}
	for _, p := range report.Problems {
		got = append(got, p.Kind.String()+" "+p.ID)
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		t.Errorf("problems (-want +got):\n%s\n%s", diff, report)
	}
	if int(report.ProblemCount) != len(report.Problems) || report.Clean() != (len(want) == 0) {
		t.Errorf("the report counts %d problems and lists %d; clean is %v", report.ProblemCount, len(report.Problems), report.Clean())
	}
}
