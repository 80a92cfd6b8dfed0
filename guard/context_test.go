package guard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/slogtest"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/tenant"
)

// lines returns the JSON lines that log writes through the handler.
func lines(t *testing.T, write func(*slog.Logger)) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	write(slog.New(guard.NewLogHandler(slog.NewJSONHandler(&out, nil))))
	return parse(t, out.Bytes())
}

func parse(t *testing.T, text []byte) (lines []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(text) {
		fields := map[string]any{}
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, "time")
		delete(fields, "level")
		lines = append(lines, fields)
	}
	return lines
}

func TestLogLines(t *testing.T) {
	got := lines(t, func(log *slog.Logger) {
		ctx, line := guard.WithLine(t.Context(), "r1")
		log.InfoContext(ctx, "before", "n", 1)
		line.Set(guard.Actor{UserID: "u1"}, code("alpha"))
		log.InfoContext(ctx, "after")
		log.With("a", 1).InfoContext(ctx, "with")
		log.With("a", 1).WithGroup("g").With("b", 2).InfoContext(ctx, "group", "c", 3)
		log.WithGroup("g").WithGroup("h").WithGroup("").InfoContext(ctx, "groups", "c", 3)
		log.InfoContext(context.WithoutCancel(ctx), "detached")
		log.InfoContext(t.Context(), "elsewhere")
		line.Set(guard.Actor{UserID: "u1"}, tenant.Code{})
		log.InfoContext(ctx, "no tenant")
	})
	// of is a line with the request's ID, and who acts.
	of := func(fields map[string]any) map[string]any {
		fields["requestId"], fields["tenantCode"], fields["userId"] = "r1", "alpha", "u1"
		return fields
	}
	want := []map[string]any{
		{"msg": "before", "n": 1.0, "requestId": "r1"},
		of(map[string]any{"msg": "after"}),
		of(map[string]any{"msg": "with", "a": 1.0}),
		of(map[string]any{"msg": "group", "a": 1.0, "g": map[string]any{"b": 2.0, "c": 3.0}}),
		of(map[string]any{"msg": "groups", "g": map[string]any{"h": map[string]any{"c": 3.0}}}),
		of(map[string]any{"msg": "detached"}),
		{"msg": "elsewhere"},
		{"msg": "no tenant", "requestId": "r1", "userId": "u1", "tenantCode": ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLogHandlerTwice checks that a handler that was wrapped already says nothing twice.
func TestLogHandlerTwice(t *testing.T) {
	var out bytes.Buffer
	once := guard.NewLogHandler(slog.NewJSONHandler(&out, nil))
	ctx, line := guard.WithLine(t.Context(), "r1")
	line.Set(guard.Actor{UserID: "u1"}, code("alpha"))
	slog.New(guard.NewLogHandler(once)).With("a", 1).InfoContext(ctx, "x")
	if n := bytes.Count(out.Bytes(), []byte("requestId")); n != 1 {
		t.Errorf("the line names the request %d times: %s", n, &out)
	}
}

// TestLogHandlerSharesLines checks that who acts is not written into the line of a handler beside it.
func TestLogHandlerSharesLines(t *testing.T) {
	var beside, ours bytes.Buffer
	log := slog.New(both{slog.NewJSONHandler(&beside, nil), guard.NewLogHandler(slog.NewJSONHandler(&ours, nil))})
	ctx, line := guard.WithLine(t.Context(), "r1")
	line.Set(guard.Actor{UserID: "u1"}, code("alpha"))
	log.InfoContext(ctx, "x", "1", 1, "2", 2, "3", 3, "4", 4, "5", 5, "6", 6) // more than a Record holds in place
	six := map[string]any{"msg": "x", "1": 1.0, "2": 2.0, "3": 3.0, "4": 4.0, "5": 5.0, "6": 6.0}
	if diff := cmp.Diff([]map[string]any{six, six}, parse(t, beside.Bytes())); diff != "" {
		t.Error(diff)
	}
	if got := parse(t, ours.Bytes()); len(got) != 1 || got[0]["tenantCode"] != "alpha" || got[0]["!BUG"] != nil {
		t.Errorf("our line is %v", got)
	}
}

// both hands one line to two handlers, and to the first once more after the second.
type both struct{ first, second slog.Handler }

func (b both) Enabled(context.Context, slog.Level) bool { return true }
func (b both) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b both) WithGroup(string) slog.Handler            { return b }
func (b both) Handle(ctx context.Context, line slog.Record) error {
	return errors.Join(b.first.Handle(ctx, line), b.second.Handle(ctx, line), b.first.Handle(ctx, line))
}

// TestLogHandler holds the handler to what log/slog asks of one.
func TestLogHandler(t *testing.T) {
	var out bytes.Buffer
	handler := guard.NewLogHandler(slog.NewJSONHandler(&out, nil))
	err := slogtest.TestHandler(handler, func() (lines []map[string]any) {
		for line := range bytes.Lines(out.Bytes()) {
			fields := map[string]any{}
			if err := json.Unmarshal(line, &fields); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fields)
		}
		return lines
	})
	if err != nil {
		t.Error(err)
	}
}
