package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/record"
)

// target says whose API a verb calls.
type target struct {
	Server string `group:"where" placeholder:"URL" help:"Call a running server, with --token. Without it, the store that the flags below name is used, in the name of this system user."`
	Token  string `group:"where" placeholder:"TOKEN" help:"Bearer token for --server; better in the environment, where other users don't see it."`
	store
	rules
}

// connect returns a client of the API. The caller calls close at the end. With create, a store that isn't there is begun.
func (t target) connect(ctx context.Context, std IO, create bool) (c *client.Client, closed func() error, err error) {
	return t.connectTo(ctx, std, create, func(*tenantry.App) error { return nil })
}

// connectWorking is connect to what works on what is ordered: where that is this process, jobs run until close is called.
func (t target) connectWorking(ctx context.Context, std IO) (c *client.Client, closed func() error, err error) {
	return t.connectTo(ctx, std, false, func(app *tenantry.App) error { return app.Start(ctx) })
}

func (t target) connectTo(ctx context.Context, std IO, create bool, opened func(*tenantry.App) error) (c *client.Client, closed func() error, err error) {
	if t.Server != "" {
		if t.Token == "" {
			return nil, nil, fault.New(fault.InvalidRequest, "cli", "a server needs a token: --token or TENANTRY_TOKEN")
		}
		c, err = client.New(client.Config{Server: t.Server, Token: t.Token})
		return c, func() error { return nil }, err
	}
	if !create {
		if err := t.exists(); err != nil {
			return nil, nil, err
		}
	}
	cfg, err := t.config()
	if err == nil {
		err = t.model(&cfg)
	}
	if err != nil {
		return nil, nil, err
	}
	cfg.ModelAsFound = true
	log := quietLog(std.Err)
	app, err := t.open(ctx, cfg, log)
	if err != nil {
		return nil, nil, err
	}
	if c, err = local(app, log); err == nil {
		err = opened(app)
	}
	if err != nil {
		return nil, nil, errors.Join(err, app.Close())
	}
	return c, app.Close, nil
}

// local returns a client of app's API in this process, for a system admin named after the user of the operating system. The
// token never leaves the process.
func local(app *tenantry.App, log *slog.Logger) (*client.Client, error) {
	handler, err := httpapi.New(app, httpapi.Config{Log: log})
	if err != nil {
		return nil, err
	}
	token, err := app.Keyring().Issue(operator())
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Token: token, Transport: client.Handler(handler)})
}

// system returns the right to cross tenants to the operator, for verbs that the API doesn't have.
func system(ctx context.Context, app *tenantry.App, reason string) (guard.System, error) {
	token, err := app.Keyring().Issue(operator())
	if err != nil {
		return guard.System{}, err
	}
	principal, err := app.Verifier().Verify(ctx, token)
	if err != nil {
		return guard.System{}, err
	}
	return app.System(principal, guard.Actor{RequestID: record.NewID(), SourceIP: "127.0.0.1", Source: reason}, reason)
}

// across opens the store that is there for the operator, with the right to cross tenants, for verbs that the API doesn't have, and closes it.
func (s store) across(ctx context.Context, std IO, reason string, use func(*tenantry.App, guard.System) error) (err error) {
	if err := s.exists(); err != nil {
		return err
	}
	app, err := s.open(ctx, tenantry.Config{}, quietLog(std.Err))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	sys, err := system(ctx, app, reason)
	if err != nil {
		return err
	}
	return use(app, sys)
}

// operator is who the verbs act for.
func operator() auth.Claims {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	return auth.Claims{Subject: subjectOf(name), Role: auth.SystemAdmin, TTL: time.Hour}
}

// subjectOf returns the sub of a user of the operating system: "cli:" and the name, with _ for what a sub may not hold.
func subjectOf(name string) string {
	sub := "cli:" + strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '#' {
			return '_'
		}
		return r
	}, name)
	return sub[:min(len(sub), 255)]
}

// quietLog returns a log that says only what went wrong inside.
func quietLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelError}))
}
