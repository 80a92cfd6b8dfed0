package projection_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a handler that notes its calls, as "up acme/1@2", and fails as its test wants.
type recorder struct {
	fail func(call string) error // nil never fails

	mu    sync.Mutex
	calls []string
	times []time.Time
}

func (h *recorder) Up(ctx context.Context, sc scope.Scope, cmd *record.Record) error {
	return h.note("up", sc, cmd)
}

func (h *recorder) Down(ctx context.Context, sc scope.Scope, cmd *record.Record) error {
	return h.note("down", sc, cmd)
}

func (h *recorder) note(way string, sc scope.Scope, cmd *record.Record) error {
	call := fmt.Sprintf("%s %s/%s@%d", way, sc.Tenant(), cmd.SK, cmd.Version)
	h.mu.Lock()
	h.calls, h.times = append(h.calls, call), append(h.times, time.Now())
	h.mu.Unlock()
	if h.fail == nil {
		return nil
	}
	return h.fail(call)
}

// seen returns the calls so far, those of one record where it is given.
func (h *recorder) seen(record string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if record == "" {
		return slices.Clone(h.calls)
	}
	var calls []string
	for _, c := range h.calls {
		if strings.Contains(c, " "+record+"@") {
			calls = append(calls, c)
		}
	}
	return calls
}

// expect fails the test unless the calls for a record, "" for all, are these.
func (h *recorder) expect(t testing.TB, record string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, h.seen(record)); diff != "" {
		t.Errorf("calls for %q: %s", record, diff)
	}
}

func (h *recorder) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls, h.times = nil, nil
}

// broken fails the calls that it is set to.
type broken struct {
	mu    sync.Mutex
	calls []string
}

func breaks(calls ...string) *broken { return &broken{calls: calls} }

func (b *broken) set(calls ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = calls
}

func (b *broken) fail(call string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.calls, call) {
		return errors.New(call + " fails")
	}
	return nil
}

// handlers registers a handler for the module product under the name h.
func handlers(h projection.Handler) []projection.Registration {
	return []projection.Registration{{Name: "h", Module: "product", Handler: h}}
}

// publish publishes the next version of a product without waiting for handlers.
func publish(w *worldtest.World, tenant, sk string) {
	w.Helper()
	sc := worldtest.Scope(tenant)
	w.Publish(sc, command.Input{Key: w.Key(sc, "PRODUCT", sk), Version: record.VersionLatest, Name: record.NewID()}, command.Async())
}

// status returns where the first handler stands.
func status(w *worldtest.World) projection.Status {
	w.Helper()
	all, err := w.Runner.Status(w.Context(), worldtest.System("status", nil))
	if err != nil {
		w.Fatal(err)
	}
	return all[0]
}

// end returns the position of the newest change.
func end(w *worldtest.World) driver.Position {
	w.Helper()
	at, err := w.Engine.End(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return at
}
