package events

import (
	"context"
	"slices"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

const (
	// maxReplay is how many changes, of all tenants, are looked through for one that comes back.
	maxReplay = 100_000

	pieceBytes   = 64 << 10 // what Next returns at once, about
	replayAtOnce = 200      // changes that a replay reads at a time: what follows a piece is read again
)

// reset is sent in place of what can't be shown any more: the reader reads its lists anew, and goes on with what follows.
const reset = "event: reset\ndata: {}\n\n"

// Stream is one reader's view of its tenant's changes. It is for one goroutine.
type Stream struct {
	hub    *Hub
	scope  scope.Scope
	show   func(entity.Type) bool
	across storage.Across
	signal chan struct{} // receives when there may be something to read

	after    driver.Position // read up to here, while replaying
	replayed int
	live     bool
	next     int // number of the next frame of the room, when live

	room  *room // nil before it joined
	ended error // guarded by the Hub's mu
}

// ring tells the reader that there may be something to read.
func (s *Stream) ring() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// Close releases the stream. It must not be read any more.
func (s *Stream) Close() { s.hub.leave(s) }

// Next waits for events and returns some, each whole, in the form of server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html): an ID that Open takes, the name change, and the command as it
// stands on the wire; or the name reset, where more happened since the cursor than is looked through. It returns the
// context's error when that ends first, after which it may be called again; fault.Behind where the reader was too slow; and
// fault.Unavailable where the stream has ended and the reader should connect again.
func (s *Stream) Next(ctx context.Context) ([]byte, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		text, err := s.piece(ctx)
		if len(text) > 0 || err != nil {
			return text, err
		}
		if !s.live {
			continue
		}
		select {
		case <-s.signal:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// piece returns what there is to show now, of what the feed holds until the room has all that is missing, and of the room then.
func (s *Stream) piece(ctx context.Context) ([]byte, error) {
	if s.live {
		return s.shared()
	}
	behind, err := s.attach()
	switch {
	case err != nil:
		return nil, err
	case s.live:
		return s.shared()
	}
	if s.replayed >= s.hub.replay {
		s.after = behind
		return []byte(reset), nil
	}
	return s.replay(ctx, behind)
}

// attach makes the stream live where the room holds everything after its place. Else it returns where the room begins, or why
// the stream has ended.
func (s *Stream) attach() (since driver.Position, err error) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.next, s.live = s.room.after(s.after); s.live {
		return "", nil // what the room still has is shown before the end
	}
	return s.room.since, s.ended
}

// replay shows changes that the room does not hold. Behind is where the room began before they were read: where the feed ends
// before it, nothing is missing in between.
func (s *Stream) replay(ctx context.Context, behind driver.Position) (text []byte, err error) {
	select {
	case s.room.replays <- struct{}{}:
		defer func() { <-s.room.replays }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	changes, err := s.across.Changes(ctx, s.after, replayAtOnce)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		if len(text) >= pieceBytes {
			return text, nil // a slow reader holds no more
		}
		s.after = c.Position
		s.replayed++
		typ, code, _, err := record.SplitPK(c.Command.PK)
		if err != nil || code != s.scope.Tenant() {
			continue
		}
		if t, ok := s.hub.cfg.Entities.Lookup(typ); ok && !t.Owned && s.show(t) {
			text = append(text, s.hub.frame(s.scope, t, c).text...)
		}
	}
	if len(changes) < replayAtOnce && s.after.Compare(behind) < 0 {
		s.after = behind
	}
	return text, nil
}

// shared shows what the room has got.
func (s *Stream) shared() ([]byte, error) {
	s.hub.mu.Lock()
	frames, ok := s.room.from(s.next)
	frames = slices.Clone(frames) // the room drops its own under mu
	ended := s.ended
	s.hub.mu.Unlock()
	switch {
	case !ok:
		return nil, fault.New(fault.Behind, "events", "events come faster than they are read; connect again with the last event's ID")
	case len(frames) == 0:
		return nil, ended
	}
	var text []byte
	for _, f := range frames {
		if s.next++; f.position.Compare(s.after) > 0 && s.show(f.typ) { // what was replayed may come to the room later
			text = append(text, f.text...)
		}
		if len(text) >= pieceBytes {
			s.ring()
			break
		}
	}
	return text, nil
}
