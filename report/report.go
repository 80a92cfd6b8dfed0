// Package report answers how much there is: over all tenants, and of one.
//
// What it answers was counted while the read model was kept (package upkeep), so a report reads counters and no records; the cost is the
// number of tenants, not that of their records. All of one report is of one place in the change feed: its totals are the sums of what it
// says of the tenants. Deleted tenants count nowhere.
//
//	system, err := reports.System(ctx, sys, report.Query{})      // needs the System capability, and leaves an audit entry
//	metrics, err := reports.Tenant(ctx, sc)                      // what a tenant may know of itself
//
// See docs/adr/0020-reports.md for why it is so.
package report

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/upkeep"
)

// The entity types that reports name in members of their own.
var (
	products = record.MustEntityType("PRODUCT")
	orders   = record.MustEntityType("ORDER")
	users    = record.MustEntityType("USER_TENANT") // a membership makes a user of its tenant
)

// Limits of a Query.
const (
	MaxRecent   = 100
	DefaultTop  = 10
	MaxTop      = 1000
	DefaultDays = 30
	MaxDays     = 366
)

// ReadModel is where the counts come from: an upkeep.Runner.
type ReadModel interface {
	Look(ctx context.Context, sys scope.System, f func(*upkeep.Snapshot) error) error
	LookIn(ctx context.Context, sc scope.Scope, f func(*upkeep.Snapshot) error) error
}

// Config is what a Service is made of.
type Config struct {
	// ReadModel is nil where there is none: every report is fault.Unavailable then, and says what to configure.
	ReadModel ReadModel

	Entities *entity.Registry

	// State returns whether a tenant exists.
	State func(ctx context.Context, code tenant.Code) (guard.State, error)

	// Patience is how long the queries of one report may take. Defaults to 5 seconds.
	Patience time.Duration

	// AtOnce is how many reports of one tenant, or over all, are made at a time, and Waiting how many more wait for their turn; others are
	// refused. A tenant's leave room in the database for others'. They default to 2 and 16.
	AtOnce, Waiting int

	// Now defaults to time.Now.
	Now func() time.Time
}

// Service makes reports. It may be used concurrently.
type Service struct {
	cfg Config

	mu     sync.Mutex
	queues map[owner]*queue // of those who have any; guarded by mu
}

// owner is whose reports stand in one queue: a tenant's, or, for the zero Code, those over all.
type owner struct{ tenant tenant.Code }

// queue is the reports of one owner that are under way, or wait.
type queue struct {
	length int           // guarded by Service.mu
	turns  chan struct{} // holds one for each that is under way
}

// New returns a Service.
func New(cfg Config) *Service {
	cfg.Patience, cfg.AtOnce = cmp.Or(cfg.Patience, 5*time.Second), cmp.Or(cfg.AtOnce, 2)
	cfg.Waiting = cmp.Or(cfg.Waiting, 16)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{cfg: cfg, queues: map[owner]*queue{}}
}

// Query says what a report over all tenants holds. The zero Query is of products.
type Query struct {
	EntityType record.EntityType // whose tenants, top and growth are told; defaults to PRODUCT
	Top        int               // how many tenants of the most, 1 to 1000; defaults to 10
	Days       int               // of growth, today included, 1 to 366; defaults to 30
	Recent     bool              // the orders that were created last, too
}

// The parts of reports.
type (
	// Count is how many records a tenant has.
	Count struct {
		TenantCode string `json:"tenantCode"`
		Count      int64  `json:"count"`
	}
	// Total is how many records there are of an entity type.
	Total struct {
		EntityType string `json:"entityType"`
		Count      int64  `json:"count"`
	}
	// Day is how many records were created on one, in UTC.
	Day struct {
		Day     string `json:"day"`
		Created int64  `json:"created" doc:"those that were deleted since count"`
	}
)

// System is a report over all tenants. TotalProducts is the sum of ProductsByTenant, and Total that of ByTenant.
type System struct {
	TotalProducts     int64        `json:"totalProducts"`
	ProductsByTenant  []Count      `json:"productsByTenant" doc:"ordered by code; tenants that have none are left out"`
	RecentOrdersCount int64        `json:"recentOrdersCount" doc:"100 at most"`
	RecentOrders      []upkeep.Row `json:"recentOrders,omitzero" doc:"newest first; with include=recentOrders"`

	EntityType string  `json:"entityType" doc:"what total, byTenant, top and growth are of"`
	Total      int64   `json:"total"`
	ByTenant   []Count `json:"byTenant" doc:"ordered by code; tenants that have none are left out"`
	Top        []Count `json:"top" doc:"the tenants with the most, most first"`
	Growth     []Day   `json:"growth" doc:"days on which none was created are left out"`

	Totals []Total `json:"totals" doc:"of each entity type, ordered by it"`

	Position  string             `json:"position" doc:"the place in the change feed that all of this is of"`
	AppliedAt record.Time        `json:"appliedAt" doc:"when the read model came there"`
	Freshness []upkeep.Freshness `json:"freshness" doc:"of each tenant, ordered by code"`

	counts []upkeep.Count // of each tenant and entity type, ordered by both
}

// Tenant is a report of one tenant.
type Tenant struct {
	TenantCode string      `json:"tenantCode"`
	Products   int64       `json:"products"`
	Orders     int64       `json:"orders"`
	Users      int64       `json:"users" doc:"memberships that have not ended"`
	Totals     []Total     `json:"totals" doc:"of each entity type, ordered by it"`
	Position   string      `json:"-"` // the place in the change feed that all of this is of; its number would tell a tenant how much all write
	AppliedAt  record.Time `json:"appliedAt,omitzero" doc:"when the tenant's last command was counted"`
	LagMillis  int64       `json:"lagMillis" doc:"how long after it was published that was"`
}

// System reports over all tenants. It leaves an audit entry, which names the tenants whose recent orders are shown. It fails with
// fault.ValidationFailed for a Query out of its bounds, with fault.NotFound for an entity type that there is not, with fault.RateLimited where too many reports are under way, and with fault.Unavailable
// where there is no read model or it doesn't answer in time.
func (s *Service) System(ctx context.Context, sys scope.System, q Query) (*System, error) {
	if err := sys.Check(); err != nil {
		return nil, err
	}
	if q.EntityType.IsZero() {
		q.EntityType = products
	}
	if q.Top < 0 || q.Top > MaxTop || q.Days < 0 || q.Days > MaxDays {
		return nil, fault.Invalid("report.System", fault.Field{Field: "top", Problem: "is 1 to 1000, and days 1 to 366"})
	}
	if !s.counted(q.EntityType) {
		return nil, fault.New(fault.NotFound, "report.System", "there is no such entity type")
	}
	out := &System{ProductsByTenant: []Count{}, EntityType: q.EntityType.String(), ByTenant: []Count{}, Growth: []Day{}, Totals: []Total{}, Freshness: []upkeep.Freshness{}}
	err := s.look(ctx, tenant.Code{}, func(ctx context.Context) error {
		return s.cfg.ReadModel.Look(ctx, sys, func(kept *upkeep.Snapshot) error { return s.system(ctx, kept, q, out) })
	})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, o := range out.RecentOrders {
		if seen[o.TenantCode] {
			continue
		}
		seen[o.TenantCode] = true
		code, err := tenant.Parse(o.TenantCode)
		if err == nil {
			_, err = sys.Enter(ctx, code, time.Time{}) // what is shown of a tenant, the tenant is told
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Service) system(ctx context.Context, kept *upkeep.Snapshot, q Query, out *System) error {
	out.Position, out.AppliedAt = string(kept.Position), kept.AppliedAt
	if err := kept.Tenants(ctx, func(f upkeep.Freshness) { out.Freshness = append(out.Freshness, f) }); err != nil {
		return err
	}
	slices.SortFunc(out.Freshness, func(a, b upkeep.Freshness) int { return cmp.Compare(a.TenantCode, b.TenantCode) })
	if err := kept.Counts(ctx, func(c upkeep.Count) {
		if s.counted(c.Type) {
			out.counts = append(out.counts, c)
		}
	}); err != nil {
		return err
	}
	slices.SortFunc(out.counts, func(a, b upkeep.Count) int {
		return cmp.Or(cmp.Compare(a.TenantCode, b.TenantCode), cmp.Compare(a.Type.String(), b.Type.String()))
	})
	out.add(q)
	from := s.cfg.Now().UTC().AddDate(0, 0, 1-cmp.Or(q.Days, DefaultDays))
	if err := kept.Days(ctx, q.EntityType, from, func(day string, created int64) { out.Growth = append(out.Growth, Day{day, created}) }); err != nil {
		return err
	}
	if !q.Recent {
		return nil
	}
	out.RecentOrders = []upkeep.Row{}
	return kept.Recent(ctx, orders, MaxRecent, func(r upkeep.Row) { out.RecentOrders = append(out.RecentOrders, r) })
}

// add makes sums and orders of the counts.
func (out *System) add(q Query) {
	totals := map[record.EntityType]int64{}
	for _, c := range out.counts {
		totals[c.Type] += c.Live
		if c.Type == products {
			out.ProductsByTenant = append(out.ProductsByTenant, Count{c.TenantCode, c.Live})
		}
		if c.Type == q.EntityType {
			out.ByTenant = append(out.ByTenant, Count{c.TenantCode, c.Live})
		}
	}
	out.TotalProducts, out.Total, out.RecentOrdersCount = totals[products], totals[q.EntityType], min(totals[orders], MaxRecent)
	out.Totals = ordered(totals)
	out.Top = slices.SortedStableFunc(slices.Values(out.ByTenant), func(a, b Count) int { return cmp.Compare(b.Count, a.Count) })
	out.Top = out.Top[:min(len(out.Top), cmp.Or(q.Top, DefaultTop))]
}

func ordered(totals map[record.EntityType]int64) []Total {
	out := make([]Total, 0, len(totals))
	for t, n := range totals {
		out = append(out, Total{t.String(), n})
	}
	slices.SortFunc(out, func(a, b Total) int { return cmp.Compare(a.EntityType, b.EntityType) })
	return out
}

// Tenant reports of sc's tenant. It fails with fault.NotFound for a tenant that there is not, and otherwise as System does.
func (s *Service) Tenant(ctx context.Context, sc scope.Scope) (*Tenant, error) {
	if err := sc.Check(); err != nil {
		return nil, err
	}
	code := sc.Tenant()
	if state, err := s.cfg.State(ctx, code); err != nil {
		return nil, err
	} else if !state.Exists {
		return nil, fault.New(fault.NotFound, "report.Tenant", "there is no such tenant")
	}
	out := &Tenant{TenantCode: code.String()}
	err := s.look(ctx, code, func(ctx context.Context) error {
		return s.cfg.ReadModel.LookIn(ctx, sc, func(kept *upkeep.Snapshot) error { return s.tenant(ctx, kept, out) })
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) tenant(ctx context.Context, kept *upkeep.Snapshot, out *Tenant) error {
	out.Position = string(kept.Position)
	if err := kept.Tenants(ctx, func(f upkeep.Freshness) { out.AppliedAt, out.LagMillis = f.AppliedAt, f.LagMillis }); err != nil {
		return err
	}
	totals := map[record.EntityType]int64{}
	err := kept.Counts(ctx, func(c upkeep.Count) { totals[c.Type] = c.Live })
	if err != nil {
		return err
	}
	out.Products, out.Orders, out.Users = totals[products], totals[orders], totals[users]
	for t := range totals {
		if !s.counted(t) {
			delete(totals, t)
		}
	}
	out.Totals = ordered(totals)
	return nil
}

// counted reports whether records of a type are an application's, and not what a module keeps.
func (s *Service) counted(of record.EntityType) bool {
	t, ok := s.cfg.Entities.Lookup(of)
	return ok && !t.Owned
}

// look runs one report of a tenant, or over all, when there is room for it, with a deadline.
func (s *Service) look(ctx context.Context, code tenant.Code, run func(context.Context) error) error {
	if s.cfg.ReadModel == nil {
		return fault.New(fault.Unavailable, "report", "reports need a read model, which this server does not keep; start it with --read-model, or set tenantry.Config.ReadModel")
	}
	until, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	leave, err := s.enter(until, owner{code})
	if err == nil {
		err = run(until)
		leave()
	}
	if err != nil && until.Err() != nil && ctx.Err() == nil {
		late := fault.Wrap(err, fault.Unavailable, "report", "the report was not there within %v; retry later", s.cfg.Patience)
		late.RetryAfter = time.Second
		return late
	}
	return err
}

// enter waits for the turn of a report, which ends with leave. It fails with fault.RateLimited where too many wait.
func (s *Service) enter(ctx context.Context, of owner) (leave func(), err error) {
	s.mu.Lock()
	q := s.queues[of]
	if q == nil {
		q = &queue{turns: make(chan struct{}, s.cfg.AtOnce)}
		s.queues[of] = q
	}
	full := q.length >= s.cfg.AtOnce+s.cfg.Waiting
	if !full {
		q.length++
	}
	s.mu.Unlock()
	if full {
		e := fault.New(fault.RateLimited, "report", "%d reports are under way or wait already; retry later", s.cfg.AtOnce+s.cfg.Waiting)
		e.Limit, e.RetryAfter = "reports", time.Second
		return nil, e
	}
	select {
	case q.turns <- struct{}{}:
		return func() { <-q.turns; s.part(of, q) }, nil
	case <-ctx.Done():
		s.part(of, q)
		return nil, ctx.Err()
	}
}

func (s *Service) part(of owner, q *queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.length--; q.length == 0 {
		delete(s.queues, of)
	}
}
