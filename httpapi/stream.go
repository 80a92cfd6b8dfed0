package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/route"
)

const (
	recheckEvery   = time.Second      // of a stream's rights
	heartbeatEvery = 15 * time.Second // where nothing happens: proxies close what is silent
	patience       = 10 * time.Second // with a client that does not read
)

var eventsType = []string{"text/event-stream"}

// heartbeat is a comment, which clients pass over.
var heartbeat = []byte(":\n\n")

// stream sends what comes from s as server-sent events, until the client goes or does not read, its rights end, s ends, or the
// server does. Where there is somebody to tell, the last event, named end, is the problem that says why.
func (h *Handler) stream(r *http.Request, op *route.Operation, admitted *call, s route.Stream) {
	defer s.Close()
	st := stateOf(r)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(st.limit.Context, cancel)()
	defer context.AfterFunc(h.ending, cancel)()
	h.metrics.streams.Inc()
	defer h.metrics.streams.Dec()

	header := st.Header()
	if len(h.cfg.Origins) == 0 {
		delete(header, "Vary") // a stream is not compressed for anybody, and a ninth header would make the map a larger one
	}
	header["Content-Type"] = eventsType
	header.Set("X-Accel-Buffering", "no") // nginx passes on what it gets
	st.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	out := &eventWriter{w: &st.recorder, control: http.NewResponseController(&st.recorder)}
	out.control.SetReadDeadline(time.Time{}) // the request's, which was read; a client that goes away is noticed by reading
	out.send(heartbeat)
	why := h.relay(ctx, op, r, admitted, s, out)
	if h.ending.Err() != nil {
		why = fault.New(fault.Unavailable, "httpapi", "the server is ending; connect again")
	} else if out.err != nil || ctx.Err() != nil || errors.Is(why, io.EOF) {
		return
	}
	e := failure(ctx, why)
	st.code = e.Code
	out.send(append(append([]byte("event: end\ndata: "), problemText(e, st.requestID)...), "\n\n"...))
}

// relay sends what comes from s and returns why it ended.
func (h *Handler) relay(ctx context.Context, op *route.Operation, r *http.Request, admitted *call, s route.Stream, out *eventWriter) error {
	now := &call{query: admitted.query, ask: &guard.Request{}} // one for all that is decided while the stream is open
	for checked, sent := time.Now(), time.Now(); out.err == nil; {
		text, err := next(ctx, s, checked.Add(recheckEvery))
		if err != nil {
			return err
		}
		if len(text) > 0 {
			out.send(text)
			sent = time.Now()
		}
		if time.Since(checked) >= recheckEvery {
			if err := h.recheck(ctx, op, r, admitted, now); err != nil {
				return err
			}
			checked = time.Now()
		}
		if time.Since(sent) >= heartbeatEvery {
			out.send(heartbeat)
			sent = time.Now()
		}
	}
	return out.err
}

// next returns the next events, none where they did not come by the deadline.
func next(ctx context.Context, s route.Stream, deadline time.Time) ([]byte, error) {
	until, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	text, err := s.Next(until)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, nil
	}
	return text, err
}

// recheck fails where the caller would not be admitted any more, or would be in another role.
func (h *Handler) recheck(ctx context.Context, op *route.Operation, r *http.Request, admitted, now *call) error {
	was := &admitted.ask.Actor
	*now.ask = guard.Request{Actor: guard.Actor{RequestID: was.RequestID, SourceIP: was.SourceIP, Source: was.Source}}
	if err := h.identify(ctx, op, r, now); err != nil {
		return err
	}
	if err := h.app.Guard().Recheck(ctx, now.ask); err != nil {
		return err
	}
	if now.ask.Actor.Role != was.Role {
		return fault.New(fault.Unavailable, "httpapi", "the caller's role has changed; connect again")
	}
	return nil
}

// eventWriter writes events so that the client has them at once.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error // the first one; nothing is written after it
}

func (e *eventWriter) send(text []byte) {
	if e.err == nil {
		e.err = e.control.SetWriteDeadline(time.Now().Add(patience))
	}
	if e.err == nil {
		_, e.err = e.w.Write(text)
	}
	if e.err == nil {
		e.err = e.control.Flush()
	}
	if e.err == nil { // HTTP/2 ends a stream whose deadline passes, also where nothing is being written
		e.err = e.control.SetWriteDeadline(time.Time{})
	}
}
