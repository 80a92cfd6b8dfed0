package apitest

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Follower reads a stream of events as a browser does.
type Follower struct {
	t     testing.TB
	lines *bufio.Scanner
}

// Follow connects to /api/events of the server at url. Header are names and values, in turn. The stream ends with the test.
func Follow(t testing.TB, url, token, query string, header ...string) *Follower {
	t.Helper()
	return FollowAt(t, url+"/api/events"+query, token, header...)
}

// FollowAt is Follow for the stream at url.
func FollowAt(t testing.TB, url, token string, header ...string) *Follower {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept-Encoding", "gzip")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableCompression: true}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		response.Body.Close()
		transport.CloseIdleConnections()
	})
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != streamType || response.Header.Get("Content-Encoding") != "" {
		t.Fatalf("no stream of events: %d %v", response.StatusCode, response.Header)
	}
	f := &Follower{t: t, lines: bufio.NewScanner(response.Body)}
	f.lines.Buffer(nil, 4<<20)
	return f
}

// Next returns the next event; its name is "" where the stream was cut off.
func (f *Follower) Next() (name, id, data string) {
	for f.lines.Scan() {
		switch field, value, _ := strings.Cut(f.lines.Text(), ": "); field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if name != "" {
				return name, id, data
			}
		}
	}
	return "", "", ""
}

// Change returns the next event. It fails the test where that is no change.
func (f *Follower) Change() (id, data string) {
	f.t.Helper()
	name, id, data := f.Next()
	if name != "change" || id == "" {
		f.t.Fatalf("got the event %q %q %q, want a change", name, id, data)
	}
	return id, data
}
