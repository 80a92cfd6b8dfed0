package events

import (
	"sort"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/storage/driver"
)

// Limits of what a room keeps: how many commands, and how many bytes of them.
const (
	roomFrames = 256
	roomBytes  = 1 << 20
)

// maxReplays is how many streams of one tenant read the feed at a time, to come up to their room; others wait for their turn. What it holds is
// mostly other tenants', so readers who come back with an old place again and again must not keep the database busy.
const maxReplays = 4

// frame is a change as it is sent. It is shared by all streams of its tenant and never changed.
type frame struct {
	position driver.Position
	typ      entity.Type
	text     []byte
}

// room is what the streams of one tenant share. The Hub's mu guards it.
type room struct {
	scope   scope.Scope     // of the tenant; it seals cursors
	since   driver.Position // everything of the tenant after it is in frames, or will be
	frames  []frame         // oldest first
	first   int             // the number of the oldest frame: how many were dropped before it
	bytes   int
	streams map[*Stream]struct{}
	replays chan struct{} // holds one for each stream that reads the feed; not guarded
}

// add puts a frame into the room, drops what it has no room for, and tells the streams.
func (r *room) add(f frame) {
	r.frames = append(r.frames, f)
	r.bytes += len(f.text)
	for len(r.frames) > 1 && (len(r.frames) > roomFrames || r.bytes > roomBytes) {
		r.since = r.frames[0].position
		r.bytes -= len(r.frames[0].text)
		r.frames[0] = frame{}
		r.frames = r.frames[1:]
		r.first++
	}
	for s := range r.streams {
		s.ring()
	}
}

// after returns the number of the first frame behind a position; ok is false where frames behind it were dropped.
func (r *room) after(p driver.Position) (number int, ok bool) {
	if p.Compare(r.since) < 0 {
		return 0, false
	}
	return r.first + sort.Search(len(r.frames), func(i int) bool { return r.frames[i].position.Compare(p) > 0 }), true
}

// from returns the frames from a number on; ok is false where some of them were dropped.
func (r *room) from(number int) (frames []frame, ok bool) {
	if number < r.first {
		return nil, false
	}
	return r.frames[number-r.first:], true
}
