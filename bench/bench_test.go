// Package bench measures what users wait for, beside the bare thing that it can't be faster than: compare the ratios of
// one run, not the figures of two machines.
//
//	go test ./bench -run '^$' -bench . -benchmem
package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
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

func open(b *testing.B) *tenantrytest.App {
	b.Helper()
	return tenantrytest.New(b, tenantry.Config{Store: sqlite.At(b.TempDir()), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

func product(tb testing.TB, sc guard.Scope, sk string) record.Key {
	tb.Helper()
	key, err := record.NewKey(sc, record.MustEntityType("PRODUCT"), sk)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func BenchmarkPublishSync(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			app := open(b)
			sc := app.Scope("acme")
			b.ReportAllocs()
			parallel(b, writers, func(n int64) error {
				_, err := app.Commands().PublishSync(context.Background(), sc, command.Input{Key: product(b, sc, record.NewID()), Name: "Chair", Attributes: attributes})
				return err
			})
		})
	}
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
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

const filled = 10_000

// fill publishes records p00000 … and returns the app's scope.
func fill(b *testing.B, app *tenantrytest.App) guard.Scope {
	b.Helper()
	sc := app.Scope("acme")
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < filled; i += 64 {
				if _, err := app.Commands().PublishSync(context.Background(), sc, command.Input{Key: product(b, sc, sk(int64(i))), Name: "Chair", Attributes: attributes}); err != nil {
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

func BenchmarkGet(b *testing.B) {
	app := open(b)
	sc := fill(b, app)
	b.ReportAllocs()
	var n int64
	for b.Loop() {
		n += 7919
		if _, err := app.Data().Get(context.Background(), sc, product(b, sc, sk(n))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList100(b *testing.B) {
	app := open(b)
	sc := fill(b, app)
	partition, err := record.NewPartition(sc, record.MustEntityType("PRODUCT"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var n int64
	for b.Loop() {
		n += 7919
		page, err := app.Data().List(context.Background(), sc, data.Query{Partition: partition, From: sk(n % (filled - 200))})
		if err != nil || len(page.Items) != 100 {
			b.Fatal(err, len(page.Items))
		}
	}
}

// server is the API on a real port, and a client with as many connections as the benchmark asks for.
func serve(b *testing.B, handler http.Handler) (url string, client *http.Client) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	b.Cleanup(func() { server.Close() })
	client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}}
	b.Cleanup(client.CloseIdleConnections)
	return "http://" + listener.Addr().String(), client
}

const connections = 64

func send(client *http.Client, method, url, token string, body []byte, want int) error {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, answer)
	}
	return err
}

func BenchmarkHTTP(b *testing.B) {
	body := []byte(`{"name":"Chair","attributes":` + string(attributes) + `}`)
	quiet := slog.New(slog.NewJSONHandler(io.Discard, nil))
	b.Run("create", func(b *testing.B) {
		app := open(b)
		sc := app.Scope("acme")
		token := app.Token(auth.Claims{Subject: "u1", Tenant: sc.Tenant(), Role: "user"})
		url, client := serve(b, app.Handler(httpapi.Config{Log: quiet}))
		parallel(b, connections, func(int64) error { return send(client, "POST", url+"/api/data/PRODUCT", token, body, 201) })
	})
	b.Run("get", func(b *testing.B) {
		app := open(b)
		sc := fill(b, app)
		token := app.Token(auth.Claims{Subject: "u1", Tenant: sc.Tenant(), Role: "user"})
		url, client := serve(b, app.Handler(httpapi.Config{Log: quiet}))
		parallel(b, connections, func(n int64) error { return send(client, "GET", url+"/api/data/PRODUCT/"+sk(n*7919), token, nil, 200) })
	})
	answer := bytes.Repeat([]byte("x"), 900)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		if r.Method == "POST" {
			w.WriteHeader(201)
		}
		w.Write(answer)
	})
	b.Run("bare-create", func(b *testing.B) {
		url, client := serve(b, bare)
		parallel(b, connections, func(int64) error { return send(client, "POST", url+"/", strings.Repeat("t", 400), body, 201) })
	})
	b.Run("bare-get", func(b *testing.B) {
		url, client := serve(b, bare)
		parallel(b, connections, func(int64) error { return send(client, "GET", url+"/", strings.Repeat("t", 400), nil, 200) })
	})
}
