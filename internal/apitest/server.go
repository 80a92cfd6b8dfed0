package apitest

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/tenantrytest"
)

// Options are the options of a Server.
type Options struct {
	App  tenantry.Config // its Issuers default to the server's IdP alone, its Model to the guide's, its Store to a new one of the engine under test, with a database for its Model where that holds none
	HTTP httpapi.Config

	Tenants []string // that exist from the beginning
	Keys    []any    // in the key set of the IdP, beside k1
}

// Server is a server under test, on a port of 127.0.0.1. It may be used concurrently.
type Server struct {
	App     *tenantrytest.App
	Handler *httpapi.Handler
	IdP     *IdP
	Log     *Log
	Doc     *Doc
	URL     string
	Addr    string

	client *http.Client
	served chan error
}

// Start starts a server, until the test ends.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := &Server{Log: &Log{}, served: make(chan error, 1)}
	clock := tenantrytest.NewClock()
	if opts.App.Now == nil {
		opts.App.Now = clock.Now
	}
	if opts.HTTP.Now == nil {
		opts.HTTP.Now = generous(opts.App.Now)
	}
	s.IdP = NewIdP(t, opts.App.Now, opts.Keys...)
	if opts.App.Issuers == nil {
		opts.App.Issuers = []auth.Issuer{s.IdP.Issuer()}
	}
	log := slog.New(slog.NewJSONHandler(s.Log, nil))
	if opts.App.Store.Name() == "" {
		opts.App.Store = newStore(t, opts.App.Entities, log)
		if opts.App.ReadModel.Name() == "" {
			opts.App.ReadModel = newReadModel(t)
		}
		if opts.App.Model == nil {
			var err error
			if opts.App.Model, err = readmodel.New(readmodel.Guide()); err != nil {
				t.Fatal(err)
			}
		}
	}
	opts.App.Log, opts.HTTP.Log = log, log
	s.App = tenantrytest.New(t, opts.App)
	s.App.Clock = clock
	s.App.Tenant(opts.Tenants...)
	var err error
	if s.Handler, err = httpapi.New(s.App.App, opts.HTTP); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = listener.Addr().String()
	s.URL = "http://" + s.Addr
	s.client = &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
	server := s.Handler.Server()
	go func() { s.served <- server.Serve(listener) }()
	t.Cleanup(func() { s.stop(t, server) })
	s.Doc = s.readDoc(t)
	return s
}

func (s *Server) stop(t testing.TB, server *http.Server) {
	s.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := httpapi.Shutdown(ctx, server); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-s.served; err != http.ErrServerClosed {
		t.Errorf("serve: %v", err)
	}
	for _, line := range s.Log.Broken() {
		t.Errorf("the log holds what is not one JSON object in a line: %q", line)
	}
}

// generous is a clock that goes on by a second each time it is read, so that lines about denials are not held back: a test
// makes more attempts than an honest source.
func generous(now func() time.Time) func() time.Time {
	var clock tenantrytest.Clock
	return func() time.Time {
		clock.Advance(time.Second)
		return now().Add(clock.Now().Sub(time.Time{}))
	}
}

// Token returns the token of a user named role@tenant, "admin@alpha", or role alone for one that is bound to no tenant: their
// role holds everywhere then. "" has none.
func (s *Server) Token(user string) string {
	if user == "" {
		return ""
	}
	return s.IdP.Token(user, claimsOf(user))
}

// Eventually waits until ok returns true, for what a server does after it answered. It fails the test after 10 seconds.
func Eventually(t testing.TB, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(10 * time.Second); !ok(); <-poll.C {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 10 seconds")
		}
	}
}
