package guard

import (
	"context"
	"log/slog"
	"slices"

	"github.com/tenantry/tenantry/tenant"
)

// TenantHeader is the header that names a tenant, in the canonical form of net/http.
const TenantHeader = "X-Tenant-Code"

// Line is what the log lines of a request say of it. Identity is in a context for log lines only: nothing but the log handler
// of this package reads it back, and no access is ever decided by it.
type Line struct {
	requestID string
	userID    string
	actUserID string // who acts for the user by support access, "" for the user
	tenant    tenant.Code
	known     bool
}

type lineKey struct{}

// lineContext is a context with a Line in it.
type lineContext struct {
	context.Context
	line Line
}

func (c *lineContext) Value(key any) any {
	if key == (lineKey{}) {
		return &c.line
	}
	return c.Context.Value(key)
}

// WithLine returns a context whose log lines carry the request's ID, and the Line in it.
func WithLine(ctx context.Context, requestID string) (context.Context, *Line) {
	c := &lineContext{Context: ctx, line: Line{requestID: requestID}}
	return c, &c.line
}

// Set adds who acts in which tenant. It is called before the context is used by several goroutines.
func (l *Line) Set(a Actor, code tenant.Code) {
	l.userID, l.actUserID, l.tenant, l.known = a.UserID, a.ActUserID, code, true
}

// NewLogHandler returns a handler that adds tenantCode, userId (with support access also actUserId) and requestId of the context to every line, outside of the
// logger's groups. One that does already is returned as it is.
func NewLogHandler(next slog.Handler) slog.Handler {
	if h, ok := next.(logHandler); ok {
		return h
	}
	return logHandler{Handler: next, outside: next}
}

type logHandler struct {
	slog.Handler

	outside slog.Handler                      // as it was before the first group
	inside  []func(slog.Handler) slog.Handler // the first group and what came after it; empty without groups
}

func (h logHandler) Handle(ctx context.Context, line slog.Record) error {
	l, ok := ctx.Value(lineKey{}).(*Line)
	if !ok {
		return h.Handler.Handle(ctx, line)
	}
	if len(h.inside) == 0 {
		var attrs [4]slog.Attr
		line = line.Clone() // other handlers may hold it too
		line.AddAttrs(l.append(attrs[:0])...)
		return h.Handler.Handle(ctx, line)
	}
	next := h.outside.WithAttrs(l.append(nil))
	for _, again := range h.inside {
		next = again(next)
	}
	return next.Handle(ctx, line)
}

// append appends to attrs what a log line says of the request.
func (l *Line) append(attrs []slog.Attr) []slog.Attr {
	if l.known {
		attrs = append(attrs, slog.String("tenantCode", l.tenant.String()), slog.String("userId", l.userID))
		if l.actUserID != "" {
			attrs = append(attrs, slog.String("actUserId", l.actUserID))
		}
	}
	return append(attrs, slog.String("requestId", l.requestID))
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(h.inside) == 0 {
		next := h.Handler.WithAttrs(attrs)
		return logHandler{Handler: next, outside: next}
	}
	return h.within(func(next slog.Handler) slog.Handler { return next.WithAttrs(attrs) })
}

func (h logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.within(func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

func (h logHandler) within(more func(slog.Handler) slog.Handler) slog.Handler {
	return logHandler{Handler: more(h.Handler), outside: h.outside, inside: append(slices.Clip(h.inside), more)}
}
