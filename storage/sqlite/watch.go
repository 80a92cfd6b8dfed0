package sqlite

import (
	"sync"
	"time"
)

// watch tells subscribers of commits: those of this process at once, those of others when it finds them. It looks for
// them only while someone is subscribed.
type watch struct {
	connect func() (*conn, error)
	every   time.Duration // between two looks

	mu          sync.Mutex
	subscribers map[chan struct{}]struct{}
	stop        chan struct{} // closed to end the goroutine that looks; nil while there is none
	closed      bool
	running     sync.WaitGroup
}

func newWatch(connect func() (*conn, error), every time.Duration) *watch {
	return &watch{connect: connect, every: every, subscribers: make(map[chan struct{}]struct{})}
}

func (w *watch) subscribe() (<-chan struct{}, func()) {
	signal := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return signal, func() {}
	}
	w.subscribers[signal] = struct{}{}
	if w.stop == nil {
		stop := make(chan struct{})
		w.stop = stop
		w.running.Go(func() { w.look(stop) })
	}
	return signal, func() { w.unsubscribe(signal) }
}

func (w *watch) unsubscribe(signal chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subscribers, signal)
	if len(w.subscribers) == 0 {
		w.rest()
	}
}

// rest ends the goroutine that looks. The caller holds mu.
func (w *watch) rest() {
	if w.stop != nil {
		close(w.stop)
		w.stop = nil
	}
}

// notify signals every subscriber; one that has not received the last signal yet needs no other.
func (w *watch) notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for signal := range w.subscribers {
		select {
		case signal <- struct{}{}:
		default:
		}
	}
}

// look notifies when another connection has committed. What happened before the first look, or while looking failed, is
// not known, so they notify too.
func (w *watch) look(stop <-chan struct{}) {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	var c *conn
	var seen int64
	for {
		if version, err := dataVersion(&c, w.connect); err == nil && version != seen {
			seen = version
			w.notify()
		}
		select {
		case <-tick.C:
		case <-stop:
			if c != nil {
				c.close()
			}
			return
		}
	}
}

// dataVersion returns a number that changes when another connection than *c commits. It opens *c where it is nil and
// closes it after an error.
func dataVersion(c **conn, connect func() (*conn, error)) (version int64, err error) {
	if *c == nil {
		if *c, err = connect(); err != nil {
			*c = nil
			return 0, err
		}
	}
	version, err = (*c).integer("PRAGMA data_version")
	if err != nil {
		(*c).close()
		*c = nil
	}
	return version, err
}

// close ends the goroutine and forgets the subscribers.
func (w *watch) close() {
	w.mu.Lock()
	w.closed = true
	clear(w.subscribers)
	w.rest()
	w.mu.Unlock()
	w.running.Wait()
}
