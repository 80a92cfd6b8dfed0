package httpapi

import (
	"context"
	"sync/atomic"
	"time"
)

// deadline is a context that ends at a moment, or when it is ended. It is what context.WithDeadline makes, but for the timer, which is
// set when somebody waits for the end: most requests only ask whether it has come.
type deadline struct {
	context.Context // that it is made of
	at              time.Time
	waited          atomic.Pointer[waited] // nil until somebody waits
}

type waited struct {
	context.Context
	cancel context.CancelFunc
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} {
	if w := d.waited.Load(); w != nil {
		return w.Done()
	}
	ctx, cancel := context.WithDeadline(d.Context, d.at)
	if w := (&waited{ctx, cancel}); d.waited.CompareAndSwap(nil, w) {
		return w.Done()
	}
	cancel()
	return d.waited.Load().Done()
}

// Err implements context.Context.
func (d *deadline) Err() error {
	if w := d.waited.Load(); w != nil {
		return w.Err()
	}
	if err := d.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(d.at) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context. By it, contexts that are made of d find what they are to follow.
func (d *deadline) Value(key any) any {
	if w := d.waited.Load(); w != nil && w != over {
		return w.Value(key)
	}
	return d.Context.Value(key)
}

// over is what is waited for where a deadline was ended before anybody waited.
var over = func() *waited {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return &waited{ctx, cancel}
}()

// end ends d, if it has not ended.
func (d *deadline) end() {
	if !d.waited.CompareAndSwap(nil, over) {
		d.waited.Load().cancel()
	}
}
