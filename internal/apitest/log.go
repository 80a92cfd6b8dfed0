package apitest

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// Line is one line of the server's log.
type Line map[string]any

// Log keeps what a server logs. It may be used concurrently.
type Log struct {
	mu     sync.Mutex
	text   bytes.Buffer
	lines  []Line
	of     map[string][]int // by requestId
	broken []string         // lines that are not one JSON object
}

// Write implements io.Writer; a slog.Handler writes a line at a time.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	line := Line{}
	if text, ended := bytes.CutSuffix(p, []byte("\n")); !ended || bytes.ContainsAny(text, "\r\n\x1b") || json.Unmarshal(text, &line) != nil {
		l.broken = append(l.broken, string(p))
		return len(p), nil
	}
	if id, ok := line["requestId"].(string); ok {
		if l.of == nil {
			l.of = map[string][]int{}
		}
		l.of[id] = append(l.of[id], len(l.lines))
	}
	l.lines = append(l.lines, line)
	return len(p), nil
}

// Of returns the lines of a request with a message, in their order.
func (l *Log) Of(requestID, msg string) []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Line
	for _, i := range l.of[requestID] {
		if l.lines[i]["msg"] == msg {
			found = append(found, l.lines[i])
		}
	}
	return found
}

// Lines returns all lines with a message.
func (l *Log) Lines(msg string) []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.lines), func(line Line) bool { return line["msg"] != msg })
}

// Broken returns what was logged and is not one JSON object in a line of its own.
func (l *Log) Broken() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.broken)
}

// Holds reports whether text was logged.
func (l *Log) Holds(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}
