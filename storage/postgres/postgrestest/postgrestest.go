//go:build unix

// Package postgrestest gives tests a private PostgreSQL: one server for a test binary, started by the first test that asks
// for a database, on a free port of 127.0.0.1, with its data in a temporary directory. It is the one of Debian's package
// postgresql, or whichever initdb is found on the PATH. It syncs every commit to the disk, since that is part of what is tested.
//
//	func TestMain(m *testing.M) { postgrestest.Main(m) }
//
//	func TestEngine(t *testing.T) {
//		storagetest.Run(t, func(t testing.TB) driver.Source { return postgres.At(postgrestest.New(t), postgres.Options{}) })
//	}
//
// A server that can't be started fails the test that asked for it.
package postgrestest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// Users of the server. Databases belong to Owner, which may create roles and is no superuser.
const (
	Superuser = "postgres"
	Owner     = "tenantry_owner"
)

// Main runs the tests, stops the server and removes its data, and reports goroutines that are left. It doesn't return.
func Main(m *testing.M) { goleak.VerifyTestMain(stopping{m}) }

// Stop stops the server and removes its data, for a TestMain that can't use Main.
func Stop() { shared.stop() }

// stopping stops the server after the tests, before anybody looks for goroutines.
type stopping struct{ tests *testing.M }

func (s stopping) Run() int {
	defer shared.stop()
	return s.tests.Run()
}

// shared is the test binary's server.
var shared cluster

// New returns the URL of a new, empty database, for the user Owner. The server is started if it isn't yet.
func New(t testing.TB) string {
	t.Helper()
	c := running(t)
	name, err := c.create(t.Context())
	if err != nil {
		t.Fatalf("a database for a test: %v", err)
	}
	return c.url(Owner, name)
}

// As returns a database's URL for another user of the server.
func As(t testing.TB, database, user string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(user)
	return u.String()
}

// Kill ends the server as a crash does: its first process and all others get SIGKILL. It starts it again when restart is
// called, which the test must do before it ends.
func Kill(t testing.TB) (restart func()) {
	t.Helper()
	c := running(t)
	if err := c.server.kill(); err != nil {
		t.Fatalf("killing the server: %v", err)
	}
	return func() {
		t.Helper()
		if err := c.launch(); err != nil {
			t.Fatalf("starting the server again: %v", err)
		}
	}
}

func running(t testing.TB) *cluster {
	t.Helper()
	if err := shared.start(); err != nil {
		t.Fatalf("a private PostgreSQL: %v", err)
	}
	return &shared
}

// cluster is a server and its directory. The zero cluster is not started.
type cluster struct {
	mu        sync.Mutex
	started   bool
	dir       string
	port      int
	server    *server
	databases int
	failed    error // what start ended with
}

func (c *cluster) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started || c.failed != nil {
		return c.failed
	}
	c.failed = c.found()
	c.started = c.failed == nil
	return c.failed
}

// found makes the directory, starts the server and creates its roles.
func (c *cluster) found() error {
	var err error
	if c.dir, err = initialise(); err != nil {
		return err
	}
	for range 3 { // another process may take the port before the server does
		if c.port, err = freePort(); err != nil {
			return err
		}
		if err = c.launch(); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	return c.administer(ctx, "CREATE ROLE "+Owner+" LOGIN CREATEROLE")
}

// startLimit is how long a server may take to answer, and to stop.
const startLimit = 30 * time.Second

// launch starts the server on its directory and waits until it answers.
func (c *cluster) launch() error {
	s, err := serve(c.dir, c.port)
	if err != nil {
		return err
	}
	c.server = s
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		if err = c.administer(ctx, "SELECT 1"); err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended: %s", s.log())
		case <-ctx.Done():
			s.kill()
			return fmt.Errorf("the server does not answer: %w: %s", err, s.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// create creates a database and returns its name.
func (c *cluster) create(ctx context.Context) (string, error) {
	c.mu.Lock()
	c.databases++
	name := fmt.Sprintf("test%d", c.databases)
	c.mu.Unlock()
	return name, c.administer(ctx, "CREATE DATABASE "+name+" OWNER "+Owner+" TEMPLATE template0")
}

func (c *cluster) url(user, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", user, c.port, database)
}

// administer runs a statement as the superuser.
func (c *cluster) administer(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, c.url(Superuser, "postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	conn.Close(ctx)
	return err
}

func (c *cluster) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		c.server.stop()
	}
	if c.dir != "" {
		os.RemoveAll(c.dir)
	}
}
