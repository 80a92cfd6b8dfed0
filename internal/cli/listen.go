package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/httpapi"
)

// grace is how long requests under way may take after the server was asked to end.
const grace = 15 * time.Second

// listeners are the addresses of a server.
type listeners struct {
	api, admin net.Listener // admin is nil where there is none
	scheme     string
}

func (v *serve) listen() (l *listeners, err error) {
	l = &listeners{scheme: "http"}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	var certificate tls.Certificate
	if v.TLSCert != "" {
		l.scheme = "https"
		if certificate, err = tls.LoadX509KeyPair(v.TLSCert, v.TLSKey); err != nil {
			return l, fault.Wrap(err, fault.InvalidRequest, "cli.serve", "the certificate can't be used: %v", err)
		}
	}
	if l.api, err = listen("--addr", v.Addr); err != nil {
		return l, err
	}
	if v.TLSCert != "" {
		l.api = tls.NewListener(l.api, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}})
	}
	if v.AdminAddr != "" {
		l.admin, err = listen("--admin-addr", v.AdminAddr)
	}
	return l, err
}

func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fault.Wrap(err, fault.Unavailable, "cli.serve", "%s: another program listens on %s; end it, or choose another address", flag, addr)
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.Wrap(err, fault.InvalidRequest, "cli.serve", "%s: this user may not listen on %s; choose a port from 1024 on", flag, addr)
	}
	return nil, fault.Wrap(err, fault.InvalidRequest, "cli.serve", "%s: %v; the form is HOST:PORT, as 127.0.0.1:8080", flag, err)
}

// url returns the server's address as it is reached from this machine.
func (l *listeners) url() string {
	addr := l.api.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return l.scheme + "://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// ready is the line that says that the server serves.
func (l *listeners) ready() string {
	line := "Tenantry is ready at " + l.url() + " (the API is described at " + l.url() + "/docs/"
	if l.admin != nil {
		line += ", metrics are at http://" + l.admin.Addr().String() + "/metrics"
	}
	return line + ")\n"
}

func (l *listeners) close() {
	for _, one := range []net.Listener{l.api, l.admin} {
		if one != nil {
			one.Close()
		}
	}
}

// serve serves until ctx ends, and then waits for the requests under way.
func (l *listeners) serve(ctx context.Context, h *httpapi.Handler, log *slog.Logger) error {
	servers := map[*http.Server]net.Listener{h.Server(): l.api}
	if l.admin != nil {
		servers[&http.Server{Handler: h.AdminHandler(), ReadHeaderTimeout: 10 * time.Second}] = l.admin
	}
	running, ctx := errgroup.WithContext(ctx)
	for server, listener := range servers {
		running.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fault.Wrap(err, fault.Unavailable, "cli.serve", "the server stopped listening: %v", err)
			}
			return nil
		})
	}
	running.Go(func() error {
		<-ctx.Done()
		log.Info("ending; requests under way may finish", "seconds", grace.Seconds())
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		var closing errgroup.Group
		for server := range servers {
			closing.Go(func() error { return httpapi.Shutdown(ending, server) })
		}
		return closing.Wait()
	})
	return running.Wait()
}
