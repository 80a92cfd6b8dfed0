package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
)

// Problem is the body of every failure: RFC 9457, with the members that clients of NestJS services read, and a stable code.
type Problem struct {
	Type            string        `json:"type"`
	Title           string        `json:"title"`
	Status          int           `json:"status"`
	Detail          string        `json:"detail"`
	Instance        string        `json:"instance"`
	StatusCode      int           `json:"statusCode"`
	Message         string        `json:"message"`
	Error           string        `json:"error"`
	Code            fault.Code    `json:"code"`
	RequestID       string        `json:"requestId"`
	Errors          []fault.Field `json:"errors,omitempty"`
	ExpectedVersion *int64        `json:"expectedVersion,omitempty"`
	ActualVersion   *int64        `json:"actualVersion,omitempty"`
	Limit           string        `json:"limit,omitempty" doc:"whose rate limit it was"`
}

// maxProblem bounds the body of a problem, in bytes: what a request says is repeated to name a mistake, not to be echoed.
const maxProblem = 2048

// fail answers with err's problem. What err wraps goes to the log only.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := failure(r.Context(), err)
	if e.HTTPStatus() >= 500 {
		h.cfg.Log.ErrorContext(r.Context(), "request failed", "code", string(e.Code), "error", err)
	}
	header := w.Header()
	switch {
	case e.HTTPStatus() == http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case e.RetryAfter > 0:
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	case e.HTTPStatus() == http.StatusServiceUnavailable:
		header.Set("Retry-After", "1")
	}
	st := stateOf(r)
	st.code = e.Code
	writeProblem(w, e.HTTPStatus(), problemText(e, st.requestID))
}

func writeProblem(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	w.Write(text)
}

// problemText returns the body of e's problem, at most maxProblem long.
func problemText(e *fault.Error, requestID string) []byte {
	status := e.HTTPStatus()
	title := http.StatusText(status)
	p := Problem{Type: "about:blank", Title: title, Status: status, Instance: "urn:tenantry:request:" + requestID,
		StatusCode: status, Error: title, Code: e.Code, RequestID: requestID, Limit: e.Limit}
	if e.Versions != nil {
		p.ExpectedVersion, p.ActualVersion = &e.Versions.Expected, &e.Versions.Actual
	}
	detail := e.Msg
	for _, f := range e.Fields {
		p.Errors = append(p.Errors, fault.Field{Field: clip(f.Field, 64), Problem: clip(f.Problem, 128)})
		if len(p.Errors) == 8 {
			break
		}
	}
	for room := 512; ; room /= 2 {
		p.Detail = clip(detail, room)
		p.Message = p.Detail
		text, err := json.Marshal(p, jsontext.EscapeForHTML(true))
		if err == nil && len(text) <= maxProblem {
			return text
		}
		p.Errors = p.Errors[:len(p.Errors)/2]
	}
}

// clip returns at most limit bytes of text, cut between characters.
func clip(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "…"
}

// failure returns err as an Error that may be shown.
func failure(ctx context.Context, err error) *fault.Error {
	e := fault.As(err)
	if e.Code == fault.Internal && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return fault.Wrap(err, fault.Timeout, "httpapi", "the request was not finished in time; if it was to change something, that may have been done, and its idempotency key tells")
	}
	if e.Msg == "" {
		shown := *e
		shown.Msg = http.StatusText(e.HTTPStatus())
		return &shown
	}
	return e
}

// unknown answers for a path or a method that no operation has.
func (h *Handler) unknown(w http.ResponseWriter, r *http.Request) {
	probe := r.Clone(r.Context())
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe.Method = method
		if _, pattern := h.mux.Handler(probe); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		h.fail(w, r, noRoute())
		return
	}
	for _, method := range allowed {
		w.Header().Add("Allow", method)
	}
	h.fail(w, r, fault.New(fault.MethodNotAllowed, "httpapi", "this route does not take the method of the request; the header Allow names those that it takes"))
}

func noRoute() error {
	return fault.New(fault.NotFound, "httpapi", "there is no such route; see /docs")
}

// knownMethod returns a method as log lines and traces repeat it.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT":
		return method
	}
	return "other"
}
