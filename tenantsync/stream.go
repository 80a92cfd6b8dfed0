package tenantsync

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/fault"
)

// lookEvery is the time between two looks at where a sync stands. Looking takes a tenth of the time at most, whatever the number of targets.
const (
	lookEvery = 200 * time.Millisecond
	lookPart  = 10
)

// progress is one reader's view of where a sync stands. It is for one goroutine.
type progress struct {
	service *Service
	id      string
	shown   []byte    // the last event's data
	due     time.Time // of the next look; zero for at once
	over    bool
	timer   *time.Timer
}

// Next waits until the sync is further and returns that as a server-sent event: progress, and at last done, when the sync is not worked on
// any more. After that one it returns io.EOF.
func (p *progress) Next(ctx context.Context) ([]byte, error) {
	for {
		if p.over {
			return nil, io.EOF
		}
		p.timer.Reset(time.Until(p.due))
		select {
		case <-p.timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		began := time.Now()
		o, parts, err := p.service.whole(ctx, p.id)
		if err != nil {
			return nil, err
		}
		st := statusFrom(o, parts)
		data, err := json.Marshal(st, json.Deterministic(true))
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "tenantsync", "the status can't be written as JSON")
		}
		name := "progress"
		if st.Status != Planning && st.Status != Applying {
			name, p.over = "done", true
		}
		p.due = time.Now().Add(max(lookEvery, (lookPart-1)*time.Since(began)))
		if p.over || !bytes.Equal(data, p.shown) {
			p.shown = data
			return []byte("event: " + name + "\ndata: " + string(data) + "\n\n"), nil
		}
	}
}

// Close implements route.Stream.
func (p *progress) Close() { p.timer.Stop() }
