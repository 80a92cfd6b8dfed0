// Package bench measures what users wait for, beside the bare thing that it can't be faster than (package baseline): compare
// the ratios of one run, not the figures of two machines.
//
//	go test ./bench -run '^$' -bench . -benchmem
//	go run ./bench/ratios
package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/bench/baseline"
	"github.com/tenantry/tenantry/bench/load"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenantrytest"
)

// attributes are those of a record of about 640 bytes.
var attributes = record.Attributes(`{"category":"office","currency":"EUR","description":"` + strings.Repeat("a chair that is comfortable. ", 8) +
	`","dimensions":{"depth":62.5,"height":118,"width":64},"price":4900,"tags":["chair","ergonomic","black"]}`)

const partition = "PRODUCT#acme"

func open(b *testing.B, dir string) *tenantrytest.App {
	b.Helper()
	return tenantrytest.New(b, tenantry.Config{Store: sqlite.At(dir), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

func product(tb testing.TB, sc guard.Scope, sk string) record.Key {
	tb.Helper()
	key, err := record.NewKey(sc, record.MustEntityType("PRODUCT"), sk)
	must(tb, err)
	return key
}

func publish(tb testing.TB, app *tenantrytest.App, sc guard.Scope, sk string) error {
	_, err := app.Commands().PublishSync(context.Background(), sc, command.Input{Key: product(tb, sc, sk), Name: "Chair", Attributes: attributes})
	return err
}

func must(tb testing.TB, err error) {
	if err != nil {
		tb.Helper()
		tb.Fatal(err)
	}
}

func BenchmarkPublishSync(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d/by=tenantry", writers), func(b *testing.B) {
			app := open(b, b.TempDir())
			sc := app.Scope("acme")
			b.ReportAllocs()
			parallel(b, writers, func(int64) error { return publish(b, app, sc, record.NewID()) })
		})
	}
	b.Run("writers=1/by=append", func(b *testing.B) {
		_, command, data := stored(b)
		log, err := baseline.OpenLog(filepath.Join(b.TempDir(), "log"))
		must(b, err)
		defer log.Close()
		row := slices.Concat(command, data, []byte(strings.Repeat(partition+record.NewID(), 2)))
		parallel(b, 1, func(int64) error { return log.Append(row) })
	})
	b.Run("writers=64/by=group-commit", func(b *testing.B) {
		dir, command, data := stored(b)
		group, err := baseline.OpenGroup(dir, command, data)
		must(b, err)
		parallel(b, 64, func(int64) error { return group.Create(partition, record.NewID()) })
		must(b, group.Close())
	})
}

// stored returns a closed store's directory and the documents that a publish left there.
func stored(b *testing.B) (dir string, command, data []byte) {
	b.Helper()
	dir = b.TempDir()
	app := open(b, dir)
	sk := record.NewID()
	must(b, publish(b, app, app.Scope("acme"), sk))
	must(b, app.Close())
	command, data, err := baseline.Docs(dir, partition, sk)
	must(b, err)
	return dir, command, data
}

// parallel runs b.N calls on as many goroutines as there are callers, and reports calls per second and the 99th percentile.
func parallel(b *testing.B, callers int, call func(n int64) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	took := make([][]time.Duration, callers)
	b.ResetTimer()
	for c := range callers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				began := time.Now()
				if err := call(n); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	report(b, float64(b.N)/b.Elapsed().Seconds(), all[len(all)*99/100])
}

func report(b *testing.B, perSecond float64, p99 time.Duration) {
	b.ReportMetric(perSecond, "op/s")
	b.ReportMetric(float64(p99.Microseconds())/1000, "p99-ms")
}

const filled = 20_000

// fill publishes records p00000 … and returns the app's scope.
func fill(b *testing.B, app *tenantrytest.App) guard.Scope {
	b.Helper()
	sc := app.Scope("acme")
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < filled; i += 64 {
				if err := publish(b, app, sc, sk(int64(i))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return sc
}

func sk(n int64) string { return fmt.Sprintf("p%05d", n%filled) }

const page = 100

// listFrom returns where the n-th list begins, so that it is full.
func listFrom(n int64) string { return sk(n * 7919 % (filled - page)) }

func BenchmarkGet(b *testing.B) {
	dir := b.TempDir()
	app := open(b, dir)
	sc := fill(b, app)
	keys := make([]record.Key, filled)
	for n := range keys {
		keys[n] = product(b, sc, sk(int64(n)*7919))
	}
	b.Run("by=tenantry", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			if _, err := app.Data().Get(context.Background(), sc, keys[n%filled]); err != nil {
				b.Fatal(err)
			}
		}
	})
	must(b, app.Close())
	b.Run("by=statement", func(b *testing.B) {
		reader, err := baseline.OpenReader(dir)
		must(b, err)
		defer reader.Close()
		n := 0
		for b.Loop() {
			n++
			if version, _, err := reader.Get(partition, keys[n%filled].SK()); version != 1 {
				b.Fatal("no row", err)
			}
		}
	})
}

func BenchmarkList(b *testing.B) {
	dir := b.TempDir()
	app := open(b, dir)
	sc := fill(b, app)
	b.Run("by=tenantry", func(b *testing.B) {
		in, err := record.NewPartition(sc, record.MustEntityType("PRODUCT"))
		must(b, err)
		b.ReportAllocs()
		var n int64
		for b.Loop() {
			n++
			got, err := app.Data().List(context.Background(), sc, data.Query{Partition: in, From: listFrom(n), Limit: page})
			if err != nil || len(got.Items) != page {
				b.Fatal("not a full page", err)
			}
		}
	})
	must(b, app.Close())
	b.Run("by=statement", func(b *testing.B) {
		reader, err := baseline.OpenReader(dir)
		must(b, err)
		defer reader.Close()
		var n int64
		for b.Loop() {
			n++
			if rows, err := reader.List(partition, listFrom(n), page); len(rows) != page {
				b.Fatal("not a full page", err)
			}
		}
	})
}

const connections = 64

// BenchmarkHTTP has its client in the same process: package load's, since what a client costs is in both sides of the ratio, and
// makes it look better than the server is. Whoever answers, the bytes of requests and answers are
// the same, and so are those on disk: the bare handler of a create keeps them by the group commit by hand.
func BenchmarkHTTP(b *testing.B) {
	body := []byte(`{"name":"Chair","attributes":` + string(attributes) + `}`)
	dir, command, data := stored(b)
	group, err := baseline.OpenGroup(dir, command, data)
	must(b, err)
	b.Cleanup(func() { must(b, group.Close()) })
	keep := func() error { return group.Create(partition, record.NewID()) }

	app := open(b, b.TempDir())
	sc := fill(b, app)
	token := app.Token(auth.Claims{Subject: "u1", Tenant: sc.Tenant(), Role: "user"})
	own := serve(b, app.Handler(httpapi.Config{Log: slog.New(slog.NewJSONHandler(io.Discard, nil))}))
	for _, bench := range []struct {
		name, method string
		path         func(n int64) string
		body         []byte
		want         int
		work         func() error
	}{
		{"create", "POST", func(int64) string { return "/api/data/PRODUCT" }, body, http.StatusCreated, keep},
		{"get", "GET", func(n int64) string { return "/api/data/PRODUCT/" + sk(n*7919) }, nil, http.StatusOK, nil},
	} {
		status, header, answer, err := load.Answer(own, load.Request(bench.method, bench.path(0), token, bench.body))
		must(b, err)
		bare := serve(b, baseline.Handler(status, header, answer, bench.work))
		for _, by := range []struct{ name, addr string }{{"tenantry", own}, {"handler", bare}} {
			b.Run(bench.name+"/by="+by.name, func(b *testing.B) {
				conns := make(chan *load.Conn, connections)
				for range connections {
					conn, err := load.Dial(by.addr)
					must(b, err)
					defer conn.Close()
					conns <- conn
				}
				parallel(b, connections, func(n int64) error {
					conn := <-conns
					defer func() { conns <- conn }()
					return conn.Do(load.Request(bench.method, bench.path(n), token, bench.body), bench.want)
				})
			})
		}
	}
}

// serve serves a handler on a real port until the benchmark ends, and returns its address.
func serve(b *testing.B, handler http.Handler) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	b.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}
