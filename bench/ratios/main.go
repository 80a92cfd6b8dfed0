// Ratios runs the benchmarks and prints what Tenantry costs beside the bare thing (package baseline) and beside its targets.
// It fails where a target is missed. Run it on a machine that does nothing else.
//
//	go run ./bench/ratios
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

func main() {
	count := flag.Int("count", 5, "how often each benchmark runs; medians are compared")
	file := flag.String("from", "", "read what go test printed from a `FILE` instead of running the benchmarks")
	flag.Parse()
	if err := run(*count, *file); err != nil {
		log.Fatal(err)
	}
}

func run(count int, file string) error {
	var text []byte
	var err error
	if file != "" {
		text, err = os.ReadFile(file)
	} else {
		var out bytes.Buffer
		cmd := exec.Command("go", "test", "./bench", "-run", "^$", "-bench", ".", "-benchmem", "-timeout", "2h", "-count", strconv.Itoa(count))
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, os.Stderr), os.Stderr
		err, text = cmd.Run(), out.Bytes()
	}
	if err != nil {
		return err
	}
	return table(os.Stdout, parse(string(text)))
}

// A target is what a benchmark must reach.
type target struct {
	benchmark string // without Benchmark and /by=tenantry
	against   string // the baseline's name behind /by=, if its ratio counts
	unit      string
	limit     float64
	atMost    bool    // limit is the most, not the least
	slack     float64 // nanoseconds that Tenantry may take beyond the ratio
}

var targets = []target{
	{benchmark: "PublishSync/writers=1", against: "append", unit: "ns/op", limit: 0.6},
	{benchmark: "PublishSync/writers=64", against: "group-commit", unit: "ns/op", limit: 0.8},
	{benchmark: "PublishSync/writers=64", unit: "op/s", limit: 15_000},
	{benchmark: "Sync", against: "publish", unit: "ns/op", limit: 0.6},
	{benchmark: "Sync", against: "loop", unit: "ns/op", limit: 3},
	{benchmark: "Get", against: "statement", unit: "ns/op", limit: 0.8},
	{benchmark: "List", against: "statement", unit: "ns/op", limit: 0.6},
	{benchmark: "Admit/first", against: "signature", unit: "ns/op", limit: 1 / 1.3, slack: 15_000},
	{benchmark: "Admit/seen", unit: "ns/op", limit: 2_000, atMost: true},
	{benchmark: "Admit/guard", unit: "allocs/op", limit: 0, atMost: true},
	{benchmark: "SystemReport/counts", unit: "ns/op", limit: 50_000_000, atMost: true},
	{benchmark: "SystemReport/recent-orders", unit: "ns/op", limit: 50_000_000, atMost: true},
	{benchmark: "HTTP/create", against: "handler", unit: "ns/op", limit: 0.5},
	{benchmark: "HTTP/create", unit: "op/s", limit: 4_000},
	{benchmark: "HTTP/create", unit: "p99-ms", limit: 50, atMost: true},
	{benchmark: "HTTP/get", against: "handler", unit: "ns/op", limit: 0.5},
	{benchmark: "HTTP/get", unit: "op/s", limit: 15_000},
	{benchmark: "HTTP/get", unit: "p99-ms", limit: 50, atMost: true},
}

// results are the values of a benchmark's runs, by its name and unit.
type results map[[2]string][]float64

// parse reads lines of the form that go test prints: https://go.dev/design/14313-benchmark-format
func parse(text string) results {
	all := make(results)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		name, found := strings.CutPrefix(line, "Benchmark")
		if !found || len(fields) < 4 {
			continue
		}
		name, _, _ = strings.Cut(name, " ")
		name = strings.TrimSpace(name)
		if i := strings.LastIndexByte(name, '-'); i > 0 && strings.Trim(name[i+1:], "0123456789") == "" {
			name = name[:i] // the number of processors
		}
		name = strings.TrimSuffix(name, "/by=tenantry")
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				key := [2]string{name, fields[i+1]}
				all[key] = append(all[key], v)
			}
		}
	}
	return all
}

// median returns the median of a benchmark's runs.
func (r results) median(name, unit string) (float64, bool) {
	values := slices.Sorted(slices.Values(r[[2]string{name, unit}]))
	if len(values) == 0 {
		return 0, false
	}
	return values[len(values)/2], true
}

var errMissed = errors.New("a target was missed")

func table(out io.Writer, all results) (err error) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "benchmark\ttenantry\tbaseline\tratio\ttarget\t")
	for _, t := range targets {
		own, found := all.median(t.benchmark, t.unit)
		value, baseline, ratio := own, "", ""
		if t.against != "" {
			bare, has := all.median(t.benchmark+"/by="+t.against, t.unit)
			found = found && has
			value = bare / max(own-t.slack, 1)
			baseline, ratio = fmt.Sprintf("%.4g %s (%s)", bare, t.unit, t.against), fmt.Sprintf("%.2f", bare/own)
		}
		relation, met := "≥", value >= t.limit
		if t.atMost {
			relation, met = "≤", value <= t.limit
		}
		verdict := "ok"
		switch {
		case !found:
			verdict, err = "not measured", errMissed
		case !met:
			verdict, err = "missed", errMissed
		}
		slack := ""
		if t.slack > 0 {
			slack = fmt.Sprintf(" after %.4g ns of ours", t.slack)
		}
		fmt.Fprintf(w, "%s\t%.4g %s\t%s\t%s\t%s %.4g%s\t%s\n", t.benchmark, own, t.unit, baseline, ratio, relation, t.limit, slack, verdict)
	}
	return errors.Join(w.Flush(), err)
}
