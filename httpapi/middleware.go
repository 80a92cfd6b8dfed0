package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// state is what is known of a request while it is served, for its log line, its metrics and its problem.
type state struct {
	requestID string
	sourceIP  string
	operation string
	tenant    tenant.Code
	code      fault.Code
	line      *guard.Line

	whole context.Context // the request's, without the limit of time
	out   *recorder       // past everything that could hold an answer back
}

type stateKey struct{}

func stateOf(r *http.Request) *state {
	s, _ := r.Context().Value(stateKey{}).(*state)
	return s
}

// recorder remembers the status that was written.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// observe gives every request an ID, a deadline, a span, one log line and its place in the metrics, and turns a panic
// into a problem.
func (h *Handler) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		st := &state{requestID: requestID(r), sourceIP: sourceIP(r)}
		st.whole = r.Context()
		ctx, cancel := context.WithTimeout(context.WithValue(st.whole, stateKey{}, st), h.cfg.Timeout)
		defer cancel()
		ctx, st.line = guard.WithLine(ctx, st.requestID)
		if r.Header.Get("Traceparent") != "" {
			ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
		}
		ctx, span := h.cfg.Tracer.Start(ctx, knownMethod(r.Method), trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		r = r.WithContext(ctx)
		rec := &recorder{ResponseWriter: w}
		st.out = rec
		w.Header().Set("X-Request-Id", st.requestID)
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				h.cfg.Log.ErrorContext(ctx, "panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if rec.status == 0 {
					h.fail(rec, r, fault.New(fault.Internal, "httpapi", "the request failed inside the server; its request ID finds the cause in the log"))
				}
			}
			h.finish(ctx, r, rec, st, span, time.Since(began))
		}()
		next.ServeHTTP(rec, r)
	})
}

func (h *Handler) finish(ctx context.Context, r *http.Request, rec *recorder, st *state, span trace.Span, took time.Duration) {
	if span.IsRecording() {
		span.SetAttributes(attribute.String("http.route", st.operation), attribute.Int("http.response.status_code", rec.status),
			attribute.String("tenant.code", st.tenant.String()), attribute.String("request.id", st.requestID))
		if rec.status >= 500 {
			span.SetStatus(codes.Error, string(st.code))
		}
	}
	h.metrics.request(st.operation, rec.status, st.tenant, took)
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs, slog.String("method", knownMethod(r.Method)), slog.String("path", shownPath(r)), slog.Int("status", rec.status),
		slog.Int("bytes", rec.bytes), slog.Float64("ms", float64(took.Microseconds())/1000), slog.String("sourceIp", st.sourceIP))
	if st.code != "" {
		attrs = append(attrs, slog.String("code", string(st.code)))
	}
	h.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}

// shownPath returns the path as log lines repeat it: escaped, and not longer than a path that is served.
func shownPath(r *http.Request) string {
	path := r.URL.EscapedPath()
	if len(path) > maxTarget {
		return path[:maxTarget] + "…"
	}
	return path
}

// requestID returns the caller's request ID where it is 1 to 128 of letters, digits, dot, dash and underscore, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	ok := id != "" && len(id) <= 128
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
	}
	if !ok {
		return record.NewID()
	}
	return id
}

func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Values of headers that every answer has; shared, so nobody appends to them.
var (
	noSniff      = []string{"nosniff"}
	denyFrames   = []string{"DENY"}
	noReferrer   = []string{"no-referrer"}
	nothingLoads = []string{"default-src 'none'; frame-ancestors 'none'"}
	noStore      = []string{"no-store"}
	jsonType     = []string{"application/json"}
)

// secure sets the headers that keep browsers from being turned against the API, and answers CORS for listed origins.
func (h *Handler) secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header["X-Content-Type-Options"] = noSniff
		header["X-Frame-Options"] = denyFrames
		header["Referrer-Policy"] = noReferrer
		header["Content-Security-Policy"] = nothingLoads
		header["Cache-Control"] = noStore
		if h.cfg.TLS {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if len(h.cfg.Origins) > 0 && h.cors(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// cors answers a preflight, and reports whether it did.
func (h *Handler) cors(w http.ResponseWriter, r *http.Request) bool {
	header := w.Header()
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(h.cfg.Origins, origin) {
		return false
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "ETag, Location, Retry-After, X-Request-Id, X-Tenantry-Position")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id, X-Tenant-Code, X-Tenantry-Position")
	header.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// Limits of the parts of a request that come before its body, in bytes.
const (
	maxTarget = 8 << 10
	maxHeader = 32 << 10
)

// bounded refuses what no route can be found for, because it is too long or because two readers could find different ones.
func (h *Handler) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checkHead(r); err != nil {
			h.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func checkHead(r *http.Request) error {
	if len(r.URL.EscapedPath())+len(r.URL.RawQuery) > maxTarget {
		e := fault.New(fault.TooLarge, "httpapi", "the request target is longer than 8 KiB")
		e.Status = http.StatusRequestURITooLong
		return e
	}
	size := 0
	for name, values := range r.Header {
		for _, v := range values {
			if name != "Authorization" { // a token has its own limit, and its own answer
				size += len(name) + len(v)
			}
		}
	}
	if size > maxHeader {
		e := fault.New(fault.TooLarge, "httpapi", "the headers are longer than 32 KiB")
		e.Status = http.StatusRequestHeaderFieldsTooLarge
		return e
	}
	if !cleanPath(r.URL.EscapedPath(), r.URL.Path) {
		return fault.New(fault.InvalidRequest, "httpapi", "the path is ambiguous: it has an empty, . or .. segment, or characters that can't be printed")
	}
	return nil
}

// single are the headers that a request carries once at most.
var single = []string{"Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-Id", "X-Request-Id", positionHeader, guard.TenantHeader}

// unrepeated refuses headers of which two readers could read different ones.
func (h *Handler) unrepeated(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, name := range single {
			if len(r.Header[name]) > 1 {
				h.fail(w, r, fault.New(fault.InvalidRequest, "httpapi", "the header %s is sent more than once", name))
				return
			}
		}
		next(w, r)
	}
}

// cleanPath reports whether a path has one reading: no empty, dot or dot-dot segment, however it is written, and only
// characters that can be printed.
func cleanPath(escaped, decoded string) bool {
	if !strings.HasPrefix(escaped, "/") || !printable(decoded) {
		return false
	}
	segments := escaped[1:]
	for more := true; more; {
		var segment string
		segment, segments, more = strings.Cut(segments, "/")
		if segment == "" && escaped != "/" {
			return !more && !strings.HasSuffix(escaped, "//") // a trailing slash is a route that isn't there
		}
		if len(segment) <= 6 && isDots(segment) {
			return false
		}
	}
	return true
}

func isDots(segment string) bool {
	plain := strings.ReplaceAll(strings.ReplaceAll(segment, "%2e", "."), "%2E", ".")
	return plain == "." || plain == ".."
}

// printable reports whether text is UTF-8 without control characters of ASCII. What else a key may hold, its parser decides.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] < 0x20 || text[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(text)
}
