package main

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFollow(t *testing.T) {
	const events = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"--- PASS: TestGood (0.00s)\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood"}
{"Action":"run","Package":"m/a","Test":"TestBad"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"    a_test.go:7: one is not two\n"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"m/a","Test":"TestBad"}
{"Action":"run","Package":"m/a","Test":"TestKilled"}
{"Action":"output","Package":"m/a","Test":"TestKilled","Output":"=== RUN   TestKilled\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.010s\n"}
{"Action":"fail","Package":"m/a"}
{"Action":"build-output","ImportPath":"m/b","Output":"b.go:3:1: syntax error\n"}
{"Action":"build-fail","ImportPath":"m/b"}
{"Action":"run","Package":"m/c","Test":"TestLater"}
{"Action":"skip","Package":"m/c","Test":"TestLater"}
{"Action":"output","Package":"m/c","Output":"PASS\n"}
{"Action":"output","Package":"m/c","Output":"ok  \tm/c\t0.002s\n"}
{"Action":"pass","Package":"m/c"}
`
	var out strings.Builder
	got, err := follow(strings.NewReader(events), &out)
	if err != nil {
		t.Fatal(err)
	}
	if want := (counts{packages: 2, passed: 1, failed: 1, skipped: 1}); got != want {
		t.Errorf("counts are %v, want %v", got, want)
	}
	want := "    a_test.go:7: one is not two\n--- FAIL: TestBad (0.00s)\nFAIL\nFAIL\tm/a\t0.010s\n=== RUN   TestKilled\nb.go:3:1: syntax error\nok  \tm/c\t0.002s\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestFollowReportsBrokenOutput(t *testing.T) {
	if _, err := follow(strings.NewReader("panic: no JSON"), &strings.Builder{}); err == nil {
		t.Error("text that is not JSON was taken for events")
	}
}

func TestLines(t *testing.T) {
	var out strings.Builder
	var one sync.Mutex
	named, plain := &lines{out: &out, one: &one, engine: "sqlite"}, &lines{out: &out, one: &one}
	for _, w := range []struct {
		to   *lines
		text string
	}{{named, "ok a\nFA"}, {plain, "ok ./..."}, {named, "IL b\nok"}, {plain, "\n"}, {named, " c\n"}} {
		if n, err := w.to.Write([]byte(w.text)); n != len(w.text) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", w.text, n, err)
		}
	}
	if want := "sqlite: ok a\nsqlite: FAIL b\nok ./...\nsqlite: ok c\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
