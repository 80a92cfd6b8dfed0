package client

import (
	"cmp"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/fault"
)

// Problem is what a server answered instead of success. It is the cause of the *fault.Error that a call fails with.
type Problem struct {
	Status    int    // of the answer
	RequestID string // finds the request in the server's log; "" where the answer has none
}

// Error implements error.
func (p *Problem) Error() string {
	if p.RequestID == "" {
		return "HTTP status " + strconv.Itoa(p.Status)
	}
	return "HTTP status " + strconv.Itoa(p.Status) + ", request ID " + p.RequestID
}

// RequestID returns the ID of the request that failed with err, "" where there was no answer.
func RequestID(err error) string {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.RequestID
	}
	return ""
}

// problem is the body of a failure.
type problem struct {
	Detail          string        `json:"detail"`
	Code            fault.Code    `json:"code"`
	RequestID       string        `json:"requestId"`
	Errors          []fault.Field `json:"errors"`
	ExpectedVersion int64         `json:"expectedVersion"`
	ActualVersion   int64         `json:"actualVersion"`
	Limit           string        `json:"limit"`
}

// refusal returns the failure that an answer tells of.
func refusal(resp *http.Response, body []byte, op string) error {
	var p problem
	cause := &Problem{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id")}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/problem+json" || json.Unmarshal(body, &p) != nil || p.Code == "" {
		return stranger(cause, op)
	}
	cause.RequestID = cmp.Or(p.RequestID, cause.RequestID)
	e := p.fault(op, cause)
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

func (p *problem) fault(op string, cause *Problem) *fault.Error {
	e := fault.Wrap(cause, p.Code, op, "%s", p.Detail)
	e.Fields, e.Limit = p.Errors, p.Limit
	if p.Code == fault.VersionConflict {
		e.Versions = &fault.Versions{Expected: p.ExpectedVersion, Actual: p.ActualVersion}
	}
	if cause.Status != p.Code.HTTPStatus() {
		e.Status = cause.Status
	}
	return e
}

// stranger returns the failure of an answer that is no problem of this API: of a proxy, or another program.
func stranger(cause *Problem, op string) error {
	code := fault.Internal
	switch cause.Status {
	case http.StatusUnauthorized:
		code = fault.Unauthenticated
	case http.StatusTooManyRequests:
		code = fault.RateLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		code = fault.Unavailable
	}
	e := fault.Wrap(cause, code, op, "the answer is status %d and no problem of this API; does the address belong to Tenantry, or is something in between?", cause.Status)
	e.Status = cause.Status
	return e
}
