package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/storagetest"
	"github.com/tenantry/tenantry/tenant"
)

func over(count int, types ...string) (shards []Shards) {
	for _, typ := range types {
		shards = append(shards, Shards{Type: record.MustEntityType(typ), Count: count})
	}
	return shards
}

// spreadOut is empty, with the partitions of the contract's entity types spread. Some of its keys are of none and stay as they are.
func spreadOut(t testing.TB) driver.Source {
	cfg := empty(t)
	if err := Spread(context.Background(), soon(cfg), over(5, "A", "AA", "AB", "B", "C", "PRODUCT", "TAKEN")...); err != nil {
		t.Fatal(err)
	}
	return At(cfg)
}

// soon has a declaration count at once.
func soon(cfg Config) Config {
	cfg.term = time.Millisecond
	return cfg
}

// used opens the store of cfg as one that was opened before.
func used(t testing.TB, cfg Config) *engine {
	t.Helper()
	e := opened(t, cfg)
	row := &record.Record{PK: "WORD#common", SK: "1", Version: 1}
	if _, err := e.Commit(context.Background(), driver.Batch{Writes: []driver.Write{{Collection: driver.System, Record: row}}}); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestContractSpread(t *testing.T) { storagetest.Run(t, spreadOut, lateFeed) }

func code(t testing.TB, text string) tenant.Code {
	t.Helper()
	c, err := tenant.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stored returns the keys of a table's items.
func stored(t testing.TB, s server, table string) (keys []string) {
	t.Helper()
	out, err := s.db.Scan(t.Context(), &dynamodb.ScanInput{TableName: &table})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range out.Items {
		d := decoder{it: it}
		keys = append(keys, d.text("pk")+" "+d.text("sk"))
	}
	slices.Sort(keys)
	return keys
}

// TestSpreadRows looks at where rows stand: those of one record under one key, and all of them where every process, and every later version, looks
// for them. What is spread otherwise for one tenant, or not at all, stands apart.
func TestSpreadRows(t *testing.T) {
	cfg := empty(t)
	acme := Shards{Type: record.MustEntityType("A"), Tenant: code(t, "acme"), Count: 3}
	if err := Spread(t.Context(), soon(cfg), append(over(2, "A"), acme)...); err != nil {
		t.Fatal(err)
	}
	e := opened(t, cfg)
	for _, pk := range []string{"A#acme", "A#acme#2026", "A#acme2", "AB#acme"} {
		for _, sk := range []string{"one", "two", "three@x"} {
			row := &record.Record{PK: pk, SK: sk, Version: 1}
			if _, err := e.Commit(t.Context(), creates(row)); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"A#acme##0 three@x", "A#acme##2 one", "A#acme##2 two", "A#acme#2026##0 three@x", "A#acme#2026##2 one", "A#acme#2026##2 two",
		"A#acme2##1 one", "A#acme2##1 three@x", "A#acme2##1 two", "AB#acme one", "AB#acme three@x", "AB#acme two"}
	if diff := cmp.Diff(want, stored(t, e.server, cfg.Prefix+"-a-data")); diff != "" {
		t.Errorf("the data rows (-want +got):\n%s", diff)
	}
	for i := range want {
		want[i] += "@1"
	}
	if diff := cmp.Diff(want, stored(t, e.server, cfg.Prefix+"-a-command")); diff != "" {
		t.Errorf("the command rows (-want +got):\n%s", diff)
	}
	out, err := e.db.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: ptr(cfg.Prefix + "-a-data"), Key: item{"pk": text("A#acme##2"), "sk": text("one")}})
	if err != nil {
		t.Fatal(err)
	}
	if d := (decoder{it: out.Item}); d.text("id") != "A#acme#one" || d.text("cpk") != "A#acme" {
		t.Errorf("the item %v does not have the record's own ID and PK", plainItem(out.Item))
	}
}

func ptr(s string) *string { return &s }

// TestSpreadLists reads long lists, deleted rows among them, whose shards are of very different sizes.
func TestSpreadLists(t *testing.T) {
	cfg := empty(t)
	if err := Spread(t.Context(), soon(cfg), over(7, "A")...); err != nil {
		t.Fatal(err)
	}
	e := opened(t, cfg)
	l, err := e.look(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	var sks []string
	var b driver.Batch
	flush := func() {
		if _, err := e.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		b = driver.Batch{}
	}
	for n := 0; len(sks) < 400; n++ {
		sk := fmt.Sprintf("%05d", n)
		if n%9 != 0 && strings.HasSuffix(l.key("A#acme", sk), "##3") || n%40 == 0 { // most rows are in the fourth shard
			row := &record.Record{PK: "A#acme", SK: sk, Version: 1, IsDeleted: n%3 == 0}
			if b.Writes = append(b.Writes, driver.Write{Collection: driver.Data, Record: row}); len(b.Writes) == 100 {
				flush()
			}
			sks = append(sks, sk)
		}
	}
	if len(b.Writes) > 0 {
		flush()
	}
	for _, limit := range []int{1, 10, 150, 399, 400, 1000} {
		for _, descending := range []bool{false, true} {
			recs, err := e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "A#acme", Limit: limit, IncludeDeleted: true, Descending: descending})
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(sks)
			if descending {
				slices.Reverse(want)
			}
			var got []string
			for _, r := range recs {
				if r.PK != "A#acme" {
					t.Fatalf("a row of %s", r.PK)
				}
				got = append(got, r.SK)
			}
			if diff := cmp.Diff(want[:min(limit, len(want))], got); diff != "" {
				t.Errorf("%d rows, descending %v (-want +got):\n%s", limit, descending, diff)
			}
		}
	}
}

func TestSpreadRefuses(t *testing.T) {
	cfg := empty(t)
	cfg.term = time.Millisecond
	e := opened(t, cfg)
	for _, pk := range []string{"A#acme", "AB#acme"} {
		if _, err := e.Commit(t.Context(), creates(&record.Record{PK: pk, SK: "1", Version: 1})); err != nil {
			t.Fatal(err)
		}
	}
	acme2 := Shards{Type: record.MustEntityType("A"), Tenant: code(t, "acme2"), Count: 4}
	if err := Spread(t.Context(), cfg, append(over(2, "B"), acme2)...); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Commit(t.Context(), creates(&record.Record{PK: "A#acme2", SK: "1", Version: 1})); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, want fault.Code, shards ...Shards) {
		t.Helper()
		if err := Spread(t.Context(), cfg, shards...); fault.CodeOf(err) != want {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	refused("what has rows", fault.AlreadyExists, over(2, "A")...)
	refused("what has rows, and something else", fault.AlreadyExists, over(2, "C", "AB")...)
	refused("another number", fault.AlreadyExists, over(3, "B")...)
	refused("one key", fault.InvalidRequest, over(1, "C")...)
	refused("too many keys", fault.InvalidRequest, over(101, "C")...)
	refused("no type", fault.InvalidRequest, Shards{Count: 2})
	for _, word := range []string{"FEED", "FEED_STATE", "LAYOUT"} {
		refused(word, fault.InvalidRequest, over(2, word)...)
	}
	if err := Spread(t.Context(), cfg, append(over(2, "B", "RECEIPT"), acme2)...); err != nil {
		t.Errorf("the same again: %v", err)
	}
	l, err := e.look(t.Context(), "test")
	if want := map[string]int{"A#acme2": 4, "B": 2, "RECEIPT": 2}; err != nil || !maps.Equal(l.spread, want) || len(l.coming) > 0 {
		t.Errorf("the layout is %+v, %v; want %v", l, err, want)
	}
	if _, err := e.Commit(t.Context(), creates(&record.Record{PK: "C#acme", SK: "1", Version: 1})); err != nil {
		t.Errorf("a commit to what was not spread after all: %v", err)
	}
}

// TestSpreadWhileOpen has processes that opened the store before race for one record while its partition is being spread: one gets it.
func TestSpreadWhileOpen(t *testing.T) {
	cfg := empty(t)
	cfg.term = 50 * time.Millisecond
	engines := []*engine{used(t, cfg), opened(t, cfg), opened(t, cfg)}
	said := make(chan struct{})
	tool := cfg
	tool.transport = through(func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
		resp, err := w.send(req, body)
		if op == "PutItem" && bytes.Contains(body, []byte(`"coming":{"M":{"A"`)) {
			close(said)
		}
		return resp, err
	})
	var won, refused atomic.Int32
	var racing sync.WaitGroup
	for n, e := range engines {
		racing.Go(func() {
			<-said
			<-time.After(2 * cfg.term) // by now it has to be known
			for {
				row := &record.Record{PK: "A#acme", SK: "raced", Version: 1, CreatedBy: fmt.Sprint(n)}
				_, err := e.Commit(t.Context(), driver.Batch{Writes: []driver.Write{
					{Collection: driver.Command, Record: row, If: driver.Condition{Kind: driver.IfAbsent}},
					{Collection: driver.Data, Record: row, If: driver.Condition{Kind: driver.IfAbsent}}}})
				var conflict *driver.Conflict
				switch {
				case err == nil:
					won.Add(1)
					return
				case errors.As(err, &conflict):
					return
				case fault.CodeOf(err) != fault.Unavailable:
					t.Error(err)
					return
				}
				refused.Add(1)
				if err := rested(t.Context(), 10*time.Millisecond); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	if err := Spread(t.Context(), tool, over(4, "A")...); err != nil {
		t.Error(err)
	}
	racing.Wait()
	if won.Load() != 1 {
		t.Errorf("%d processes created one record", won.Load())
	}
	if got := stored(t, engines[0].server, cfg.Prefix+"-a-data"); len(got) != 1 || !strings.HasPrefix(got[0], "A#acme##") {
		t.Errorf("the rows stand at %q", got)
	}
	if refused.Load() == 0 {
		t.Error("no commit met the declaration; the test shows nothing")
	}
}

// TestSpreadMeetsWhatIsUnderWay has a commit that was sent before its partition was to be spread arrive while that is declared: it stands, and
// nothing is spread.
func TestSpreadMeetsWhatIsUnderWay(t *testing.T) {
	cfg := empty(t)
	said, sent, arrived := make(chan struct{}), make(chan struct{}), make(chan struct{})
	slow := cfg
	slow.transport = through(func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
		if op == "TransactWriteItems" && bytes.Contains(body, []byte("-a-command")) {
			close(sent)
			<-said
			defer close(arrived)
		}
		return w.send(req, body)
	})
	e := used(t, slow)
	result := make(chan error, 1)
	go func() {
		_, err := e.Commit(t.Context(), creates(&record.Record{PK: "A#acme", SK: "1", Version: 1}))
		result <- err
	}()
	<-sent
	tool := cfg
	tool.term = time.Millisecond
	tool.transport = through(func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
		resp, err := w.send(req, body)
		if op == "PutItem" && bytes.Contains(body, []byte(`"coming":{"M":{"A"`)) {
			close(said)
			<-arrived
		}
		return resp, err
	})
	says(t, Spread(t.Context(), tool, over(4, "A")...), fault.AlreadyExists, "copy the store")
	if err := <-result; err != nil {
		t.Errorf("the commit: %v", err)
	}
	later := opened(t, cfg)
	got, err := later.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "1"})
	if err != nil || got == nil {
		t.Errorf("the record: %v, %v", got, err)
	}
	if _, err := later.Commit(t.Context(), creates(&record.Record{PK: "A#acme", SK: "2", Version: 1})); err != nil {
		t.Errorf("a commit afterwards: %v", err)
	}
}

// TestSpreadEndsAttempts has a commit be tried again after its partition was spread: it is not sent to where its rows would have stood.
func TestSpreadEndsAttempts(t *testing.T) {
	cfg := empty(t)
	cfg.term = time.Millisecond
	held := cfg
	held.transport = through(func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
		if op != "TransactWriteItems" || !bytes.Contains(body, []byte("-a-command")) {
			return w.send(req, body)
		}
		if err := Spread(context.Background(), cfg, over(4, "A")...); err != nil {
			t.Error(err)
		}
		return refusal(req, 400, "ThrottlingException", "")
	})
	e := opened(t, held)
	_, err := e.Commit(t.Context(), creates(&record.Record{PK: "A#acme", SK: "1", Version: 1}))
	says(t, err, fault.Unavailable, "spread")
	if got := stored(t, e.server, cfg.Prefix+"-a-data"); len(got) > 0 {
		t.Errorf("rows stand at %q", got)
	}
}

// TestSpreadInterrupted has a declaration be left, which is then said again.
func TestSpreadInterrupted(t *testing.T) {
	cfg := empty(t)
	cfg.term = time.Hour
	used(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	tool := cfg
	tool.transport = through(func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
		resp, err := w.send(req, body)
		if op == "PutItem" {
			cancel()
		}
		return resp, err
	})
	if err := Spread(ctx, tool, over(4, "A")...); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	cfg.term = time.Millisecond
	fresh := opened(t, cfg)
	_, err := fresh.Commit(t.Context(), creates(&record.Record{PK: "A#acme", SK: "1", Version: 1}))
	says(t, err, fault.Unavailable, "spread")
	if _, err := fresh.Commit(t.Context(), creates(&record.Record{PK: "B#acme", SK: "1", Version: 1})); err != nil {
		t.Errorf("a commit to another partition: %v", err)
	}
	problems, err := CheckTables(t.Context(), cfg)
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].What, "--shards A=4") {
		t.Errorf("problems %+v, %v", problems, err)
	}
	if err := Spread(t.Context(), cfg, over(4, "A")...); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Commit(t.Context(), creates(&record.Record{PK: "A#acme", SK: "1", Version: 1})); err != nil {
		t.Error(err)
	}
}

// TestCheckSpread finds what another service wrote beside the shards, and takes the shards for what they are.
func TestCheckSpread(t *testing.T) {
	cfg := bare(t)
	if _, err := CreateTables(t.Context(), cfg, "ORDER"); err != nil {
		t.Fatal(err)
	}
	if err := Spread(t.Context(), soon(cfg), over(4, "ORDER")...); err != nil {
		t.Fatal(err)
	}
	e := opened(t, cfg)
	for n := range 20 {
		if _, err := e.Commit(t.Context(), creates(&record.Record{PK: "ORDER#acme", SK: fmt.Sprint(n), Version: 1})); err != nil {
			t.Fatal(err)
		}
	}
	if problems, err := CheckTables(t.Context(), cfg); err != nil || len(problems) > 0 {
		t.Errorf("problems where there are none: %+v, %v", problems, err)
	}
	l, err := e.look(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := "ORDER#acme##0"
	if l.key("ORDER#acme", "1") == elsewhere {
		elsewhere = "ORDER#acme##1"
	}
	table := cfg.Prefix + "-order-data"
	for _, pk := range []string{"ORDER#acme", elsewhere, "ORDER#acme##4"} {
		if _, err := e.db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"pk": text(pk), "sk": text("1"), "version": number("1")}}); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := CheckTables(t.Context(), cfg)
	var got []string
	for _, p := range problems {
		got = append(got, p.PK)
	}
	want := []string{"ORDER#acme", elsewhere, "ORDER#acme##4"}
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("problems with %v, %v; want %v", got, err, want)
	}
	recs, err := e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "ORDER#acme", Limit: 100})
	if err != nil || len(recs) != 20 {
		t.Errorf("a list has %d records, %v", len(recs), err)
	}
}
