package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// operation returns the handler of one operation: the order of checks.
func (h *Handler) operation(op *route.Operation) http.HandlerFunc {
	source := op.Method + " " + op.Path
	body := h.document.bodies[op.ID]
	return func(w http.ResponseWriter, r *http.Request) {
		st := stateOf(r)
		st.operation = op.ID
		c, err := h.admit(op, source, r)
		if err != nil {
			h.refuse(w, r, c, err)
			return
		}
		st.tenant = c.tenant()
		st.line.Set(c.ask.Actor, st.tenant)
		share, err := h.limits.take(shareOf(c, st.sourceIP))
		if err != nil {
			h.fail(w, r, err)
			return
		}
		if err := h.readInto(w, r, op, body, c); err != nil {
			h.refuse(w, r, c, err)
			return
		}
		if err := h.follow(r, op, c); err != nil {
			h.refuse(w, r, c, err)
			return
		}
		if err := share.enter(r.Context()); err != nil { // a body that comes slowly, and a wait for the read model, take nobody's turn
			h.fail(w, r, err)
			return
		}
		defer share.leave() // before a stream begins
		if c.Keyed() {
			h.once(w, r, op, c)
			return
		}
		a, err := h.handle(r.Context(), op, c)
		if err != nil {
			h.refuse(w, r, c, err)
			return
		}
		if a.Stream != nil {
			st.stream = func() { h.stream(r, op, c, a.Stream) }
			return
		}
		if a.Download != nil {
			download(w, r, a)
			return
		}
		h.reply(w, r, a)
	}
}

// call is a request on its way through the checks.
type call struct {
	route.Call
	ask          *guard.Request // by itself, because a Scope that outlives the call refers to it
	query        url.Values
	bodyMentions guard.Mentions
}

// tenant returns the tenant that the request counts for: the one that a cross-tenant role reaches, else the
// caller's own, that of the token where the request was denied for naming another.
func (c *call) tenant() tenant.Code {
	if code := c.Scope().Tenant(); c.Grant.Crosses() && !code.IsZero() {
		return code
	}
	if code := c.Grant.Acting; !code.IsZero() || c.Principal == nil {
		return code
	}
	return c.Principal.Tenant()
}

// admit decides everything that comes before the body. The call it returns is never nil.
func (h *Handler) admit(op *route.Operation, source string, r *http.Request) (*call, error) {
	st := stateOf(r)
	query, err := parseQuery(r.URL.RawQuery)
	c := &call{Call: route.NewCall(r, query), query: query,
		ask: &guard.Request{Actor: guard.Actor{RequestID: st.requestID, SourceIP: st.sourceIP, Source: source}}}
	if err != nil {
		return c, err
	}
	if err := h.identify(r.Context(), op, r, c); err != nil {
		return c, err
	}
	if c.Grant, err = h.app.Guard().Admit(r.Context(), c.ask); err != nil {
		return c, err
	}
	if op.Precheck != nil {
		return c, op.Precheck(&c.Call)
	}
	return c, nil
}

// identify verifies the token, and takes down what the guard is to decide.
func (h *Handler) identify(ctx context.Context, op *route.Operation, r *http.Request, c *call) error {
	c.ask.Policy = op.Policy
	if op.Policy.Reach != guard.Anyone {
		token, err := bearer(r.Header)
		if err != nil {
			return err
		}
		if c.Principal, err = h.app.Verifier().Verify(ctx, token); err != nil {
			return err
		}
		c.ask.Principal = c.Principal
	}
	if values := r.Header[guard.TenantHeader]; len(values) == 1 {
		c.ask.Header, c.ask.HasHeader = values[0], true
	}
	c.ask.Mentions = pathMentions(op, r, c.query)
	return nil
}

// parseQuery reads a query that names each parameter once, in characters that can be printed.
func parseQuery(raw string) (url.Values, error) {
	if raw == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fault.Wrap(err, fault.InvalidRequest, "httpapi", "the query is not well-formed")
	}
	for _, values := range query {
		if len(values) > 1 {
			return nil, fault.New(fault.InvalidRequest, "httpapi", "a query parameter is sent more than once")
		}
		if !printable(values[0]) {
			return nil, fault.New(fault.InvalidRequest, "httpapi", "a query parameter has characters that can't be printed, or is not UTF-8")
		}
	}
	return query, nil
}

func bearer(header http.Header) (string, error) {
	scheme, token, found := strings.Cut(header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", fault.New(fault.Unauthenticated, "httpapi", "a bearer token is needed: Authorization: Bearer …")
	}
	return token, nil
}

// pathMentions returns the tenants that path and query name.
func pathMentions(op *route.Operation, r *http.Request, query url.Values) (m guard.Mentions) {
	if strings.Contains(op.Path, "{tenantCode}") {
		m.Codes = append(m.Codes, r.PathValue("tenantCode"))
	}
	if op.PathTenant != "" {
		m.Codes = append(m.Codes, r.PathValue(op.PathTenant))
	}
	if op.PathPK != "" {
		m.PKs = append(m.PKs, r.PathValue(op.PathPK))
	}
	m.Codes = append(m.Codes, query["tenantCode"]...)
	m.PKs = append(m.PKs, query["pk"]...)
	m.IDs = append(m.IDs, query["id"]...)
	return m
}

// readInto reads and checks the body, the tenants in it, and then the form of everything.
func (h *Handler) readInto(w http.ResponseWriter, r *http.Request, op *route.Operation, body *schema, c *call) error {
	var tree any
	var text []byte
	if body != nil {
		var err error
		if text, err = readBody(w, r, h.cfg.MaxBody); err != nil {
			return err
		}
		if len(text) == 0 && !body.optional {
			return fault.New(fault.InvalidRequest, "httpapi", "the body is missing: the operation takes JSON")
		}
		if len(text) > 0 {
			if tree, err = body.parse(text); err != nil {
				return err
			}
			c.bodyMentions = mentions(tree)
			if err := c.Grant.Body(r.Context(), c.bodyMentions); err != nil {
				return err
			}
		}
	}
	problems, err := checkQuery(op, c.query)
	if err != nil {
		return err
	}
	if len(text) > 0 {
		found, err := body.check(tree)
		if err != nil {
			return err
		}
		problems = append(problems, found...)
	}
	if len(problems) > 0 {
		return fault.Invalid("httpapi", problems...)
	}
	key := ""
	if op.Method != http.MethodGet && op.Policy.Reach != guard.Anyone { // else nobody is known yet under whom a key could be kept
		if key, err = idempotencyKey(r); err != nil {
			return err
		}
	}
	c.Receive(text, key)
	return nil
}

func checkQuery(op *route.Operation, query url.Values) (problems []fault.Field, err error) {
	for _, p := range op.Query {
		values, ok := query[p.Name]
		if !ok {
			continue
		}
		problem := p.Check(values[0])
		switch {
		case p.Name == "version" && problem != "":
			return nil, fault.New(fault.InvalidRequest, "httpapi", "version %s", problem)
		case p.Name == "cursor" && values[0] == "":
			return nil, fault.New(fault.InvalidCursor, "httpapi", "the cursor is empty; leave it out to begin")
		}
		if problem != "" {
			problems = append(problems, fault.Field{Field: p.Name, Problem: problem})
		}
	}
	return problems, nil
}

// idempotencyKey returns the Idempotency-Key, 1 to 255 printable ASCII characters; "" where there is none.
func idempotencyKey(r *http.Request) (string, error) {
	values, ok := r.Header["Idempotency-Key"]
	if !ok {
		return "", nil
	}
	key := values[0]
	good := len(key) >= 1 && len(key) <= 255
	for i := 0; good && i < len(key); i++ {
		good = key[i] >= 0x20 && key[i] < 0x7f
	}
	if !good {
		return "", fault.New(fault.InvalidRequest, "httpapi", "Idempotency-Key is 1 to 255 printable ASCII characters")
	}
	return key, nil
}

// refuse answers with a problem and keeps the attempt where it was denied.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, c *call, err error) {
	if status := fault.As(err).HTTPStatus(); status == http.StatusUnauthorized || status == http.StatusForbidden {
		st := stateOf(r)
		st.tenant = c.tenant()
		st.line.Set(c.ask.Actor, st.tenant)
		h.denied.keep(r, c, err)
	}
	h.fail(w, r, err)
}

// reply writes an answer.
func (h *Handler) reply(w http.ResponseWriter, r *http.Request, a route.Answer) {
	header, st := w.Header(), stateOf(r)
	if a.Version > 0 {
		tag := `"` + strconv.FormatInt(a.Version, 10) + `"`
		header["Etag"] = st.value(tag)
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && matches(r.Header.Get("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if a.Position != "" {
		header[positionHeader] = st.value(string(a.Position))
	}
	if a.Location != "" {
		header["Location"] = st.value(a.Location)
	}
	header["Content-Type"] = jsonType
	header["Content-Length"] = st.value(strconv.Itoa(len(a.JSON)))
	w.WriteHeader(a.Status)
	w.Write(a.JSON)
}

// matches reports whether an If-None-Match names tag: the comparison is weak (RFC 9110, section 13.1.2), for caches on the
// way that compress mark what they pass on.
func matches(header, tag string) bool {
	for each := range strings.SplitSeq(header, ",") {
		if each = strings.TrimSpace(each); each == "*" || strings.TrimPrefix(each, "W/") == tag {
			return true
		}
	}
	return false
}
