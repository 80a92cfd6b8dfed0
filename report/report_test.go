package report_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/report"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/tenants"
	"github.com/tenantry/tenantry/upkeep"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// world is an App with the guide's read model.
type world struct {
	*tenantrytest.App
	testing.TB
}

func newWorld(t testing.TB, src driver.Source) *world {
	t.Helper()
	model, err := readmodel.New(readmodel.Guide())
	if err != nil {
		t.Fatal(err)
	}
	return &world{tenantrytest.New(t, tenantry.Config{Store: src, Model: model, Now: time.Now}), t}
}

// eachEngine runs a test on a new store of each engine that holds a read model.
func eachEngine(t *testing.T, test func(t *testing.T, src driver.Source)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqlite.At(t.TempDir())) })
	t.Run("postgres", func(t *testing.T) { test(t, postgres.At(postgrestest.New(t), postgres.Options{})) })
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// put writes a record, or deletes it.
func (w *world) put(sc guard.Scope, entityType, sk, name string, deleted bool) {
	w.Helper()
	key, err := record.NewKey(sc, record.MustEntityType(entityType), sk)
	w.must(err)
	_, err = w.Commands().PublishAsync(w.Context(), sc, command.Input{Key: key, Version: record.VersionLatest, Name: name, IsDeleted: deleted})
	w.must(err)
}

// later waits for the next millisecond, so that the time of what was written before is another than that of what follows.
func later() {
	for begun := time.Now().UnixMilli(); time.Now().UnixMilli() == begun; {
	}
}

func (w *world) member(sc guard.Scope, user, role string) {
	w.Helper()
	_, _, err := w.Members().Add(w.Context(), sc, members.Add{UserCode: user, Role: role})
	w.must(err)
}

func (w *world) drop(code string) {
	w.Helper()
	_, err := w.Tenants().DeleteTenant(w.Context(), w.System("end"), tenants.Ref{Tenant: worldtest.Code(code)})
	w.must(err)
}

// system returns the report over all tenants of what was committed by now.
func (w *world) system(q report.Query) *report.System {
	w.Helper()
	w.must(w.CatchUp(w.Context()))
	r, err := w.Reports().System(w.Context(), w.App.System("report"), q)
	w.must(err)
	return r
}

func (w *world) tenant(sc guard.Scope) *report.Tenant {
	w.Helper()
	w.must(w.CatchUp(w.Context()))
	r, err := w.Reports().Tenant(w.Context(), sc)
	w.must(err)
	return r
}

// TestReports counts the records of tenants that have some, none, or are deleted, and of what all share.
func TestReports(t *testing.T) {
	eachEngine(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		alpha, bravo, gone, common := w.Scope("alpha"), w.Scope("bravo"), w.Scope("gone"), w.Scope("common")
		w.Tenant("charlie")
		for n := range 3 {
			w.put(alpha, "PRODUCT", fmt.Sprint("p", n), "Chair", false)
			w.put(gone, "PRODUCT", fmt.Sprint("p", n), "Chair", false)
			w.put(gone, "ORDER", fmt.Sprint("o", n), "Order", false)
		}
		w.put(alpha, "PRODUCT", "p0", "Chair", true)
		w.put(bravo, "PRODUCT", "p", "Bicycle", false)
		w.put(bravo, "PRODUCT", "p", "Bicycle, red", false)
		w.put(common, "PRODUCT", "p", "Of all", false)
		w.put(alpha, "ORDER", "o", "First", false)
		later()
		w.put(bravo, "ORDER", "o", "Second", false)
		w.put(bravo, "VISIT", "v", "Visit", false)
		w.put(alpha, "ORDER", "never", "Deleted", false)
		w.put(alpha, "ORDER", "never", "Deleted", true)
		w.member(alpha, "ann", "admin")
		w.member(alpha, "ben", "user")
		w.member(alpha, "cyd", "user")
		_, _, err := w.Members().Remove(t.Context(), alpha, "cyd")
		w.must(err)
		w.drop("gone")

		got := w.system(report.Query{Recent: true})
		counts := []report.Count{{TenantCode: "alpha", Count: 2}, {TenantCode: "bravo", Count: 1}, {TenantCode: "common", Count: 1}}
		today := time.Now().UTC().Format(time.DateOnly)
		if len(got.Growth) == 1 {
			today = got.Growth[0].Day // midnight may have passed
		}
		want := &report.System{TotalProducts: 4, ProductsByTenant: counts, RecentOrdersCount: 2, EntityType: "PRODUCT", Total: 4, ByTenant: counts, Top: counts,
			Growth: []report.Day{{Day: today, Created: 5}}, Totals: []report.Total{{EntityType: "ORDER", Count: 2}, {EntityType: "PRODUCT", Count: 4}, {EntityType: "VISIT", Count: 1}}}
		freshness, recent := got.Freshness, got.RecentOrders
		position, applied := got.Position, got.AppliedAt
		got.Freshness, got.RecentOrders, got.Position, got.AppliedAt = nil, nil, "", record.Time{}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(report.System{}), cmpopts.EquateComparable(record.Time{})); diff != "" {
			t.Errorf("over all: %s", diff)
		}
		var names []string
		for _, o := range recent {
			names = append(names, o.TenantCode+" "+o.ID+" "+o.Name)
		}
		if !slices.Equal(names, []string{"bravo ORDER#bravo#o Second", "alpha ORDER#alpha#o First"}) || recent[0].CreatedBy != "tester" || recent[0].CreatedAt.IsZero() || recent[0].Version != 1 {
			t.Errorf("recent orders %+v", recent)
		}
		var codes []string
		for _, f := range freshness {
			codes = append(codes, f.TenantCode)
			if f.Position == "" || driver.Position(f.Position).Compare(driver.Position(position)) > 0 || f.AppliedAt.IsZero() || f.LagMillis < 0 {
				t.Errorf("of a report at %s: %+v", position, f)
			}
		}
		if !slices.Equal(codes, []string{"alpha", "bravo", "charlie", "common"}) || applied.IsZero() {
			t.Errorf("fresh are %v, at %v", codes, applied)
		}
		visits := w.system(report.Query{EntityType: record.MustEntityType("VISIT"), Days: 1})
		if visits.TotalProducts != 4 || visits.Total != 1 || !slices.Equal(visits.ByTenant, []report.Count{{TenantCode: "bravo", Count: 1}}) || visits.RecentOrders != nil {
			t.Errorf("visits: %+v", visits)
		}
		if top := w.system(report.Query{Top: 1}).Top; !slices.Equal(top, counts[:1]) {
			t.Errorf("the first of the most are %v", top)
		}

		own := w.tenant(alpha)
		if own.TenantCode != "alpha" || own.Products != 2 || own.Orders != 1 || own.Users != 2 || own.Position == "" || own.AppliedAt.IsZero() || len(own.Totals) != 2 {
			t.Errorf("of alpha: %+v", own)
		}
		if none := w.tenant(w.Scope("charlie")); none.Products != 0 || none.Users != 0 || len(none.Totals) != 0 {
			t.Errorf("of charlie: %+v", none)
		}
		if _, err := w.Reports().Tenant(t.Context(), gone); !errors.Is(err, fault.NotFound) {
			t.Errorf("of a deleted tenant: %v", err)
		}
	})
}

// TestTotalsAreSums asks while records are made, deleted and tenants end: at no moment differs a total from the sum over the tenants,
// and in the end all is what was published.
func TestTotalsAreSums(t *testing.T) {
	eachEngine(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		random := rand.New(rand.NewPCG(7, 11))
		var scopes []guard.Scope
		live := map[string]map[string]bool{}
		for n := range 6 {
			code := fmt.Sprint("t", n)
			scopes, live[code] = append(scopes, w.Scope(code)), map[string]bool{}
		}
		stop := make(chan struct{})
		var asking sync.WaitGroup
		asking.Go(func() {
			for {
				r, err := w.Reports().System(t.Context(), w.App.System("report"), report.Query{})
				if err != nil {
					t.Error(err)
					return
				}
				sound(t, r)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		for n := range 400 {
			sc := scopes[random.IntN(len(scopes))]
			code, sk := sc.Tenant().String(), fmt.Sprint("p", random.IntN(20))
			if deleted := random.IntN(4) == 0; live[code][sk] || !deleted {
				w.put(sc, "PRODUCT", sk, fmt.Sprint("n", n), deleted)
				live[code][sk] = !deleted
			}
			if n == 300 {
				w.drop("t5")
				scopes = scopes[:5]
				delete(live, "t5")
			}
		}
		close(stop)
		asking.Wait()
		var want []report.Count
		for _, sc := range scopes {
			c := report.Count{TenantCode: sc.Tenant().String()}
			for _, lives := range live[c.TenantCode] {
				if lives {
					c.Count++
				}
			}
			want = append(want, c)
		}
		got := w.system(report.Query{})
		sound(t, got)
		if !slices.Equal(got.ProductsByTenant, want) {
			t.Errorf("counted %v; want %v", got.ProductsByTenant, want)
		}
	})
}

func sound(t *testing.T, r *report.System) {
	t.Helper()
	sum := int64(0)
	for _, c := range r.ProductsByTenant {
		sum += c.Count
	}
	i := slices.IndexFunc(r.Totals, func(n report.Total) bool { return n.EntityType == "PRODUCT" })
	if sum != r.TotalProducts || sum != r.Total || i >= 0 && r.Totals[i].Count != sum || i < 0 && sum != 0 {
		t.Errorf("the tenants sum up to %d, the totals are %d, %d and %v", sum, r.TotalProducts, r.Total, r.Totals)
	}
}

// TestWho checks who gets a report, and what that leaves.
func TestWho(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	alpha := w.Scope("alpha")
	w.put(alpha, "ORDER", "o", "Order", false)
	w.Tenant("bravo")
	w.must(w.CatchUp(t.Context()))
	if _, err := w.Reports().System(t.Context(), guard.System{}, report.Query{}); !errors.Is(err, fault.RoleRequired) {
		t.Errorf("the zero System: %v", err)
	}
	if _, err := w.Reports().Tenant(t.Context(), guard.Scope{}); !errors.Is(err, fault.TenantRequired) {
		t.Errorf("the zero Scope: %v", err)
	}
	if _, err := w.Reports().Tenant(t.Context(), worldtest.ReadingCommon()); !errors.Is(err, fault.TenantForbidden) {
		t.Errorf("a Scope that reads what is shared: %v", err)
	}
	for _, owned := range []string{"USER_TENANT", "AUDIT", "TENANT"} {
		if _, err := w.Reports().System(t.Context(), w.System("report"), report.Query{EntityType: record.MustEntityType(owned)}); !errors.Is(err, fault.NotFound) {
			t.Errorf("a report of %s: %v", owned, err)
		}
	}
	for _, recent := range []bool{false, true} {
		_, err := w.Reports().System(t.Context(), w.System("yearly figures"), report.Query{Recent: recent})
		w.must(err)
		for code, want := range map[string][]string{"common": {"alpha"}, "alpha": {"alpha"}, "bravo": nil} {
			page, err := w.Audit().List(t.Context(), w.Scope(code), 1, "")
			w.must(err)
			if named := len(page.Items) > 0 && page.Items[0].Reason == "yearly figures" && slices.Equal(page.Items[0].Tenants, want); named != (recent && want != nil) {
				t.Errorf("recent %v: the log of %s has %+v", recent, code, page.Items)
			}
		}
	}
}

// TestQuery asks for what is out of its bounds.
func TestQuery(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	for _, q := range []report.Query{{Top: -1}, {Top: report.MaxTop + 1}, {Days: -1}, {Days: report.MaxDays + 1}, {Top: math.MinInt}, {Days: math.MaxInt}} {
		if _, err := w.Reports().System(t.Context(), w.App.System("report"), q); !errors.Is(err, fault.ValidationFailed) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	w.system(report.Query{Top: report.MaxTop, Days: report.MaxDays})
}

// TestGrowthIsOfDaysInUTC asks where clocks went back an hour since: the days of a report are those of UTC nevertheless.
func TestGrowthIsOfDaysInUTC(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	model, err := readmodel.New(readmodel.Guide())
	if err != nil {
		t.Fatal(err)
	}
	var now atomic.Int64
	set := func(text string) {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		now.Store(at.Unix())
	}
	set("2026-10-30T12:00:00Z")
	w := &world{tenantrytest.New(t, tenantry.Config{Store: sqlite.At(t.TempDir()), Model: model, Now: func() time.Time { return time.Unix(now.Load(), 0).In(zone) }}), t}
	alpha := w.Scope("alpha")
	for n, at := range []string{"2026-10-31T23:45:00Z", "2026-11-01T00:15:00Z", "2026-11-02T00:30:00Z"} {
		set(at)
		w.put(alpha, "PRODUCT", fmt.Sprint(n), "Chair", false)
	}
	if got, want := w.system(report.Query{Days: 2}).Growth, []report.Day{{Day: "2026-11-01", Created: 1}, {Day: "2026-11-02", Created: 1}}; !slices.Equal(got, want) {
		t.Errorf("growth is %v; want %v", got, want)
	}
}

// TestLook checks that what reports read needs the right to, wherever it is asked.
func TestLook(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	none := func(*upkeep.Snapshot) error {
		t.Error("a snapshot without a right to it")
		return nil
	}
	if err := w.Upkeep().Look(t.Context(), guard.System{}, none); !errors.Is(err, fault.RoleRequired) {
		t.Errorf("the zero System: %v", err)
	}
	if err := w.Upkeep().LookIn(t.Context(), guard.Scope{}, none); !errors.Is(err, fault.TenantRequired) {
		t.Errorf("the zero Scope: %v", err)
	}
	if err := w.Upkeep().LookIn(t.Context(), worldtest.ReadingCommon(), none); !errors.Is(err, fault.TenantForbidden) {
		t.Errorf("a Scope that reads what is shared: %v", err)
	}
}

// held is a read model whose answer waits for the context, or for open.
type held struct {
	report.ReadModel
	entered chan struct{}
	open    chan struct{}
}

func (h held) LookIn(ctx context.Context, _ scope.Scope, _ func(*upkeep.Snapshot) error) error {
	h.entered <- struct{}{}
	select {
	case <-h.open:
		return nil
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), fault.Timeout, "test", "interrupted")
	}
}

func there(context.Context, tenant.Code) (guard.State, error) { return guard.State{Exists: true}, nil }

func entities(t *testing.T) *entity.Registry {
	r, err := entity.NewRegistry(false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAtOnce checks that a tenant's reports wait for each other, that few do, and that another's don't.
func TestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := held{entered: make(chan struct{}, 9), open: make(chan struct{})}
		s := report.New(report.Config{ReadModel: h, Entities: entities(t), State: there, AtOnce: 2, Waiting: 3})
		var asking sync.WaitGroup
		ask := func(code string) {
			asking.Go(func() {
				if _, err := s.Tenant(t.Context(), worldtest.Scope(code)); err != nil {
					t.Error(err)
				}
			})
		}
		for range 5 {
			ask("alpha")
		}
		synctest.Wait()
		_, err := s.Tenant(t.Context(), worldtest.Scope("alpha"))
		if e := fault.As(err); e == nil || e.Code != fault.RateLimited || e.RetryAfter == 0 {
			t.Errorf("the sixth report of alpha: %v", err)
		}
		if len(h.entered) != 2 {
			t.Errorf("%d reports of alpha are under way", len(h.entered))
		}
		ask("bravo")
		synctest.Wait()
		if len(h.entered) != 3 {
			t.Errorf("bravo waits for alpha")
		}
		close(h.open)
		asking.Wait()
		ask("alpha") // there is room again
		asking.Wait()
	})
}

// TestPatience checks that a read model that does not answer is given up.
func TestPatience(t *testing.T) {
	h := held{entered: make(chan struct{}, 1), open: nil}
	s := report.New(report.Config{ReadModel: h, Entities: entities(t), State: there, Patience: time.Millisecond})
	if _, err := s.Tenant(t.Context(), worldtest.Scope("alpha")); !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.As(err).Msg, "1ms") {
		t.Errorf("a read model that does not answer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.entered = make(chan struct{}, 1)
	if _, err := report.New(report.Config{ReadModel: h, Entities: entities(t), State: there}).Tenant(ctx, worldtest.Scope("alpha")); errors.Is(err, fault.Unavailable) {
		t.Errorf("a caller that is gone: %v", err)
	}
}

// TestNoReadModel checks that it is said what to configure.
func TestNoReadModel(t *testing.T) {
	app := tenantrytest.New(t, tenantry.Config{})
	_, overAll := app.Reports().System(t.Context(), app.System("report"), report.Query{})
	_, own := app.Reports().Tenant(t.Context(), app.Scope("alpha"))
	for _, err := range []error{overAll, own} {
		if !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.As(err).Msg, "--read-model") {
			t.Errorf("%v", err)
		}
	}
}

// TestManyOrders checks that no more than the newest hundred are shown, and what is in their place while there are fewer.
func TestManyOrders(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	alpha := w.Scope("alpha")
	r := w.system(report.Query{Recent: true})
	if r.RecentOrdersCount != 0 || r.RecentOrders == nil || len(r.RecentOrders) != 0 {
		t.Errorf("without orders: %+v", r.RecentOrders)
	}
	for n := range report.MaxRecent + 5 {
		w.put(alpha, "ORDER", fmt.Sprintf("o%03d", n), "Order", false)
	}
	if r := w.system(report.Query{Recent: true}); r.RecentOrdersCount != report.MaxRecent || len(r.RecentOrders) != report.MaxRecent {
		t.Errorf("%d of %d recent orders", len(r.RecentOrders), r.RecentOrdersCount)
	}
}

// TestTable reads the tables back.
func TestTable(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	w.put(w.Scope("alpha"), "ORDER", "o", "=1+1", false)
	w.put(w.Scope("bravo"), "PRODUCT", "p", "Chair", false)
	for _, c := range []struct {
		operation, query string
		want             [][]string // the first columns
	}{
		{"/api/admin/reports/system", "", [][]string{{"tenantCode", "entityType", "count"}, {"alpha", "ORDER", "1"}, {"bravo", "PRODUCT", "1"}}},
		{"/api/admin/reports/system", "&entityType=PRODUCT", [][]string{{"tenantCode", "entityType", "count"}, {"bravo", "PRODUCT", "1"}}},
		{"/api/admin/reports/system", "&include=recentOrders", [][]string{{"tenantCode", "id", "code", "name"}, {"alpha", "ORDER#alpha#o", "o", "'=1+1"}}},
		{"/api/tenants/alpha/metrics", "", [][]string{{"tenantCode", "entityType", "count"}, {"alpha", "ORDER", "1"}, {"alpha", "USER_TENANT", "0"}}},
	} {
		body := w.get(c.operation + "?format=csv" + c.query)
		rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
		if err != nil || len(rows) != len(c.want) {
			t.Fatalf("%s%s: %s, %v", c.operation, c.query, body, err)
		}
		for i, want := range c.want {
			if !slices.Equal(rows[i][:len(want)], want) {
				t.Errorf("%s%s: row %d is %v; want %v", c.operation, c.query, i, rows[i], want)
			}
		}
	}
}

// get returns the answer to a request of a system admin, of what was committed by now.
func (w *world) get(target string) []byte {
	w.Helper()
	w.must(w.CatchUp(w.Context()))
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("Authorization", "Bearer "+w.Token(auth.Claims{Subject: "operator", Role: auth.SystemAdmin}))
	out := httptest.NewRecorder()
	w.Handler(httpapi.Config{}).ServeHTTP(out, r)
	if out.Code != http.StatusOK {
		w.Fatalf("%s: %d %s", target, out.Code, out.Body)
	}
	return out.Body.Bytes()
}
