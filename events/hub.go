// Package events shows a tenant's users what changes while it does: it follows the change feed once for a whole process and
// hands each open [Stream] the commands of its own tenant. It is GET /api/events of section 9 of the contract.
//
// A stream begins at the end of the feed, or behind the place that a cursor names; it misses nothing and shows nothing twice. What
// each tenant's streams share is kept in a room: the newest commands, as they stand on the wire, in bounded memory. A stream whose reader
// falls behind its room is cut off, and nobody else notices. A change of the tenant itself ends all its streams, so that
// whoever reads on is admitted anew, before anything that follows is shown.
package events

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

const (
	// MaxStreams is how many streams a tenant may have open in one process.
	MaxStreams = 100

	atOnce    = 500                    // changes that are read at a time
	lookEvery = 100 * time.Millisecond // where no signal comes
	retry     = 250 * time.Millisecond // where the feed can't be read
)

// Config is what a Hub is made of. Every field is required but those that state a default.
type Config struct {
	Store    *storage.Store
	Entities *entity.Registry
	Cursors  *storage.Cursors

	// EndedBy reports whether a command on a record ends its tenant's streams: one on the tenant itself. Defaults to none.
	EndedBy func(t record.EntityType, sk string) bool

	// Log defaults to slog.Default.
	Log *slog.Logger
}

// Hub follows the feed while streams are open. It may be used concurrently.
type Hub struct {
	cfg    Config
	replay int // maxReplay, but in tests

	mu    sync.Mutex
	rooms map[tenant.Code]*room
	at    driver.Position // read up to here, while there are rooms
	wake  chan struct{}   // receives when the first room was made
	ended bool
}

// New returns a Hub that does not run.
func New(cfg Config) *Hub {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.EndedBy == nil {
		cfg.EndedBy = func(record.EntityType, string) bool { return false }
	}
	return &Hub{cfg: cfg, replay: maxReplay, rooms: map[tenant.Code]*room{}, wake: make(chan struct{}, 1)}
}

func (h *Hub) across(ctx context.Context) (storage.Across, error) {
	return h.cfg.Store.Across(ctx, scope.NewSystem("", scope.Actor{UserID: "system"}, "follow the change feed", nil))
}

// Run follows the feed until ctx ends, and ends all streams then.
func (h *Hub) Run(ctx context.Context) {
	defer h.end()
	for {
		select {
		case <-h.wake:
			h.follow(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// follow reads the feed until there is no room left.
func (h *Hub) follow(ctx context.Context) {
	signal, stop := h.cfg.Store.Committed()
	defer stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for failing := false; ; {
		at, some := h.place()
		if !some || ctx.Err() != nil {
			return
		}
		changes, err := h.read(ctx, at)
		if err != nil && ctx.Err() == nil && !failing {
			h.cfg.Log.ErrorContext(ctx, "the change feed can't be read; open event streams wait until it can", "error", err)
		}
		if failing = err != nil; failing {
			pause(ctx, retry)
			continue
		}
		for _, c := range changes {
			h.deliver(c)
		}
		if len(changes) == atOnce {
			continue
		}
		select {
		case <-signal:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (h *Hub) read(ctx context.Context, after driver.Position) ([]driver.Change, error) {
	across, err := h.across(ctx)
	if err != nil {
		return nil, err
	}
	return across.Changes(ctx, after, atOnce)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// place returns where the feed was read up to; some is false where nobody listens.
func (h *Hub) place() (at driver.Position, some bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at, len(h.rooms) > 0
}

// deliver puts a change into the room of its tenant.
func (h *Hub) deliver(c driver.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = c.Position
	typ, code, _, err := record.SplitPK(c.Command.PK)
	if err != nil {
		return
	}
	r := h.rooms[code]
	if r == nil {
		return
	}
	if h.cfg.EndedBy(typ, c.Command.SK) {
		h.empty(r, anew())
		return
	}
	if t, ok := h.cfg.Entities.Lookup(typ); ok && !t.Owned {
		r.add(h.frame(r.scope, t, c))
	}
}

// frame returns a change as it is sent, with a cursor behind it that is good in sc's tenant.
func (h *Hub) frame(sc scope.Scope, t entity.Type, c driver.Change) frame {
	text := make([]byte, 0, 1024)
	text = append(text, "id: "...)
	text = append(text, h.cfg.Cursors.Seal(sc, string(c.Position), cursorQuery)...)
	text = append(text, "\nevent: change\ndata: "...)
	text = record.AppendJSON(text, c.Command, record.Command)
	return frame{position: c.Position, typ: t, text: append(text, "\n\n"...)}
}

// cursorQuery binds cursors to event streams.
const cursorQuery = "events"

// Open opens a stream of the records of sc's tenant whose type show admits: it is asked for types that no module owns, by the
// stream's reader only. Cursor is the ID of the last event that the reader saw, "" to begin with what comes. It fails with
// fault.InvalidCursor for a cursor that no stream of this tenant gave, fault.RateLimited where the tenant has MaxStreams open, and
// fault.Unavailable where the Hub has ended. The caller closes the Stream.
func (h *Hub) Open(ctx context.Context, sc scope.Scope, cursor string, show func(entity.Type) bool) (*Stream, error) {
	if err := sc.Check(); err != nil {
		return nil, err
	}
	place, err := h.cfg.Cursors.Open(sc, cursor, cursorQuery)
	if err != nil {
		return nil, err
	}
	across, err := h.across(ctx)
	if err != nil {
		return nil, err
	}
	end, err := across.End(ctx)
	if err != nil {
		return nil, err
	}
	s := &Stream{hub: h, scope: sc, show: show, across: across, after: driver.Position(place), signal: make(chan struct{}, 1)}
	if cursor == "" {
		s.after = end
	}
	if err := h.join(s, end); err != nil {
		return nil, err
	}
	return s, nil
}

// join gives a stream a place in its tenant's room, which is made where there is none: it holds everything after end then.
func (h *Hub) join(s *Stream, end driver.Position) error {
	code, born := s.scope.Tenant(), s.scope.Born()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return fault.New(fault.Unavailable, "events.Open", "the server is ending; connect again")
	}
	r := h.rooms[code]
	if r != nil && r.scope.Born() != born { // of a former tenant of this code
		h.empty(r, anew())
		r = nil
	}
	if r == nil {
		if len(h.rooms) == 0 {
			h.at = end
			select {
			case h.wake <- struct{}{}:
			default:
			}
		}
		r = &room{scope: s.scope, since: h.at, streams: map[*Stream]struct{}{}, replays: make(chan struct{}, maxReplays)}
		h.rooms[code] = r
	}
	if len(r.streams) >= MaxStreams {
		e := fault.New(fault.RateLimited, "events.Open", "the tenant has %d event streams open here; close one, or retry later", MaxStreams)
		e.Limit, e.RetryAfter = "tenant", time.Second
		return e
	}
	s.room, r.streams[s] = r, struct{}{}
	return nil
}

// leave takes a stream out of its room, and removes a room that is empty.
func (h *Hub) leave(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := s.room
	if r == nil {
		return
	}
	if delete(r.streams, s); len(r.streams) == 0 && h.rooms[r.scope.Tenant()] == r {
		delete(h.rooms, r.scope.Tenant())
	}
}

// empty ends all streams of a room and removes it. The caller holds mu.
func (h *Hub) empty(r *room, why error) {
	for s := range r.streams {
		s.ended = why
		s.ring()
	}
	clear(r.streams)
	if h.rooms[r.scope.Tenant()] == r {
		delete(h.rooms, r.scope.Tenant())
	}
}

// end ends all streams.
func (h *Hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for _, r := range h.rooms {
		h.empty(r, fault.New(fault.Unavailable, "events", "the server is ending; connect again"))
	}
}

func anew() error {
	return fault.New(fault.Unavailable, "events", "the tenant itself has changed; connect again")
}
