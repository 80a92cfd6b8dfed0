// Package httpapi serves an application over HTTP: it holds the order of checks for every operation, writes problems, describes
// itself in OpenAPI 3.1, and watches what it does.
//
// The order is: route, ambiguous request, token, tenants in header, query and path, role, size and form of the body, tenants in the
// body, schema, idempotency, and last the handler with its version. Nothing about an object is said before its tenant is decided.
package httpapi

import (
	"cmp"
	"context"
	"crypto/cipher"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/route"
)

// Config configures a Handler. Its zero value serves.
type Config struct {
	// MaxBody is the size of the largest body, in bytes. Defaults to 1 MiB.
	MaxBody int64

	// Timeout bounds one request. Defaults to 30 seconds.
	Timeout time.Duration

	// RateLimit is how many requests per second each tenant may make, with as many at once. Defaults to no limit.
	RateLimit int

	// AtOnce is how many requests of each tenant are served at a time, and Waiting how many more wait for their turn; what is beyond is
	// refused with 429. So a tenant that sends more than it is served costs itself time, and the others little. Default to 64 and 256.
	AtOnce, Waiting int

	// Origins are the exact origins that browsers may call from. Defaults to none: CORS is off.
	Origins []string

	// TLS says that the server is reached over HTTPS only, and has browsers remember it (HSTS). Defaults to false.
	TLS bool

	// Log defaults to slog.Default. Lines written inside a request get its tenant, user and ID.
	Log *slog.Logger

	// Tracer defaults to none: nothing is traced.
	Tracer trace.Tracer

	// Now defaults to time.Now.
	Now func() time.Time
}

// Handler is an application's HTTP API. It may be used concurrently.
type Handler struct {
	app      *tenantry.App
	cfg      Config
	mux      *http.ServeMux
	document *document
	metrics  *Metrics
	limits   *limits
	denied   *denials
	running  running
	ending   context.Context // done when the server shuts down: streams end then
	end      context.CancelFunc
	outer    http.Handler

	sealer    cipher.AEAD // of confidential answers
	positions cipher.AEAD // seals places in the change feed
}

// New returns the Handler of an application. It fails with fault.InvalidRequest, naming the operation, where one has no policy, no
// handler, or the ID or the path of another.
func New(app *tenantry.App, cfg Config) (*Handler, error) {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 1 << 20
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	cfg.AtOnce, cfg.Waiting = cmp.Or(cfg.AtOnce, 64), cmp.Or(cfg.Waiting, 256)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Log = slog.New(guard.NewLogHandler(cfg.Log.Handler()))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Handler{app: app, cfg: cfg, mux: http.NewServeMux(), metrics: newMetrics(),
		limits: newLimits(cfg.RateLimit, cfg.AtOnce, cfg.Waiting), denied: newDenials(cfg.Log, cfg.Now)}
	h.metrics.registry.MustRegister(handlerMetrics{app.Handlers()})
	if keeper := app.Upkeep(); keeper != nil {
		h.metrics.registry.MustRegister(readModelMetrics{keeper})
	}
	h.ending, h.end = context.WithCancel(context.Background())
	for of, aead := range map[string]*cipher.AEAD{"kept answers": &h.sealer, "positions": &h.positions} {
		var err error
		if *aead, err = newSealer(app.Keyring().Secret(of)); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "httpapi.New", "encryption can't be set up")
		}
	}
	ops := app.Operations()
	if err := check(ops); err != nil {
		return nil, err
	}
	h.document = describe(ops, app)
	for i := range ops {
		h.serve(ops[i].Method, ops[i].Path, h.operation(&ops[i]))
	}
	if err := h.servePublic(); err != nil {
		return nil, err
	}
	h.mux.HandleFunc("/", h.unknown)
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1024), gzhttp.ContentTypes([]string{"application/json", "application/problem+json", "text/csv", "text/html", "text/css", "text/javascript", "application/yaml"}))
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "httpapi.New", "compression can't be set up")
	}
	h.outer = h.observe(h.secure(h.bounded(whereAsked(h.mux, compress(h.mux)))))
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.outer.ServeHTTP(w, r) }

// Metrics returns what the Handler counts, for the operator's address.
func (h *Handler) Metrics() *Metrics { return h.metrics }

func (h *Handler) serve(method, path string, next http.HandlerFunc) {
	h.mux.HandleFunc(method+" "+path, h.unrepeated(next))
}

// check refuses operations that nobody decided about.
func check(ops []route.Operation) error {
	ids := map[string]bool{}
	paths := map[string]bool{}
	for _, op := range ops {
		problem := ""
		switch {
		case op.ID == "" || op.Method == "" || op.Path == "" || op.Summary == "":
			problem = "lacks its ID, method, path or summary"
		case op.Policy.Reach == 0:
			problem = "declares no policy"
		case op.Handle == nil:
			problem = "has no handler"
		case len(op.Answers) == 0:
			problem = "declares no answer"
		case ids[op.ID]:
			problem = "has the ID of another operation"
		case paths[op.Method+" "+op.Path]:
			problem = "has the path of another operation"
		}
		if problem != "" {
			return fault.New(fault.InvalidRequest, "httpapi.New", "operation %s (%s %s) %s; the server does not start", op.ID, op.Method, op.Path, problem)
		}
		ids[op.ID], paths[op.Method+" "+op.Path] = true, true
	}
	return nil
}

// ListenAndServe starts app and serves its API on addr until ctx ends, then waits for the requests under way, 15 seconds at
// most. It is what a program's main needs; one that needs more uses New.
func ListenAndServe(ctx context.Context, app *tenantry.App, addr string, cfg Config) error {
	h, err := New(app, cfg)
	if err != nil {
		return err
	}
	if err := app.Start(ctx); err != nil {
		return err
	}
	server := h.Server()
	server.Addr = addr
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		stopped <- Shutdown(grace, server)
	})
	if err := server.ListenAndServe(); stop() || !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// Server makes an http.Server that serves h with limits for slow and hostile clients. The caller listens, and shuts it down, which
// ends h's event streams.
func (h *Handler) Server() *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       h.cfg.Timeout + 30*time.Second,
		WriteTimeout:      h.cfg.Timeout + 60*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    2 << 20, // what is longer than maxTarget and maxHeader is answered with a problem up to here

		// OPTIONS * comes to h like every other request.
		DisableGeneralOptionsHandler: true,

		ErrorLog: slog.NewLogLogger(h.cfg.Log.Handler(), slog.LevelWarn),
	}
	s.RegisterOnShutdown(h.end)
	return s
}

// Shutdown ends a server that Server made: it stops listening, waits for the requests under way until ctx ends, and then
// closes their connections.
func Shutdown(ctx context.Context, s *http.Server) error {
	if err := s.Shutdown(ctx); err != nil {
		return s.Close()
	}
	return nil
}
