package guard

import (
	"context"
	"log/slog"

	"github.com/tenantry/tenantry/tenant"
)

// TenantHeader is the header that names a tenant, in the canonical form of net/http.
const TenantHeader = "X-Tenant-Code"

// What log lines say of a request. Identity is in a context for log lines only: nothing but the log handler of this
// package reads it back, and no access is ever decided by it.
type requestLine struct{ requestID string }

type actorLine struct {
	tenant    tenant.Code
	userID    string
	requestID string
}

type lineKey struct{}

// WithRequest returns a context whose log lines carry the request's ID.
func WithRequest(ctx context.Context, requestID string) context.Context {
	return context.WithValue(ctx, lineKey{}, requestLine{requestID})
}

// WithActor returns a context whose log lines carry tenant, user and request ID.
func WithActor(ctx context.Context, a Actor, code tenant.Code) context.Context {
	return context.WithValue(ctx, lineKey{}, actorLine{tenant: code, userID: a.UserID, requestID: a.RequestID})
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
	switch l := ctx.Value(lineKey{}).(type) {
	case requestLine:
		line.AddAttrs(slog.String("requestId", l.requestID))
	case actorLine:
		line.AddAttrs(slog.String("tenantCode", l.tenant.String()), slog.String("userId", l.userID), slog.String("requestId", l.requestID))
	}
	return h.Handler.Handle(ctx, line)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
