// Package load sends HTTP requests that were prepared beforehand, as many connections at once as it is told, and measures
// how long each takes. It does as little as a client can, since it shares the machine with the server it measures.
package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Request returns a request as it is sent. A nil body sends none.
func Request(method, path, token string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n", method, path, token)
	if body != nil {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// Conn is one connection. It is used by one goroutine at a time.
type Conn struct {
	conn net.Conn
	in   *bufio.Reader
}

// Dial connects to a server at host:port.
func Dial(addr string) (*Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: c, in: bufio.NewReader(c)}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }

var lengthName = []byte("Content-Length:")

// Unexpected is the error of an answer with another status than was wanted. The connection can be used on.
type Unexpected struct {
	Status int
	Text   string
}

// Error says which status came, and its text.
func (u *Unexpected) Error() string { return fmt.Sprintf("load: status %d: %s", u.Status, u.Text) }

// Do sends a request and reads its whole answer, which has a length. It fails with *Unexpected for an answer of another status than want.
func (c *Conn) Do(request []byte, want int) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	status := 0
	if len(line) > 12 {
		status, _ = strconv.Atoi(string(line[9:12]))
	}
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if n := len(lengthName); len(line) > n && bytes.EqualFold(line[:n], lengthName) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[n:]))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("load: status %d, and the answer does not say its length", status)
	}
	if status != want {
		text, _ := io.ReadAll(io.LimitReader(c.in, int64(length)))
		return &Unexpected{status, string(text)}
	}
	_, err = c.in.Discard(length)
	return err
}

// Result is what a run measured.
type Result struct {
	PerSecond float64
	P99       time.Duration
}

// Run makes n requests over all connections together, the i-th that of request(i), and wants the same status of each.
func Run(addr string, connections, n, want int, request func(i int) []byte) (Result, error) {
	conns := make([]*Conn, connections)
	for i := range conns {
		c, err := Dial(addr)
		if err != nil {
			return Result{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	failed := make([]error, connections)
	took := make([][]time.Duration, connections)
	began := time.Now()
	for k, c := range conns {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n) && failed[k] == nil; i = next.Add(1) {
				from := time.Now()
				failed[k] = c.Do(request(int(i)), want)
				took[k] = append(took[k], time.Since(from))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	for _, err := range failed {
		if err != nil {
			return Result{}, err
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	return Result{PerSecond: float64(n) / elapsed.Seconds(), P99: all[len(all)*99/100]}, nil
}

// Answer makes one request and returns its status, headers and body.
func Answer(addr string, request []byte) (int, http.Header, []byte, error) {
	c, err := Dial(addr)
	if err != nil {
		return 0, nil, nil, err
	}
	defer c.Close()
	if _, err := c.conn.Write(request); err != nil {
		return 0, nil, nil, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, body, err
}
