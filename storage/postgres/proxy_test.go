package postgres

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fate is what happens to a piece of what a client sends.
type fate int

const (
	delivered  fate = iota
	lostBefore      // it never reaches the server, and the connection is reset
	lostAfter       // the server gets it; its answer is lost, and the connection is reset
	halfOpen        // the server gets it; nothing of the connection reaches the client any more, not even its end
	delayed         // it reaches the server a little later
)

// proxy stands between an engine and the server and spoils connections.
type proxy struct {
	listener net.Listener
	server   string
	decide   atomic.Pointer[func(piece []byte) fate] // called for each piece that a client sends; nil delivers all
	running  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// proxied returns a proxy before the server of a database, and the database's URL through it.
func proxied(t *testing.T, database string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: u.Host, conns: make(map[net.Conn]struct{})}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			reset(client)
			continue
		}
		if !p.keep(client, server) {
			return
		}
		var deaf atomic.Bool // whether the client hears nothing more
		p.running.Go(func() { p.toServer(client, server, &deaf) })
		p.running.Go(func() { p.toClient(client, server, &deaf) })
	}
}

func (p *proxy) toServer(client, server net.Conn, deaf *atomic.Bool) {
	defer p.forget(client, server)
	piece := make([]byte, 64<<10)
	for {
		n, err := client.Read(piece)
		if err != nil {
			return
		}
		fate := delivered
		if decide := p.decide.Load(); decide != nil && !deaf.Load() {
			fate = (*decide)(piece[:n])
		}
		switch fate {
		case lostBefore:
			return
		case lostAfter, halfOpen:
			deaf.Store(true)
		case delayed:
			<-time.After(5 * time.Millisecond)
		}
		if _, err := server.Write(piece[:n]); err != nil {
			return
		}
		if fate == lostAfter {
			server.(*net.TCPConn).CloseWrite() // the server finishes what it has
			reset(client)
			return
		}
	}
}

func (p *proxy) toClient(client, server net.Conn, deaf *atomic.Bool) {
	piece := make([]byte, 64<<10)
	for {
		n, err := server.Read(piece)
		if deaf.Load() {
			if err != nil {
				server.Close()
				return // the client is not told
			}
			continue
		}
		if err != nil {
			p.forget(client, server)
			return
		}
		if _, err := client.Write(piece[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.closed {
			c.Close()
		} else {
			p.conns[c] = struct{}{}
		}
	}
	return !p.closed
}

func (p *proxy) forget(client, server net.Conn) {
	reset(client)
	server.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// reset closes a connection so that the other side meets an error, not an end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}
