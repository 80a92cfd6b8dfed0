package httpapi

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

// Limits of the lines that one source may cause, a user or, where nobody is known, an address: what goes beyond is counted, and the count is
// part of the next line. So nobody hides what others try behind one load balancer.
const (
	denialsPerSecond = 50
	denialsAtOnce    = 500
	maxSources       = 10_000
)

// denials writes one line for every denied attempt: what the token proves, never the token.
type denials struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	sources map[shareKey]*source
}

type source struct {
	allowance  float64
	last       time.Time
	suppressed int
}

func newDenials(log *slog.Logger, now func() time.Time) *denials {
	return &denials{log: log, now: now, sources: map[shareKey]*source{}}
}

// keep writes the line of one denied attempt.
func (d *denials) keep(r *http.Request, c *call, err error) {
	st := stateOf(r)
	of := shareKey{source: st.sourceIP}
	if p := c.Principal; p != nil {
		of = shareKey{issuer: p.Issuer(), user: p.Subject()}
	}
	suppressed, ok := d.take(of)
	if !ok {
		return
	}
	e := fault.As(err)
	actor := c.ask.Actor
	attrs := []slog.Attr{slog.String("issuer", actor.Issuer), slog.String("target", target(c)), slog.String("code", string(e.Code)),
		slog.String("method", knownMethod(r.Method)), slog.String("path", shownPath(r)), slog.String("sourceIp", st.sourceIP)}
	if reason := auth.ReasonOf(err); reason != "" {
		attrs = append(attrs, slog.String("reason", string(reason)))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("suppressed", suppressed))
	}
	d.log.LogAttrs(r.Context(), slog.LevelWarn, "access denied", attrs...)
}

// take takes one line from a source's allowance, and returns how many were suppressed before it.
func (d *denials) take(of shareKey) (suppressed int, ok bool) {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sources[of]
	if s == nil {
		if len(d.sources) >= maxSources {
			clear(d.sources)
		}
		s = &source{allowance: denialsAtOnce, last: now}
		d.sources[of] = s
	}
	s.allowance = min(denialsAtOnce, s.allowance+now.Sub(s.last).Seconds()*denialsPerSecond)
	s.last = now
	if s.allowance < 1 {
		s.suppressed++
		return 0, false
	}
	s.allowance--
	suppressed, s.suppressed = s.suppressed, 0
	return suppressed, true
}

// maxTargetText bounds what a line repeats of a request, in bytes.
const maxTargetText = 200

// target returns the tenants that a request names, as it spells them, with everything that isn't printable ASCII escaped.
func target(c *call) string {
	var named []string
	if c.ask.HasHeader {
		named = append(named, c.ask.Header)
	}
	m := c.ask.Mentions
	for _, list := range [][]string{m.Codes, m.PKs, m.IDs, c.bodyMentions.Codes, c.bodyMentions.PKs, c.bodyMentions.IDs} {
		named = append(named, list...)
		if len(named) > 16 {
			break
		}
	}
	var b strings.Builder
	for _, r := range strings.Join(named, " ") {
		if b.Len() > maxTargetText {
			b.WriteString("…")
			break
		}
		if r < unicode.MaxASCII && unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}
