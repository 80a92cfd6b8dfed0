package report

import (
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func written(rows ...[]any) string {
	var b strings.Builder
	s := newSheet(&b)
	for _, row := range rows {
		s.row(row...)
	}
	if err := s.end(); err != nil {
		panic(err) // a strings.Builder takes everything
	}
	return b.String()
}

func TestSheet(t *testing.T) {
	got := written([]any{"name", "count"}, []any{`a",=1`, int64(-5)}, []any{"=1+1", int64(0)}, []any{"b\nc", int64(1)})
	want := "\"name\",\"count\"\r\n\"a\"\",=1\",-5\r\n\"'=1+1\",0\r\n\"b\nc\",1\r\n"
	if got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestHarmless(t *testing.T) {
	for _, text := range []string{"=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "|cmd", "%0A=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", "\x00=1", "\x001", " =1", "\u00a0=1", "\ufeff=1", "\u200b=1", "\ufffd=1", "-", "--5", "\ufe661", "\ufe621", "\ufe63x", "\ufe6bx", "\u22125", "-5-5", "-5=1", "\t1", "+5"} {
		if got := harmless(text); got != "'"+text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	for _, text := range []string{"", "Chair", "a=1", `a",=1`, "1", "-5", "-5.25", "0", "'=1", "日本", "user@acme.example", "50 %", " ", "a;=1"} {
		if got := harmless(text); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

// FuzzSheet checks that what is written is read back, and that no cell of text begins as a formula does.
func FuzzSheet(f *testing.F) {
	for _, seed := range []string{"=1+1", `a",=1`, "\r\n", "-5", "\uff1d1", " \t=", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // no name is
		}
		rows, err := csv.NewReader(strings.NewReader(written([]any{text, int64(-7), text}))).ReadAll()
		if err != nil || len(rows) != 1 || len(rows[0]) != 3 || rows[0][1] != "-7" || rows[0][0] != rows[0][2] {
			t.Fatalf("%q is read back as %q, %v", text, rows, err)
		}
		cell, plain := rows[0][0], strings.ReplaceAll(text, "\r\n", "\n") // as encoding/csv reads line ends
		if cell != plain && cell != "'"+plain {
			t.Errorf("%q is read back as %q", text, cell)
		}
		if cell != "" && !number.MatchString(cell) && strings.ContainsAny(cell[:1], "=+-@\t\r\n\x00|%") {
			t.Errorf("%q begins as a formula does", cell)
		}
	})
}

func TestSheetGivesUp(t *testing.T) {
	r, w := io.Pipe()
	gone := errors.New("gone")
	r.CloseWithError(gone)
	s := newSheet(w)
	for range 10_000 {
		s.row("some text", int64(1))
	}
	if err := s.end(); !errors.Is(err, gone) {
		t.Errorf("ended with %v", err)
	}
}
