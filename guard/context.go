package guard

import (
	"context"
	"log/slog"

	"github.com/tenantry/tenantry/tenant"
)

// TenantHeader is the header that names a tenant, in the canonical form of net/http.
const TenantHeader = "X-Tenant-Code"

// Line is what the log lines of a request say of it. Identity is in a context for log lines only: nothing but the log handler
// of this package reads it back, and no access is ever decided by it.
type Line struct {
	requestID string
	userID    string
	tenant    tenant.Code
	known     bool
}

type lineKey struct{}

// WithLine returns a context whose log lines carry the request's ID, and the Line in it.
func WithLine(ctx context.Context, requestID string) (context.Context, *Line) {
	l := &Line{requestID: requestID}
	return context.WithValue(ctx, lineKey{}, l), l
}

// Set adds who acts in which tenant. It is called before the context is used by several goroutines.
func (l *Line) Set(a Actor, code tenant.Code) {
	l.userID, l.tenant, l.known = a.UserID, code, true
}

// NewLogHandler returns a handler that adds tenantCode, userId and requestId of the context to every line. One that does
// already is returned as it is.
func NewLogHandler(next slog.Handler) slog.Handler {
	if h, ok := next.(logHandler); ok {
		return h
	}
	return logHandler{next}
}

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, line slog.Record) error {
	if l, ok := ctx.Value(lineKey{}).(*Line); ok {
		if l.known {
			line.AddAttrs(slog.String("tenantCode", l.tenant.String()), slog.String("userId", l.userID))
		}
		line.AddAttrs(slog.String("requestId", l.requestID))
	}
	return h.Handler.Handle(ctx, line)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
