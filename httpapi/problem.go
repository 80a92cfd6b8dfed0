package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"

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

// fail answers with err's problem. What err wraps goes to the log only.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := failure(r.Context(), err)
	status := e.HTTPStatus()
	st := stateOf(r)
	st.code = e.Code
	if status >= 500 {
		h.cfg.Log.ErrorContext(r.Context(), "request failed", "code", string(e.Code), "error", err)
	}
	title := http.StatusText(status)
	p := Problem{Type: "about:blank", Title: title, Status: status, Detail: e.Msg, Instance: "urn:tenantry:request:" + st.requestID,
		StatusCode: status, Message: e.Msg, Error: title, Code: e.Code, RequestID: st.requestID, Errors: e.Fields, Limit: e.Limit}
	if e.Versions != nil {
		p.ExpectedVersion, p.ActualVersion = &e.Versions.Expected, &e.Versions.Actual
	}
	header := w.Header()
	switch {
	case status == http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case e.RetryAfter > 0:
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	case status == http.StatusServiceUnavailable:
		header.Set("Retry-After", "1")
	}
	header.Set("Content-Type", "application/problem+json")
	body, err := json.Marshal(p)
	if err != nil {
		h.cfg.Log.ErrorContext(r.Context(), "a problem can't be written", slog.Any("error", err))
	}
	w.WriteHeader(status)
	w.Write(body)
}

// failure returns err as an Error that may be shown.
func failure(ctx context.Context, err error) *fault.Error {
	e := fault.As(err)
	if e.Code == fault.Internal && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return fault.Wrap(err, fault.Timeout, "httpapi", "the request was not finished in time; a change may have been made, and its idempotency key tells")
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
		h.fail(w, r, fault.New(fault.NotFound, "httpapi", "there is no such route; see /docs"))
		return
	}
	for _, method := range allowed {
		w.Header().Add("Allow", method)
	}
	h.fail(w, r, fault.New(fault.MethodNotAllowed, "httpapi", "this route does not take the method of the request; the header Allow names those that it takes"))
}

// knownMethod returns a method as log lines and traces repeat it.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT":
		return method
	}
	return "other"
}
