package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
	"github.com/tenantry/tenantry/transfer"
)

var (
	product = record.MustEntityType("PRODUCT") // its codes are unique
	note    = record.MustEntityType("NOTE")
)

// handler counts the commands that it ran for, by ID and version.
type handler struct {
	mu  sync.Mutex
	ran map[string]int
}

func (h *handler) Up(_ context.Context, _ guard.Scope, cmd *record.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ran == nil {
		h.ran = map[string]int{}
	}
	h.ran[fmt.Sprintf("%s@%d", cmd.ID(), cmd.Version)]++
	return nil
}

func (h *handler) Down(context.Context, guard.Scope, *record.Record) error { return nil }

func (h *handler) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ran)
}

// app is an App over a store, as a process opens it.
type app struct {
	*tenantry.App
	testing.TB
	handler *handler
}

func open(t testing.TB, src driver.Source) *app {
	t.Helper()
	a := &app{TB: t, handler: &handler{}}
	keys, err := auth.NewKeyring(auth.KeyringOptions{}) // nobody uses tokens
	if err != nil {
		t.Fatal(err)
	}
	a.App, err = tenantry.Open(context.Background(), tenantry.Config{Store: src, Keyring: keys, Entities: []entity.Type{{Name: product, UniqueCode: true}},
		Handlers: []projection.Registration{{Name: "count", Handler: a.handler}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// started is open, with handlers running.
func started(t testing.TB, src driver.Source) *app {
	t.Helper()
	a := open(t, src)
	if err := a.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *app) system() guard.System { return worldtest.System("test", a.Audit()) }

func (a *app) side() transfer.Side { return transfer.Side{Store: a.Store(), System: a.system()} }

func (a *app) tenant(code string) {
	a.Helper()
	if _, err := a.Tenants().CreateTenant(a.Context(), a.system(), tenants.Create{Code: worldtest.Code(code), Name: code}); err != nil {
		a.Fatal(err)
	}
}

func (a *app) try(code string, typ record.EntityType, sk, name string) error {
	sc := worldtest.Scope(code)
	key, err := record.NewKey(sc, typ, sk)
	if err != nil {
		return err
	}
	_, err = a.Commands().PublishSync(context.Background(), sc, command.Input{Key: key, Version: record.VersionLatest, Code: sk, Name: name,
		Attributes: record.Attributes(`{"n":1.50}`)}, command.WithReceipt(command.NewReceipt(sc.Tenant(), 0, sc.Actor(), "test", sk+name, "", nil)))
	return err
}

func (a *app) put(code string, typ record.EntityType, sk, name string) {
	a.Helper()
	if err := a.try(code, typ, sk, name); err != nil {
		a.Fatal(err)
	}
}

// fill makes two tenants with members, records of several versions, deleted ones and one of X#COMMON.
func (a *app) fill() {
	a.Helper()
	for _, code := range []string{"acme", "acme2"} {
		a.tenant(code)
		var writing sync.WaitGroup // at once: an engine whose feed comes later lets each wait for its handlers
		for n := range 40 {
			writing.Go(func() {
				err := a.try(code, note, fmt.Sprint("n", n), strings.Repeat("long ", n))
				for version := range 1 + n%4 {
					err = errors.Join(err, a.try(code, product, fmt.Sprint("p", n), fmt.Sprint("name ", version)))
				}
				if err != nil {
					a.Error(err)
				}
			})
		}
		writing.Wait()
		sc := worldtest.Scope(code)
		for _, user := range []string{"ann", "bob#admin"} {
			if _, _, err := a.Members().Add(a.Context(), sc, members.Add{UserCode: user + code, Role: "admin"}); err != nil {
				a.Fatal(err)
			}
		}
	}
	a.put("common", note, "shared", "everybody's")
}

func (a *app) verify() {
	a.Helper()
	report, err := integrity.Verify(a.Context(), a.Store(), worldtest.System("verify", nil), integrity.Options{Entities: a.Entities()})
	if err != nil {
		a.Fatal(err)
	}
	if !report.Clean() {
		a.Errorf("the store is not sound:\n%s", report)
	}
}

// rows returns every row of the collections of records by key, and what it says.
func (a *app) rows(collections ...driver.Collection) map[driver.Ref]string {
	a.Helper()
	across, err := a.Store().Across(a.Context(), worldtest.System("look", nil))
	if err != nil {
		a.Fatal(err)
	}
	rows := map[driver.Ref]string{}
	for _, c := range collections {
		for after := (driver.Ref{}); ; {
			page, err := across.Scan(a.Context(), c, after, 100)
			if err != nil {
				a.Fatal(err)
			}
			for _, r := range page {
				after = driver.RefOf(c, r)
				rows[after] = fmt.Sprint(r.Version, string(record.AppendDoc(nil, r)))
			}
			if len(page) < 100 {
				break
			}
		}
	}
	return rows
}

var records = []driver.Collection{driver.Data, driver.Command, driver.History}

func copyAll(t testing.TB, from, to *app, opts transfer.Options) transfer.Result {
	t.Helper()
	result, err := transfer.Copy(t.Context(), from.side(), to.side(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func refused(t testing.TB, what string, err error, want fault.Code) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// directions are the pairs of stores that copies are tried between.
func directions(t *testing.T, test func(t *testing.T, from, to driver.Source)) {
	stores := map[string]func(testing.TB) driver.Source{
		"memory":   func(testing.TB) driver.Source { return memory.New() },
		"sqlite":   func(t testing.TB) driver.Source { return sqlite.At(t.TempDir()) },
		"postgres": func(t testing.TB) driver.Source { return postgres.At(postgrestest.New(t), postgres.Options{}) },
		"dynamodb": func(t testing.TB) driver.Source { return tables(t) },
	}
	for _, pair := range [][2]string{{"memory", "sqlite"}, {"sqlite", "memory"}, {"sqlite", "sqlite"}, {"sqlite", "postgres"}, {"postgres", "sqlite"},
		{"sqlite", "dynamodb"}, {"dynamodb", "sqlite"}, {"postgres", "dynamodb"}} {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) { test(t, stores[pair[0]](t), stores[pair[1]](t)) })
	}
}

// tables makes DynamoDB tables for the entity types of these tests.
func tables(t testing.TB, shards ...dynamodb.Shards) driver.Source {
	t.Helper()
	srv := dynamodbtest.New(t)
	types := []string{product.String(), note.String()}
	for _, typ := range tenantry.Declarations() {
		types = append(types, typ.Name.String())
	}
	cfg := dynamodb.Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint, Region: srv.Region, Credentials: srv.Credentials, Blobs: dynamodb.Directory(t.TempDir()),
		Module: func(string) string { return "all" }}
	if _, err := dynamodb.CreateTables(t.Context(), cfg, types...); err != nil {
		t.Fatal(err)
	}
	if err := dynamodb.Spread(t.Context(), cfg, shards...); err != nil {
		t.Fatal(err)
	}
	return dynamodb.At(cfg)
}

func TestAWholeStore(t *testing.T) {
	directions(t, func(t *testing.T, src, dst driver.Source) {
		from, to := started(t, src), open(t, dst)
		from.fill()
		result := copyAll(t, from, to, transfer.Options{})
		if diff := cmp.Diff(from.rows(records...), to.rows(records...)); diff != "" {
			t.Errorf("the stores differ (-source +target):\n%s", diff)
		}
		if n := len(result.Tenants); n != 3 || result.Tenants[0].TenantCode != "acme" || result.Tenants[0].Records == 0 || len(result.Tenants[0].Digest) != 64 {
			t.Errorf("result %+v", result)
		}
		to.verify()

		// No handler runs for what was copied; each runs for what comes.
		again := started(t, dst)
		again.put("acme", note, "new", "after the copy")
		if again.handler.count() != 1 {
			t.Errorf("after the copy, handlers ran for %v", again.handler.ran)
		}
		again.put("acme", product, "p39", "name 3") // its receipt travelled: nothing happens twice
		if n := again.handler.count(); n != 1 {
			t.Errorf("a request that was answered before the copy was executed again: %v", again.handler.ran)
		}
		// The source stays paused until it is told otherwise.
		refused(t, "a write in the source", from.try("acme", note, "late", "x"), fault.Unavailable)
		_, err := transfer.Copy(t.Context(), from.side(), to.side(), transfer.Options{})
		refused(t, "a copy that is done", err, fault.AlreadyExists)
		if lifted, err := transfer.Resume(t.Context(), from.side(), tenant.Code{}); err != nil || !lifted {
			t.Errorf("resume: %v, %v", lifted, err)
		}
		from.put("acme", note, "late", "x")
	})
}

// TestWritersMeanwhile has writers of several processes write all the time: every write that was acknowledged is in the target.
func TestWritersMeanwhile(t *testing.T) {
	dir := t.TempDir()
	from, other, to := started(t, sqlite.At(dir)), open(t, sqlite.At(dir)), open(t, memory.New()) // one of them runs the handlers
	from.fill()
	var writing sync.WaitGroup
	acknowledged := make([][]string, 4)
	stopped := make([]error, 4)
	for n, process := range []*app{from, other, from, other} {
		writing.Go(func() {
			for i := 0; ; i++ {
				code, sk := []string{"acme", "acme2"}[i%2], fmt.Sprint("w", n, "-", i%50)
				if stopped[n] = process.try(code, note, sk, fmt.Sprint(i)); stopped[n] != nil {
					return
				}
				acknowledged[n] = append(acknowledged[n], fmt.Sprintf("%s %s %d", code, sk, i))
			}
		})
	}
	result := copyAll(t, from, to, transfer.Options{})
	writing.Wait()
	total := 0
	for n, told := range acknowledged {
		refused(t, "the write that ended a writer", stopped[n], fault.Unavailable)
		total += len(told)
	}
	if diff := cmp.Diff(from.rows(records...), to.rows(records...)); diff != "" {
		t.Errorf("the stores differ (-source +target):\n%s", diff)
	}
	to.verify()
	t.Logf("measured: %d writes acknowledged during the copy, %d commands copied, paused for %d ms", total, result.Commands, result.PauseMillis)
}

func TestOneTenant(t *testing.T) {
	directions(t, func(t *testing.T, src, dst driver.Source) {
		from, to := started(t, src), open(t, dst)
		from.fill()
		to.tenant("bravo")
		to.put("bravo", product, "p1", "theirs")
		before := to.rows(driver.Data)
		result := copyAll(t, from, to, transfer.Options{Tenant: worldtest.Code("acme")})
		if len(result.Tenants) != 1 || result.Tenants[0].TenantCode != "acme" {
			t.Errorf("result %+v", result)
		}
		after, source := to.rows(records...), from.rows(records...)
		for ref, text := range before {
			if after[ref] != text {
				t.Errorf("%v of another tenant changed", ref)
			}
		}
		for ref := range after {
			if strings.Contains(ref.PK+"#"+ref.SK, "acme2") {
				t.Errorf("%v is of another tenant", ref)
			}
		}
		for ref, text := range source {
			if strings.HasPrefix(ref.PK, "PRODUCT#acme") && !strings.HasPrefix(ref.PK, "PRODUCT#acme2") && after[ref] != text || ref.PK == "USER_TENANT#common" && strings.HasPrefix(ref.SK, "acme#") && after[ref] != text {
				t.Errorf("%v did not arrive", ref)
			}
		}
		to.verify()
		// The rest of the source goes on, the tenant does not.
		from.put("acme2", note, "late", "x")
		refused(t, "a write of the tenant that moved", from.try("acme", note, "late", "x"), fault.Unavailable)
		_, _, err := from.Members().Add(t.Context(), worldtest.Scope("acme"), members.Add{UserCode: "late", Role: "admin"})
		refused(t, "a member of the tenant that moved", err, fault.Unavailable)
		to.put("acme", note, "late", "x")
	})
}

func TestRefusals(t *testing.T) {
	src := memory.New()
	from := started(t, src)
	from.fill()
	used := open(t, memory.New())
	used.tenant("acme")
	acme := transfer.Options{Tenant: worldtest.Code("acme")}
	for _, c := range []struct {
		name string
		to   *app
		opts transfer.Options
		want fault.Code
	}{
		{"a target that is not empty", used, transfer.Options{}, fault.AlreadyExists},
		{"a tenant that is there", used, acme, fault.AlreadyExists},
		{"the source itself", open(t, src), transfer.Options{}, fault.InvalidRequest},
		{"a tenant that the source doesn't have", open(t, memory.New()), transfer.Options{Tenant: worldtest.Code("nobody")}, fault.NotFound},
		{"common", open(t, memory.New()), transfer.Options{Tenant: worldtest.Code("common")}, fault.InvalidRequest},
	} {
		before := c.to.rows(records...)
		_, err := transfer.Copy(t.Context(), from.side(), c.to.side(), c.opts)
		refused(t, c.name, err, c.want)
		from.put("acme", note, "goes-on", c.name) // nothing stays paused
		if c.want == fault.AlreadyExists && c.opts.Tenant.IsZero() && cmp.Diff(before, c.to.rows(records...)) != "" {
			t.Errorf("%s changed", c.name)
		}
	}
	_, err := transfer.Copy(t.Context(), transfer.Side{Store: from.Store()}, used.side(), transfer.Options{})
	refused(t, "no right", err, fault.RoleRequired)
	_, err = transfer.Resume(t.Context(), transfer.Side{Store: from.Store()}, tenant.Code{})
	refused(t, "no right to resume", err, fault.RoleRequired)
}

func TestAuditEntries(t *testing.T) {
	from, to := started(t, memory.New()), open(t, memory.New())
	from.fill()
	sys := worldtest.System("move acme away", from.Audit())
	_, err := transfer.Copy(t.Context(), transfer.Side{Store: from.Store(), System: sys}, transfer.Side{Store: to.Store(), System: worldtest.System("receive acme", to.Audit())},
		transfer.Options{Tenant: worldtest.Code("acme")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		app         *app
		log, reason string
	}{{from, "common", "move acme away"}, {from, "acme", "move acme away"}, {to, "acme", "move acme away"}, {to, "common", "receive acme"}} {
		page, err := c.app.Audit().List(t.Context(), worldtest.Scope(c.log), 100, "")
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, e := range page.Items {
			found = found || e.Reason == c.reason
		}
		if !found {
			t.Errorf("the log of %s has no entry %q", c.log, c.reason)
		}
	}
}

// TestAPauseEndsByItself has a copier die in the pause.
func TestAPauseThatEndedIsNoCopy(t *testing.T) {
	from, to := started(t, memory.New()), open(t, memory.New())
	from.fill()
	lifted := false
	_, err := transfer.Copy(t.Context(), from.side(), to.side(), transfer.Options{Progress: func(p transfer.Progress) {
		if p.Phase == transfer.Paused && !lifted { // as its term does
			lifted = true
			if _, err := transfer.Resume(context.Background(), from.side(), tenant.Code{}); err != nil {
				t.Error(err)
			}
			from.put("acme", note, "late", "x")
		}
	}})
	refused(t, "a copy whose pause ended", err, fault.Unavailable)
	copyAll(t, from, to, transfer.Options{})
	if diff := cmp.Diff(from.rows(records...), to.rows(records...)); diff != "" {
		t.Errorf("the stores differ (-source +target):\n%s", diff)
	}
}

// TestRowsPastTheFeed has rows that the feed doesn't tell of, as other frameworks and repairs leave them.
func TestRowsPastTheFeed(t *testing.T) {
	src := memory.New()
	from, to := started(t, src), open(t, memory.New())
	from.fill()
	w := worldtest.New(t, src, worldtest.Options{})
	past := time.Now().Add(-time.Hour).Unix()
	w.Plant(driver.Data, &record.Record{PK: "NOTE#COMMON", SK: "older", Version: 3, TenantCode: "COMMON"},
		&record.Record{PK: "NOTE#acme", SK: "expired", Version: 1, TTL: past, TenantCode: "acme"}, &record.Record{PK: "no tenant", SK: "x", Version: 1})
	w.Plant(driver.History, &record.Record{PK: "NOTE#COMMON", SK: "older", Version: 1}, &record.Record{PK: "NOTE#COMMON", SK: "older", Version: 2})
	w.Plant(driver.System, &record.Record{PK: "RECEIPT#acme", SK: "gone", Version: 1, TTL: past}, &record.Record{PK: "LEASE#common", SK: "x", Version: 1})
	copyAll(t, from, to, transfer.Options{})
	if diff := cmp.Diff(from.rows(records...), to.rows(records...)); diff != "" {
		t.Errorf("the stores differ (-source +target):\n%s", diff)
	}
	for ref := range to.rows(driver.System) {
		if ref.SK == "gone" || strings.HasPrefix(ref.PK, "LEASE") {
			t.Errorf("%v was copied", ref)
		}
	}
}

func TestAWordThatNobodyKnows(t *testing.T) {
	src := memory.New()
	from, to := started(t, src), open(t, memory.New())
	from.fill()
	worldtest.New(t, src, worldtest.Options{}).Plant(driver.System, &record.Record{PK: "NEWER#common", SK: "x", Version: 1})
	_, err := transfer.Copy(t.Context(), from.side(), to.side(), transfer.Options{})
	if refused(t, "a word without a rule", err, fault.InvalidRequest); err != nil && !strings.Contains(err.Error(), "NEWER") {
		t.Errorf("the error does not name the word: %v", err)
	}
	from.put("acme", note, "goes-on", "x")
}
