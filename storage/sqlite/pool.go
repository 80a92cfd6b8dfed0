package sqlite

import (
	"context"
	"sync"
)

// pool is the connections that read. It opens them when they are needed, at most as many as it has tickets, and lends
// out the one used last, whose pages are in memory.
type pool struct {
	open    func() (*conn, error)
	tickets chan struct{}

	mu   sync.Mutex
	idle []*conn
}

func newPool(size int, open func() (*conn, error)) *pool {
	return &pool{open: open, tickets: make(chan struct{}, size)}
}

// use calls f with a connection that stops when ctx is done.
func (p *pool) use(ctx context.Context, f func(*conn) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.tickets <- struct{}{}:
	default:
		select {
		case p.tickets <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-p.tickets }()
	c, err := p.take()
	if err != nil {
		return err
	}
	panics := true
	defer func() {
		c.SetInterrupt(context.Background())
		if panics || broken(err) || !c.GetAutocommit() {
			c.close()
		} else {
			p.give(c)
		}
	}()
	c.SetInterrupt(ctx)
	err = f(c)
	panics = false
	return err
}

func (p *pool) take() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return c, nil
	}
	return p.open()
}

func (p *pool) give(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
}

// close closes the connections. None is in use.
func (p *pool) close() {
	for _, c := range p.idle {
		c.close()
	}
	p.idle = nil
}
