package client

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Option changes one call.
type Option func(*request)

// IdempotencyKey makes a change happen once under key, 1 to 255 printable ASCII characters, however often it is sent within
// 24 hours.
func IdempotencyKey(key string) Option {
	return func(r *request) { r.setHeader("Idempotency-Key", key) }
}

// Async makes a create answer before its handlers have run.
func Async() Option { return func(r *request) { r.setQuery("mode", "async") } }

// Within names the segments after the tenant of a time-partitioned PK, as "2026-11".
func Within(segments ...string) Option {
	return func(r *request) { r.setQuery("partition", strings.Join(segments, "#")) }
}

// IncludeDeleted makes a read answer deleted records too.
func IncludeDeleted() Option { return func(r *request) { r.setQuery("includeDeleted", "true") } }

// AtVersion reads the state at a version.
func AtVersion(version int64) Option {
	return func(r *request) { r.setQuery("version", strconv.FormatInt(version, 10)) }
}

// At reads the state at a moment.
func At(moment time.Time) Option {
	return func(r *request) { r.setQuery("at", moment.UTC().Format("2006-01-02T15:04:05.000Z")) }
}

func (r *request) with(opts []Option) request {
	for _, opt := range opts {
		opt(r)
	}
	return *r
}

func (r *request) setQuery(name, value string) {
	if r.query == nil {
		r.query = url.Values{}
	}
	r.query.Set(name, value)
}

func (r *request) setHeader(name, value string) {
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set(name, value)
}
