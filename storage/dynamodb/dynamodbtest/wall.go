package dynamodbtest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Wall stands before a server as AWS's access control does: calls that are signed with the credentials of a session are held to the policy of its role,
// with the session's tag in it; others pass. It is the security token service too, which hands out sessions.
type Wall struct {
	Server
	STS string // the service's URL, for AWS_ENDPOINT_URL_STS

	policy Policy

	mu       sync.Mutex
	sessions map[string]string // by access key, the tag
	calls    map[string]int
	refused  []string
}

// NewWall returns a Wall before srv that stands until the test ends, with the policy of the role.
func NewWall(t testing.TB, srv Server, policy []byte) *Wall {
	t.Helper()
	parsed, err := ParsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	behind, err := url.Parse(srv.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	w := &Wall{Server: srv, policy: parsed, sessions: map[string]string{}, calls: map[string]int{}}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) }, Transport: transport}
	front := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		if problem := w.judge(req, body); problem != "" {
			out.Header().Set("Content-Type", "application/x-amz-json-1.0")
			out.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(out, `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":%q}`, problem)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(out, req)
	}))
	tokens := httptest.NewServer(http.HandlerFunc(w.assumeRole))
	t.Cleanup(func() {
		front.Close()
		tokens.Close()
		transport.CloseIdleConnections()
	})
	w.Endpoint, w.STS = front.URL, tokens.URL
	return w
}

// Calls returns how many calls were made in the sessions of each tag, those of the process itself under "".
func (w *Wall) Calls() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.calls)
}

// Refused returns the calls that the policy refused.
func (w *Wall) Refused() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.refused)
}

// assumeRole begins a session for the one tag that it is asked for.
func (w *Wall) assumeRole(out http.ResponseWriter, req *http.Request) {
	if req.FormValue("Action") != "AssumeRole" || req.FormValue("Tags.member.1.Key") != "tenant" || req.FormValue("Tags.member.2.Key") != "" {
		out.WriteHeader(http.StatusForbidden)
		fmt.Fprint(out, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: sts:TagSession</Message></Error></ErrorResponse>`)
		return
	}
	key := "ASIA" + rand.Text()[:16]
	w.mu.Lock()
	w.sessions[key] = req.FormValue("Tags.member.1.Value")
	w.mu.Unlock()
	type credentials struct{ AccessKeyId, SecretAccessKey, SessionToken, Expiration string }
	answer := struct {
		XMLName     xml.Name    `xml:"AssumeRoleResponse"`
		Credentials credentials `xml:"AssumeRoleResult>Credentials"`
	}{Credentials: credentials{key, rand.Text(), rand.Text(), time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}}
	text, err := xml.Marshal(answer)
	if err != nil {
		http.Error(out, err.Error(), http.StatusInternalServerError)
		return
	}
	out.Header().Set("Content-Type", "text/xml")
	_, _ = out.Write(text)
}

// judge returns why a call is refused, "" where it is not.
func (w *Wall) judge(req *http.Request, body []byte) string {
	_, signed, _ := strings.Cut(req.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(signed, "/")
	w.mu.Lock()
	defer w.mu.Unlock()
	tag, ofSession := w.sessions[key]
	if !ofSession && strings.HasPrefix(key, "ASIA") {
		return "the session is not known"
	}
	w.calls[tag]++
	if !ofSession {
		return ""
	}
	_, op, _ := strings.Cut(req.Header.Get("X-Amz-Target"), ".")
	asked, err := accesses(op, body)
	if err != nil {
		return err.Error()
	}
	for _, a := range asked {
		if !w.policy.Allows(a.action, a.table, a.keys, tag) {
			w.refused = append(w.refused, fmt.Sprintf("%s of %q in %s, for %s", a.action, a.keys, a.table, tag))
			return "not authorized to perform: " + a.action
		}
	}
	return ""
}

// access is what a policy is asked about: an action on a table, with the partition keys that it names.
type access struct {
	action, table string
	keys          []string
}

// accesses returns what a call of DynamoDB asks for.
func accesses(op string, body []byte) ([]access, error) {
	type text struct{ S string }
	type key struct {
		PK text `json:"pk"`
	}
	type write struct {
		TableName string
		Key, Item key
	}
	var in struct {
		write
		RequestItems              map[string]struct{ Keys []key }
		ExpressionAttributeValues map[string]json.RawMessage
		TransactItems             []map[string]write
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	var asked []access
	switch op {
	case "GetItem":
		asked = append(asked, access{op, in.TableName, []string{in.Key.PK.S}})
	case "Query":
		var pk text
		if err := json.Unmarshal(in.ExpressionAttributeValues[":pk"], &pk); err != nil {
			return nil, err
		}
		asked = append(asked, access{op, in.TableName, []string{pk.S}})
	case "BatchGetItem":
		for table, items := range in.RequestItems {
			a := access{action: op, table: table}
			for _, k := range items.Keys {
				a.keys = append(a.keys, k.PK.S)
			}
			asked = append(asked, a)
		}
	case "TransactWriteItems":
		actions := map[string]string{"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
		for _, item := range in.TransactItems {
			for kind, w := range item {
				asked = append(asked, access{actions[kind], w.TableName, []string{w.Key.PK.S + w.Item.PK.S}}) // it has one of them
			}
		}
	default: // a scan, a table: there are no keys
		asked = append(asked, access{action: op, table: in.TableName})
	}
	return asked, nil
}
