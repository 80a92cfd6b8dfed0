package lambda

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// serve answers a request. What is wrong with it is the handler's to say.
func (f *Function) serve(ctx context.Context, event *events.APIGatewayV2HTTPRequest) (*events.APIGatewayV2HTTPResponse, error) {
	r := request(ctx, event)
	if f.cfg.Authorizer != nil {
		if err := f.cfg.Authorizer.authorize(r, event.RequestContext.Authorizer); err != nil {
			return nil, err
		}
	}
	w := &recorder{header: http.Header{}}
	f.cfg.API.ServeHTTP(w, r)
	return w.answer(), nil
}

// request returns the request that an event describes. Cookies are left out: nothing reads them. The header of several values comes as one,
// with commas, which no header that may come once only can be.
func request(ctx context.Context, event *events.APIGatewayV2HTTPRequest) *http.Request {
	body, size := io.Reader(strings.NewReader(event.Body)), int64(len(event.Body))
	if event.IsBase64Encoded && size > 0 {
		body, size = base64.NewDecoder(base64.StdEncoding, body), -1
	}
	where := event.RequestContext
	r := &http.Request{Method: where.HTTP.Method, URL: target(event), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(body), ContentLength: size, Host: where.DomainName, RemoteAddr: net.JoinHostPort(where.HTTP.SourceIP, "0")}
	for name, value := range event.Headers {
		r.Header.Add(name, value)
	}
	r.RequestURI = r.URL.RequestURI()
	return r.WithContext(ctx)
}

// target returns the request's URL. API Gateway brings the path of an HTTP API decoded, and that of a function URL as it was sent.
func target(event *events.APIGatewayV2HTTPRequest) *url.URL {
	u := &url.URL{Path: event.RawPath, RawQuery: event.RawQueryString}
	if strings.Contains(event.RequestContext.DomainName, ".lambda-url.") {
		if decoded, err := url.PathUnescape(event.RawPath); err == nil {
			u.Path, u.RawPath = decoded, event.RawPath
		}
	}
	return u
}

// recorder is the http.ResponseWriter of one answer.
type recorder struct {
	header http.Header
	sent   http.Header // as it was when the status was written
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Statuses below 200 are not the answer.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status, w.sent = status, w.header.Clone()
	}
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// answer returns what was written. A body that is not plain text goes as base64, which API Gateway decodes. A function answers once, so it has no
// event stream: 204 tells a client not to come back for it.
func (w *recorder) answer() *events.APIGatewayV2HTTPResponse {
	w.WriteHeader(http.StatusOK)
	if w.sent.Get("Content-Type") == "text/event-stream" {
		w.status = http.StatusNoContent
		w.sent.Del("Content-Type")
		w.body.Reset()
	}
	out := &events.APIGatewayV2HTTPResponse{StatusCode: w.status, Headers: map[string]string{}, Cookies: w.sent["Set-Cookie"]}
	for name, values := range w.sent {
		if name != "Set-Cookie" && name != "Connection" {
			out.Headers[name] = strings.Join(values, ", ")
		}
	}
	if w.sent.Get("Content-Encoding") == "" && utf8.Valid(w.body.Bytes()) {
		out.Body = w.body.String()
		return out
	}
	out.Body, out.IsBase64Encoded = base64.StdEncoding.EncodeToString(w.body.Bytes()), true
	return out
}
