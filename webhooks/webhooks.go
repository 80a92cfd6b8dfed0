// Package webhooks tells a tenant's own services what changes: each accepted command on a record is sent, signed, to the addresses that
// the tenant's admins named.
//
// A webhook is a record of its tenant, WEBHOOK#tenant / ULID. Publishing orders the deliveries in the command's own commit, as a job
// (package jobs), so that none is lost, and costs nothing in tenants without webhooks. A delivery is made at least once, is tried again with
// growing pauses, and is a dead letter when its attempts are used up: an admin has it tried again. Deliveries may overtake each other;
// receivers compare versions.
//
// What is sent has the form of the Standard Webhooks specification, and so are the libraries that verify it:
//
//	webhook-id: the delivery; the same each time that it is tried
//	webhook-timestamp: Unix seconds of this attempt
//	webhook-signature: v1,BASE64 of HMAC-SHA256(secret, "ID.TIMESTAMP.BODY"), for each of the secrets that are valid, a space between
//	{"type": "PRODUCT.created", "timestamp": "2026-11-28T10:00:00.000Z", "data": {…the command…}}
//
// Where tenants name addresses, the server is what attackers would like to send requests with. So only HTTPS is spoken, every address is
// checked when it is dialled, after its name was resolved, redirects are not followed, proxies are not used, and of an answer nothing but its
// status is read or shown.
package webhooks

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/tenantry/tenantry/cache"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/feed"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// EntityType is the type of webhooks.
func EntityType() record.EntityType { return record.MustEntityType("WEBHOOK") }

// Declaration declares the type: only this package's routes reach it.
func Declaration() entity.Type {
	return entity.Type{Name: EntityType(), Module: "webhook", Owned: true}
}

// Options are what an operator decides of webhooks.
type Options struct {
	// Allow are networks that may be reached although they are not public: for services beside this one. Defaults to none.
	Allow []netip.Prefix

	// Roots are the authorities that receivers' certificates are checked against. Defaults to the system's.
	Roots *x509.CertPool

	// Attempts is how often a delivery is tried. Defaults to 8.
	Attempts int

	// Backoff returns the pause behind an attempt, counted from 1. Defaults to 5 s, 30 s, 2 min, 15 min, 1 h, 3 h, 6 h.
	Backoff func(attempt int) time.Duration

	// Overlap is how long a secret stays valid after it was rotated. Defaults to 24 hours.
	Overlap time.Duration
}

// Config is what a Service is made of. Every field is required but those that state a default.
type Config struct {
	Options

	// Commands returns the write side, which is made after a Service: its Outbox is the Service's.
	Commands func() *command.Service

	Store    *storage.Store
	Data     *data.Service
	Entities *entity.Registry
	Jobs     *jobs.Queue
	Feed     *feed.Tail
	Cursors  *storage.Cursors

	// Deliveries keeps the log of deliveries.
	Deliveries storage.Keeper

	// Key seals secrets: 32 bytes that are the same in all processes.
	Key []byte

	// Observe is told of every read of a tenant's webhooks through the cache. Defaults to nobody.
	Observe func(name string, hit bool)

	// Log defaults to slog.Default.
	Log *slog.Logger

	// Now defaults to time.Now.
	Now func() time.Time
}

// Service keeps webhooks and makes their deliveries, in jobs. It may be used concurrently.
type Service struct {
	cfg    Config
	seal   *storage.Cursors // what seals places in lists seals secrets as well: for one tenant, in one life of it, and one webhook
	client *http.Client
	hooks  *cache.Cache[tenantKey, []hook]
}

type tenantKey struct{ code tenant.Code }

// Owner implements cache.Key.
func (k tenantKey) Owner() tenant.Code { return k.code }

// cached is how many tenants' webhooks are remembered.
const cached = 10_000

// New returns a Service, and registers its kinds of jobs. It fails where Key is no key.
func New(cfg Config) (*Service, error) {
	if cfg.Attempts == 0 {
		cfg.Attempts = 8
	}
	if cfg.Backoff == nil {
		cfg.Backoff = backoff
	}
	if cfg.Overlap == 0 {
		cfg.Overlap = 24 * time.Hour
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{cfg: cfg, client: newClient(cfg.Options)}
	var err error
	if s.seal, err = storage.NewCursors(cfg.Key); err != nil {
		return nil, err
	}
	s.hooks = cache.New(cache.Options[tenantKey, []hook]{Name: "webhooks", Size: cached, Fresh: cfg.Feed.Fresh, Observe: cfg.Observe,
		Load: func(ctx context.Context, k tenantKey) ([]hook, error) {
			return s.active(ctx, scope.New(k.code, scope.Full, time.Time{}, &scope.Actor{UserID: "system", Source: "webhooks"}))
		}})
	cfg.Feed.Follow([]record.EntityType{EntityType()}, func(pk, _ string) {
		if _, code, _, err := record.SplitPK(pk); err == nil {
			s.hooks.Forget(tenantKey{code})
		}
	}, s.hooks.ForgetAll)
	return s, cfg.Jobs.Register(s.kinds()...)
}

func backoff(attempt int) time.Duration {
	pauses := []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour}
	return pauses[min(attempt, len(pauses))-1]
}
