package driver

import (
	"context"
	"sync"
)

// Watch tells subscribers of commits, as Engine.Committed does: of those of its own engine when Notify says so, and of those of others that
// somebody finds who looks for them. It may be used concurrently.
type Watch struct {
	look func(ctx context.Context, notify func())

	mu          sync.Mutex
	subscribers map[chan struct{}]struct{}
	rest        context.CancelFunc // ends the looking; nil while nobody looks
	closed      bool
	looking     sync.WaitGroup
}

// NewWatch returns a Watch without subscribers. Look runs in a goroutine while there are some, calls notify, which is Notify, and returns
// when ctx has ended. The caller closes the Watch.
func NewWatch(look func(ctx context.Context, notify func())) *Watch {
	return &Watch{look: look, subscribers: make(map[chan struct{}]struct{})}
}

// Subscribe returns a channel that receives after a commit, and what ends that. After Close it never receives.
func (w *Watch) Subscribe() (<-chan struct{}, func()) {
	signal := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return signal, func() {}
	}
	w.subscribers[signal] = struct{}{}
	if w.rest == nil {
		ctx, cancel := context.WithCancel(context.Background())
		w.rest = cancel
		w.looking.Go(func() { w.look(ctx, w.Notify) })
	}
	return signal, func() { w.unsubscribe(signal) }
}

func (w *Watch) unsubscribe(signal chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subscribers, signal)
	w.restIfAlone()
}

// restIfAlone ends the looking where nobody is subscribed. The caller holds mu.
func (w *Watch) restIfAlone() {
	if len(w.subscribers) == 0 && w.rest != nil {
		w.rest()
		w.rest = nil
	}
}

// Notify signals every subscriber; one that has not received the last signal yet needs no other.
func (w *Watch) Notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for signal := range w.subscribers {
		select {
		case signal <- struct{}{}:
		default:
		}
	}
}

// Close forgets the subscribers and returns when nobody looks any more.
func (w *Watch) Close() {
	w.mu.Lock()
	w.closed = true
	clear(w.subscribers)
	w.restIfAlone()
	w.mu.Unlock()
	w.looking.Wait()
}
