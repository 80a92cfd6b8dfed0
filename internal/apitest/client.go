package apitest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Request is one request. Its zero value is not one: Method and Path are required.
type Request struct {
	Token  string // "" for none
	Method string
	Path   string   // with its query, as it is sent
	Header []string // name, value, …
	Body   string
	Type   string // of the body; "" is application/json for a body, "-" is none

	Slow  bool // may take longer than others
	Fails bool // may be 5xx
}

// String returns what a failure says of r.
func (r Request) String() string { return r.Method + " " + clip(r.Path) + " " + clip(r.Body) }

func clip(text string) string {
	if len(text) > 200 {
		return fmt.Sprintf("%.200s… (%d bytes)", text, len(text))
	}
	return text
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
}

// Code returns the stable code of a refusal, "" where there is none.
func (a *Answer) Code() string {
	var p struct {
		Code string `json:"code"`
	}
	if a.Status < 400 || json.Unmarshal(a.Body, &p) != nil {
		return ""
	}
	return p.Code
}

// OK reports whether a succeeded.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status < 300 }

// JSON returns the body. It fails the test where that isn't JSON.
func (a *Answer) JSON(t testing.TB) any {
	t.Helper()
	v, err := decodeJSON(a.Body)
	if err != nil {
		t.Fatalf("the body is not JSON: %v: %s", err, clip(string(a.Body)))
	}
	return v
}

// Decode reads the body into v. It fails the test where it can't.
func (a *Answer) Decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("the body can't be read: %v: %s", err, clip(string(a.Body)))
	}
}

// String returns what a failure says of a.
func (a *Answer) String() string { return fmt.Sprintf("%d %s", a.Status, clip(string(a.Body))) }

// Masked returns status, names of the headers and body, with what differs between any two requests taken out. Two requests
// that a caller must not be able to tell apart have the same.
func (a *Answer) Masked() string {
	id := a.Header.Get("X-Request-Id")
	var names []string
	for name := range a.Header {
		names = append(names, name)
	}
	return fmt.Sprintf("%d %s\n%s", a.Status, sorted(names), strings.ReplaceAll(string(a.Body), id, "ID"))
}

func decodeJSON(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("there is more after the JSON")
	}
	return v, nil
}

// Do sends a request and returns the answer, after checking what holds for every answer.
func (s *Server) Do(t testing.TB, r Request) *Answer {
	t.Helper()
	a, err := s.Send(r)
	if err != nil {
		t.Fatalf("%v: %v", r, err)
	}
	s.Check(t, r, a)
	return a
}

// Send sends a request and returns the answer, unchecked.
func (s *Server) Send(r Request) (*Answer, error) {
	request, err := http.NewRequest(r.Method, s.URL, strings.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	path, query, _ := strings.Cut(r.Path, "?")
	request.URL.Opaque, request.URL.RawQuery = "//"+s.Addr+path, query
	if r.Token != "" {
		request.Header.Set("Authorization", "Bearer "+r.Token)
	}
	switch {
	case r.Type == "-" || r.Body == "" && r.Type == "":
	case r.Type == "":
		request.Header.Set("Content-Type", "application/json")
	default:
		request.Header.Set("Content-Type", r.Type)
	}
	for i := 0; i < len(r.Header); i += 2 {
		request.Header[r.Header[i]] = append(request.Header[r.Header[i]], r.Header[i+1])
	}
	began := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	return readAnswer(response, began)
}

// streamType is the type of an answer that has no end.
const streamType = "text/event-stream"

func readAnswer(response *http.Response, began time.Time) (*Answer, error) {
	defer response.Body.Close()
	if response.Header.Get("Content-Type") == streamType { // what comes first of what has no end
		first := make([]byte, 4096)
		n, err := response.Body.Read(first)
		if err == io.EOF { // of HEAD
			err = nil
		}
		return &Answer{Status: response.StatusCode, Header: response.Header, Body: first[:n], Took: time.Since(began)}, err
	}
	body, err := io.ReadAll(response.Body)
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: body, Took: time.Since(began)}, err
}

// Raw sends text over a connection of its own and returns the answers until the server closes it, or until count of
// them came. Lines of text end in \n, which is sent as \r\n.
func (s *Server) Raw(t testing.TB, count int, text string) []*Answer {
	t.Helper()
	return s.RawBytes(t, count, strings.ReplaceAll(text, "\n", "\r\n"))
}

// RawBytes is Raw for text that is sent as it is.
func (s *Server) RawBytes(t testing.TB, count int, text string) []*Answer {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	began := time.Now()
	go conn.Write([]byte(text)) // an answer may come before everything is sent
	var answers []*Answer
	for reader := bufio.NewReader(conn); len(answers) < count; {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return answers
		}
		a, err := readAnswer(response, began)
		if err != nil {
			t.Fatalf("an answer did not come whole: %v", err)
		}
		answers = append(answers, a)
	}
	return answers
}

// leak matches what no refusal may show: a stack, a query, a Go type, the path of a file.
var leak = regexp.MustCompile(`goroutine \d|\.go:\d|panic|SELECT |INSERT |UPDATE .* SET|sqlite|map\[|\*fault\.|\bstruct \{|/(home|root|tmp|usr|var)/|runtime error`)

// Check checks what holds for every answer. It is for answers that Send returned.
func (s *Server) Check(t testing.TB, r Request, a *Answer) {
	t.Helper()
	if a.Status >= 500 && !r.Fails {
		t.Errorf("%v: %v", r, a)
	}
	if a.Took > patience && !r.Slow && !strings.HasPrefix(r.Path, "/openapi.") { // written when it is first asked for
		t.Errorf("%v took %v", r, a.Took)
	}
	if a.Status >= 400 {
		CheckProblem(t, r, a)
	}
	id := a.Header.Get("X-Request-Id")
	if id == "" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v: an answer without its headers: %v", r, a.Header)
	}
	s.checkDenial(t, r, a, s.Log.Of(id, "access denied"))
	if s.Doc != nil {
		s.Doc.check(t, r, a)
	}
}

// CheckProblem checks the form of a refusal.
func CheckProblem(t testing.TB, r Request, a *Answer) {
	t.Helper()
	if a.Header.Get("Content-Type") != "application/problem+json" || len(a.Body) > 2048 || leak.Match(a.Body) {
		t.Errorf("%v: not a problem that may be shown: %v %s", r, a.Header, a.Body)
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	var p struct {
		Type, Title, Detail, Instance, Message, Error, Code, RequestID string
		Status, StatusCode                                             int
	}
	a.Decode(t, &p)
	if p.Status != a.Status || p.StatusCode != a.Status || p.Type == "" || p.Title == "" || p.Error != p.Title || p.Detail == "" || p.Message != p.Detail ||
		p.Code == "" || p.Instance == "" || p.RequestID == "" {
		t.Errorf("%v: a problem lacks what clients read: %s", r, a.Body)
	}
	if a.Header.Get("Idempotency-Replayed") == "" && p.RequestID != a.Header.Get("X-Request-Id") {
		t.Errorf("%v: the problem names the request %s, the header %s", r, p.RequestID, a.Header.Get("X-Request-Id"))
	}
	if challenge := a.Header.Get("WWW-Authenticate"); (a.Status == http.StatusUnauthorized) != (challenge == "Bearer") {
		t.Errorf("%v: %d with WWW-Authenticate: %q", r, a.Status, challenge)
	}
}

// checkDenial checks that a denied attempt, and nothing else, left one line that says who tried what.
func (s *Server) checkDenial(t testing.TB, r Request, a *Answer, lines []Line) {
	t.Helper()
	denied := a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden
	if !denied {
		if len(lines) != 0 {
			t.Errorf("%v: %d, but the log says that it was denied: %v", r, a.Status, lines)
		}
		return
	}
	if len(lines) != 1 {
		t.Errorf("%v: %v left %d lines about the denial", r, a, len(lines))
		return
	}
	line := lines[0]
	for _, name := range []string{"time", "level", "userId", "issuer", "tenantCode", "target", "code", "method", "path", "requestId", "sourceIp"} {
		if _, ok := line[name].(string); !ok {
			t.Errorf("%v: the line about the denial lacks %s: %v", r, name, line)
		}
	}
	if r.Method != http.MethodHead && line["code"] != a.Code() || line["sourceIp"] != "127.0.0.1" {
		t.Errorf("%v: answered %v, but the log says %v", r, a, line)
	}
	if a.Status == http.StatusForbidden && line["userId"] == "" {
		t.Errorf("%v: the line about the denial doesn't name the user: %v", r, line)
	}
}
