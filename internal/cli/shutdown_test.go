package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/cli"
)

// slow is a request whose body is only half there yet.
type slow struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	rest string
}

// begin sends the head of a create, and half of its body, once the server has taken the connection.
func begin(t *testing.T, address, token string) slow {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	const body = `{"name":"Chair"}`
	fmt.Fprintf(conn, "POST /api/data/PRODUCT HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", token, len(body))
	in := bufio.NewReader(conn)
	answer, err := in.ReadString('\n')
	if err != nil || !strings.Contains(answer, "100 Continue") {
		t.Fatalf("%v: %s", err, answer)
	}
	in.ReadString('\n') // the empty line after it
	io.WriteString(conn, body[:5])
	return slow{t, conn, in, body[5:]}
}

// finish sends the other half and returns the status of the answer.
func (s slow) finish() int {
	s.t.Helper()
	io.WriteString(s.conn, s.rest)
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// awaitDeaf returns when nobody listens at address any more.
func awaitDeaf(t *testing.T, address string) {
	t.Helper()
	for t.Context().Err() == nil {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		conn.Close()
	}
}

// prepare makes a tenant in a new directory and returns the directory and a token of the tenant.
func prepare(t *testing.T) (dir, token string) {
	t.Helper()
	o := operator{t, t.TempDir()}
	o.run(0, "tenant", "create", "acme")
	return o.dir, strings.TrimSpace(o.run(0, "token", "--sub", "ann", "--tenant", "acme", "--role", "user"))
}

// addressOf reads the line that says where a server listens.
func addressOf(t *testing.T, out io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(out).ReadString('\n')
	found := ready.FindStringSubmatch(line)
	if err != nil || found == nil {
		t.Fatalf("the server did not start: %v: %s", err, line)
	}
	return strings.TrimPrefix(found[1], "http://")
}

// TestDrain ends a server in this process while a request is under way: it is answered, and nothing is left behind.
func TestDrain(t *testing.T) {
	dir, token := prepare(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, w := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- cli.Run(ctx, []string{"serve", "--addr", "127.0.0.1:0", "--data", dir}, cli.IO{Out: w, Err: &stderr})
		w.Close()
	}()
	address := addressOf(t, out)
	request := begin(t, address, token)
	cancel()
	awaitDeaf(t, address)
	if status := request.finish(); status != http.StatusCreated {
		t.Errorf("the request under way was answered with %d", status)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
}

// TestSecondSignalKills sends a second SIGTERM to a server that still waits for a request.
func TestSecondSignalKills(t *testing.T) {
	dir, token := prepare(t)
	cmd := exec.Command("tenantry", "serve", "--addr", "127.0.0.1:0", "--data", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	address := addressOf(t, out)
	begin(t, address, token)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	again := time.NewTicker(50 * time.Millisecond) // the first signal must have been taken before the second counts
	defer again.Stop()
	for {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-again.C:
			continue
		case err := <-ended:
			failed, ok := errors.AsType[*exec.ExitError](err)
			if !ok || failed.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("the second signal did not kill: %v", cmd.ProcessState)
			}
			return
		}
	}
}
