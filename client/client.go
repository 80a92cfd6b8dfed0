// Package client calls Tenantry's HTTP API, typed: over the network, or a handler in the same process.
//
// A [Client] speaks for one token, and in the tenant that [Client.In] names. Tenants are a [tenant.Code], so that none is
// mistyped into another. Failures are *fault.Error with the code, fields and versions of the server's problem;
// [RequestID] finds the server's log lines of one.
//
//	c, err := client.New(client.Config{Server: "https://tenantry.example", Token: token})
//	…
//	rec, err := c.In(acme).Records("PRODUCT").Get(ctx, "p1")
//	if errors.Is(err, fault.NotFound) { … }
package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

// DefaultServer is where a server listens that was not told otherwise.
const DefaultServer = "http://127.0.0.1:8080"

// Config configures a Client. Its zero value calls a server on this machine without a token.
type Config struct {
	// Server is the server's address, with http or https; the paths of the API are appended to its path.
	// Defaults to DefaultServer.
	Server string

	// Token is the bearer token. Defaults to none.
	Token string

	// Transport makes the calls; Handler returns one that calls a handler in this process. Defaults to http.DefaultTransport.
	Transport http.RoundTripper

	// Timeout bounds one call, beside its context. Defaults to a minute.
	Timeout time.Duration
}

// Client calls the API. It is immutable and may be used concurrently.
type Client struct {
	base  string
	token string
	http  *http.Client
	in    tenant.Code
}

// New returns a Client. Nothing is called yet. It fails with fault.InvalidRequest for an address that is none.
func New(cfg Config) (*Client, error) {
	text := cmp.Or(cfg.Server, DefaultServer)
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.InvalidRequest, "client.New", "the server's address has the form http://host:port or https://host, without user, query and fragment")
	}
	return &Client{base: strings.TrimRight(u.String(), "/"), token: cfg.Token, http: &http.Client{
		Transport: cfg.Transport,
		Timeout:   cmp.Or(cfg.Timeout, time.Minute),
		// A token goes to no other address than the one that was named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// In returns a Client that names code as the acting tenant, in the header x-tenant-code. Only callers with a cross-tenant role
// may name another tenant than their token's; the zero Code names none.
func (c *Client) In(code tenant.Code) *Client {
	in := *c
	in.in = code
	return &in
}

// Ready returns nil where the server and its store answer.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/readyz"}, nil)
	return err
}

// Answer is what a server says of an answer beside its value. In an item of a list only JSON is set.
type Answer struct {
	Status    int
	JSON      jsontext.Value // the body, or the item, as it was sent
	Position  string         // X-Tenantry-Position, to be sent back as it came; "" for none
	Location  string         // "" for none
	RequestID string
}

func (a *Answer) set(answer Answer) { *a = answer }

// answered is a value with the Answer that it came in.
type answered[T any] interface {
	*T
	set(Answer)
}

// request is one call.
type request struct {
	method, path string // the path is escaped
	query        url.Values
	header       http.Header
	body         any // nil for none
}

// value makes a call whose answer is a T.
func value[T any, P answered[T]](ctx context.Context, c *Client, r request) (T, error) {
	var out T
	answer, err := c.call(ctx, r, &out)
	P(&out).set(answer)
	return out, err
}

// call makes a call and decodes the answer's body into out, unless that is nil.
func (c *Client) call(ctx context.Context, r request, out any) (Answer, error) {
	op := r.method + " " + r.path
	resp, err := c.send(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, unreached(err, op, c.base)
	}
	answer := Answer{Status: resp.StatusCode, JSON: body, Position: resp.Header.Get("X-Tenantry-Position"),
		Location: resp.Header.Get("Location"), RequestID: resp.Header.Get("X-Request-Id")}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return answer, refusal(resp, body, op)
	}
	if out == nil {
		return answer, nil
	}
	return answer, c.decode(op, body, out)
}

// send makes a call. The caller closes the answer's body.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	req, err := c.newRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreached(err, r.method+" "+r.path, c.base)
	}
	return resp, nil
}

// save makes a call whose answer is a file, and writes it to w as it comes.
func (c *Client) save(ctx context.Context, r request, w io.Writer) error {
	op := r.method + " " + r.path
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return unreached(err, op, c.base)
		}
		return refusal(resp, body, op)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fault.Wrap(err, fault.Unavailable, op, "the file did not come whole: %v", err)
	}
	return nil
}

func (c *Client) decode(op string, text []byte, out any) error {
	if err := json.Unmarshal(text, out); err != nil {
		return fault.Wrap(err, fault.Internal, op, "the answer of %s is not one of this API; does the address belong to Tenantry?", c.base)
	}
	return nil
}

func (c *Client) newRequest(ctx context.Context, r request) (*http.Request, error) {
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, fault.Wrap(err, fault.InvalidRequest, r.method+" "+r.path, "the body can't be written as JSON")
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, fault.Wrap(err, fault.InvalidRequest, r.method+" "+r.path, "the request can't be made")
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if !c.in.IsZero() {
		req.Header.Set("X-Tenant-Code", c.in.String())
	}
	return req, nil
}

// unreached returns the failure of a call that has no answer.
func unreached(err error, op, base string) error {
	var failed *url.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.Timeout, op, "the call was ended before its answer came; if it was to change something, that may have been done")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &failed) && failed.Timeout():
		return fault.Wrap(err, fault.Timeout, op, "%s did not answer in time; if it was to change something, that may have been done", base)
	}
	if failed != nil {
		err = failed.Err
	}
	return fault.Wrap(err, fault.Unavailable, op, "%s can't be reached: %v", base, err)
}

// segment returns text as one segment of a path.
func segment(text string) string { return url.PathEscape(text) }
