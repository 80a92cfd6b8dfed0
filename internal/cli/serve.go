package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/internal/demo"
)

// serve is the verb that runs the server.
type serve struct {
	Addr      string  `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to listen on; port 0 takes a free one. Defaults to 127.0.0.1:8080."`
	AdminAddr string  `placeholder:"HOST:PORT" help:"Address of metrics and profiles, for operators only. Off unless given; with --demo a free port on 127.0.0.1."`
	Demo      bool    `help:"Begin with three tenants and their data, and print tokens and calls to try."`
	LogLevel  *string `enum:"debug,info,warn,error" placeholder:"LEVEL" help:"debug, info, warn or error. Defaults to info, with --demo to warn."`
	TLSCert   string  `name:"tls-cert" placeholder:"FILE" help:"Certificate chain in PEM; with --tls-key the server speaks HTTPS."`
	TLSKey    string  `name:"tls-key" placeholder:"FILE" help:"Private key in PEM."`

	Data string `group:"where" placeholder:"DIR" help:"Data directory, with the store and the keys that sign tokens. Defaults to tenantry-data, with --demo to tenantry-data/demo."`
	engine

	Auth         []string `group:"issuers" sep:"none" placeholder:"ISSUER" help:"An issuer of tokens: issuer=NAME,audience=NAME[,jwks=FILE or URL][,tenants=acme;bravo or *][,cross-tenant=true][,prefix=custom:]. Without jwks its keys are found by OIDC discovery. May be repeated; in the environment, one on a line."`
	AuthIssuer   string   `group:"issuers" placeholder:"NAME" help:"Short form for one issuer: what its tokens have as iss."`
	AuthJWKS     string   `name:"auth-jwks" group:"issuers" placeholder:"SOURCE" help:"Short form for one issuer: the file or URL of its keys. Without it they are found by OIDC discovery."`
	AuthAudience string   `group:"issuers" placeholder:"NAME" help:"Short form for one issuer: what its tokens must have as aud, or as client_id."`

	RateLimit      int           `group:"limits" default:"2000" help:"Requests per second and tenant; 0 for no limit. Defaults to 2000."`
	RequestTimeout time.Duration `group:"limits" default:"30s" help:"How long one request may take. Defaults to 30s."`
	MaxBody        int64         `group:"limits" default:"1048576" placeholder:"BYTES" help:"Size of the largest body. Defaults to 1048576."`
	RequestsAtOnce int           `group:"limits" default:"64" help:"Requests of each tenant that are served at a time; four times as many wait for their turn, and others are refused. Defaults to 64."`
	CORSOrigin     []string      `name:"cors-origin" group:"limits" placeholder:"ORIGIN" help:"An origin that browsers may call from, as https://app.example; may be repeated. Defaults to none."`

	WebhookAllow []string `group:"limits" placeholder:"CIDR" help:"A network that webhooks may reach although it is not public, as 10.1.0.0/16; may be repeated. Defaults to none."`

	rules
}

// Help implements kong.HelpProvider.
func (serve) Help() string {
	return `One line on standard output says where the server listens, once it does; the log is JSON on standard error. SIGINT and SIGTERM
end it: requests under way have 15 seconds. Examples:

    tenantry serve --demo
    tenantry serve --data /var/lib/tenantry --addr 0.0.0.0:8443 --tls-cert tls.crt --tls-key tls.key
    tenantry serve --store postgres --store-url postgres://tenantry@db.example/tenantry
    tenantry serve --auth-issuer https://idp.example --auth-audience my-app --admin-addr 127.0.0.1:9090`
}

// Run runs the verb.
func (v serve) Run(ctx context.Context, std IO) (err error) {
	if err := v.check(); err != nil {
		return err
	}
	issuers, err := v.issuers()
	if err != nil {
		return err
	}
	v.setDefaults()
	log := v.log(std.Err)
	l, err := v.listen()
	if err != nil {
		return err
	}
	defer l.close()
	receiver, err := v.receiver()
	if err != nil {
		return err
	}
	if receiver != nil {
		defer receiver.Close() // after the App
	}
	metrics := newStoreMetrics()
	app, err := v.open(ctx, issuers, log, metrics, receiver)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, app.Close()); err == nil {
			log.Info("ended")
		}
	}()
	handler, err := httpapi.New(app, httpapi.Config{MaxBody: v.MaxBody, Timeout: v.RequestTimeout, RateLimit: v.RateLimit, AtOnce: v.RequestsAtOnce, Waiting: 4 * v.RequestsAtOnce,
		Origins: v.CORSOrigin, TLS: v.TLSCert != "", Log: log})
	if err != nil {
		return err
	}
	if err := handler.Metrics().Register(metrics, metrics.caches, metrics.jobs); err != nil {
		return err
	}
	if err := app.Start(ctx); err != nil {
		return err
	}
	banner, err := v.banner(ctx, app, l, receiver)
	if err != nil {
		return err
	}
	fmt.Fprint(std.Out, l.ready(), banner)
	log.InfoContext(ctx, "serving", "url", l.url(), "version", tenantry.Version(), "store", v.Store, "data", v.Data, "issuers", len(issuers))
	settle()
	return l.serve(ctx, handler, log)
}

// settle gives back what starting took and serving doesn't need.
func settle() {
	runtime.GC() // pools are empty after the second collection
	debug.FreeOSMemory()
	forgetProgram()
}

// check returns what the flags can't say each for itself.
func (v *serve) check() error {
	var problems []fault.Field
	add := func(field, problem string) {
		problems = append(problems, fault.Field{Field: field, Problem: problem})
	}
	if v.RateLimit < 0 {
		add("--rate-limit", "is 0 or more requests per second")
	}
	if v.RequestsAtOnce < 1 {
		add("--requests-at-once", "is 1 or more requests")
	}
	if v.MaxBody < 1 {
		add("--max-body", "is at least 1 byte")
	}
	if v.RequestTimeout <= 0 {
		add("--request-timeout", "is longer than 0, as 30s")
	}
	if (v.TLSCert == "") != (v.TLSKey == "") {
		add("--tls-cert, --tls-key", "go together; one of them is missing")
	}
	for _, origin := range v.CORSOrigin {
		if scheme, host, ok := strings.Cut(origin, "://"); !ok || scheme == "" || host == "" || strings.ContainsAny(host, "/*") {
			add("--cors-origin", "is an exact origin without a path, as https://app.example")
		}
	}
	for _, network := range v.WebhookAllow {
		if _, err := netip.ParsePrefix(network); err != nil {
			add("--webhook-allow", "is a network in CIDR notation, as 10.1.0.0/16")
		}
	}
	if problems != nil {
		return fault.Invalid("cli.serve", problems...)
	}
	if err := v.engine.check(); err != nil {
		return err
	}
	_, err := v.masterKey()
	return err
}

func (v *serve) setDefaults() {
	if v.Data == "" {
		v.Data = "tenantry-data"
		if v.Demo {
			v.Data = filepath.Join(v.Data, "demo")
		}
	}
	if v.Demo && v.AdminAddr == "" {
		v.AdminAddr = "127.0.0.1:0"
	}
}

func (v *serve) log(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if v.Demo {
		level = slog.LevelWarn
	}
	if v.LogLevel != nil {
		level = map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}[*v.LogLevel]
	}
	return slog.New(guard.NewLogHandler(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})))
}

// receiver starts what receives the demo's webhook: nothing without --demo, and on a store whose other servers would not trust it.
func (v *serve) receiver() (*demo.Receiver, error) {
	if !v.Demo || v.isShared() {
		return nil, nil
	}
	return demo.Listen()
}

// open opens the App. Its webhooks reach the receiver, if there is one.
func (v *serve) open(ctx context.Context, issuers []auth.Issuer, log *slog.Logger, metrics *storeMetrics, receiver *demo.Receiver) (*tenantry.App, error) {
	var declared []entity.Type
	if v.Demo {
		declared = demo.Types()
	}
	cfg, err := v.config(declared...)
	if err != nil {
		return nil, err
	}
	if err := v.model(&cfg); err != nil {
		return nil, err
	}
	cfg.Issuers = issuers
	cfg.Observe, cfg.ObserveCache, cfg.ObserveJob = metrics.observe, metrics.observeCache, metrics.observeJob
	for _, network := range v.WebhookAllow {
		cfg.Webhooks.Allow = append(cfg.Webhooks.Allow, netip.MustParsePrefix(network))
	}
	if receiver != nil {
		receiver.Allow(&cfg.Webhooks)
	}
	return store{directory{v.Data}, v.engine}.open(ctx, cfg, log)
}

// issuers returns the external issuers, those of --auth and that of the short form.
func (v *serve) issuers() ([]auth.Issuer, error) {
	var issuers []auth.Issuer
	for text := range strings.SplitSeq(strings.Join(v.Auth, "\n"), "\n") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		iss, err := auth.ParseIssuer(text)
		if err != nil {
			return nil, err
		}
		issuers = append(issuers, iss)
	}
	if v.AuthIssuer == "" && v.AuthJWKS == "" && v.AuthAudience == "" {
		return issuers, nil
	}
	if v.AuthIssuer == "" || v.AuthAudience == "" {
		return nil, fault.Invalid("cli.serve", fault.Field{Field: "--auth-issuer, --auth-audience", Problem: "go together; one of them is missing"})
	}
	iss := auth.Issuer{Name: v.AuthIssuer, Audience: v.AuthAudience, Keys: auth.KeyFile(v.AuthJWKS)}
	switch {
	case v.AuthJWKS == "":
		iss.Keys = auth.Discovery{}
	case strings.Contains(v.AuthJWKS, "://"):
		iss.Keys = auth.KeyURL(v.AuthJWKS)
	}
	return append(issuers, iss), nil
}
