package proof_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// What makes this test binary a server of its own, and what it does then.
const (
	nodeDir  = "TENANTRY_PROOF_DIR"  // the data directory
	nodeFeed = "TENANTRY_PROOF_FEED" // a name in feeds, "" for the store's own
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(nodeDir); dir != "" {
		if err := serve(dir, os.Getenv(nodeFeed)); err != nil {
			fmt.Fprintln(os.Stderr, "node:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// serve prints its address and serves until its input ends.
func serve(dir, feed string) error {
	n, err := open(dir, feed)
	if err != nil {
		return err
	}
	fmt.Println(n.url)
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, n.close())
}

// node is one process's server over the store of a directory.
type node struct {
	app    *tenantry.App
	server *http.Server
	served chan error
	url    string
}

func open(dir, feed string) (*node, error) {
	ctx := context.Background()
	keyring, err := auth.OpenKeyring(dir, auth.KeyringOptions{})
	if err != nil {
		return nil, err
	}
	src := sqlite.At(dir)
	if changes := feeds[feed]; changes != nil {
		src = worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return &deaf{e, changes} })
	}
	log := slog.New(slog.DiscardHandler)
	app, err := tenantry.Open(ctx, tenantry.Config{Store: src, Keyring: keyring, Log: log})
	if err != nil {
		return nil, err
	}
	n := &node{app: app, served: make(chan error, 1)}
	handler, err := httpapi.New(app, httpapi.Config{Log: log})
	if err == nil {
		err = app.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, app.Close())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, app.Close())
	}
	n.url, n.server = "http://"+listener.Addr().String(), handler.Server()
	go func() { n.served <- n.server.Serve(listener) }()
	return n, nil
}

func (n *node) close() error {
	err := n.server.Close()
	if ended := <-n.served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return errors.Join(err, n.app.Close())
}

// otherProcess starts a server over the store of a directory in a process of its own, until the test ends, and returns its address.
func otherProcess(t *testing.T, dir, feed string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nodeDir+"="+dir, nodeFeed+"="+feed)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("the other process: %v", err)
		}
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the other process does not start: %v", err)
	}
	return strings.TrimSpace(url)
}

// feeds are what a process may see of the change feed.
var feeds = map[string]func() ([]driver.Change, error){
	"silent":  func() ([]driver.Change, error) { return nil, nil },
	"failing": func() ([]driver.Change, error) { return nil, errors.New("the feed can't be read") },
}

// deaf is an engine with another feed.
type deaf struct {
	driver.Engine
	changes func() ([]driver.Change, error)
}

func (d *deaf) Changes(context.Context, driver.Position, int) ([]driver.Change, error) {
	return d.changes()
}
