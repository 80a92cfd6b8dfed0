package dynamodb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/storagetest"
	"github.com/tenantry/tenantry/tenant"
)

// Each way of updating goes round legRecords records. After leg updates of each the benchmark begins anew, on another server.
const (
	legRecords = 64
	leg        = 256
)

// BenchmarkUpdate makes the next version of one of a few records: as Tenantry does, as a program would that does no more than
// read the state and write the three rows in one transaction, and in the twelve calls of mbc-cqrs-serverless. The three take turns, some dozens of updates each, in the
// same tables, with the change log of an open store behind it: so whatever slows the machine down slows all three. The server for tests needs longer for a row the
// more its table's stream holds, which DynamoDB does not; so a new one takes its place after a few hundred updates. What counts is the
// ratios; those of the processor time are of this process alone, without the server's.
//
//	go test ./storage/dynamodb -run '^$' -bench Update -benchtime 4096x
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			ways := []*way{{name: "tenantry"}, {name: "transaction"}, {name: "twelve-calls"}}
			for done := 0; done < b.N; done += leg {
				prepare(b, ways, func() { takeTurns(b, writers, min(leg, b.N-done), done, ways) })
			}
			b.ReportMetric(0, "ns/op") // it would be of all three together
			for _, w := range ways {
				b.ReportMetric(float64(b.N)/w.took.Seconds(), w.name+"/s")
			}
			for _, w := range ways[1:] {
				b.ReportMetric(w.took.Seconds()/ways[0].took.Seconds(), "of-"+w.name)
				b.ReportMetric(w.worked.Seconds()/ways[0].worked.Seconds(), "cpu-of-"+w.name)
			}
		})
	}
}

// way is one of the ways in which a record is updated.
type way struct {
	name         string
	update       func(i int) error // on the server of this leg
	first        int               // of its records
	took, worked time.Duration
	busy         [legRecords]atomic.Bool // one writer for each record at a time
}

// prepare calls run while ways can be gone on a server with their records.
func prepare(b *testing.B, ways []*way, run func()) {
	cfg := empty(b)
	cfg.Module = nil
	if _, err := CreateTables(b.Context(), cfg, "PRODUCT", "MASTER"); err != nil {
		b.Fatal(err)
	}
	var e *engine
	store, err := storage.Open(context.Background(), driver.NewSource("dynamodb", func(ctx context.Context) (driver.Engine, error) {
		var err error
		e, err = open(ctx, cfg)
		return e, err
	}), storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	}()
	ways[0].update, ways[1].update, ways[2].update = publishing(b, store), bareUpdate(e), twelveCalls(e)
	for i, w := range ways {
		w.first = i * legRecords
		for n := range legRecords {
			if _, err := e.Commit(b.Context(), storagetest.BenchCreate(w.first+n)); err != nil {
				b.Fatal(err)
			}
		}
	}
	run()
}

// takeTurns makes count updates in each way from a number of writers, after done in each on other servers.
func takeTurns(b *testing.B, writers, count, done int, ways []*way) {
	turn := 16 * writers
	for end := done + count; done < end; done += turn {
		for i := range ways {
			w := ways[(done/turn+i)%len(ways)]
			began, worked := time.Now(), processorTime(b)
			storagetest.Each(writers, min(turn, end-done), func(i int) {
				n := (done + i) % legRecords
				for !w.busy[n].CompareAndSwap(false, true) {
					n = (n + 1) % legRecords
				}
				defer w.busy[n].Store(false)
				if err := w.update(w.first + n); err != nil {
					b.Error(err)
				}
			})
			w.took, w.worked = w.took+time.Since(began), w.worked+processorTime(b)-worked
		}
	}
}

// processorTime returns what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// publishing returns an update by the whole of Tenantry's write side.
func publishing(b testing.TB, store *storage.Store) func(i int) error {
	entities, err := entity.NewRegistry(false)
	if err != nil {
		b.Fatal(err)
	}
	keeper := func(word string) storage.Keeper {
		k, err := store.Keeper(scope.NewRoot(), record.MustEntityType(word))
		if err != nil {
			b.Fatal(err)
		}
		return k
	}
	commands := command.New(command.Config{Store: store, Entities: entities, Receipts: keeper("RECEIPT"), Codes: keeper("CODE"), Partitions: keeper("PARTITIONS")})
	acme, err := tenant.Parse("acme")
	if err != nil {
		b.Fatal(err)
	}
	sc := scope.New(acme, scope.Full, time.Time{}, &scope.Actor{UserID: "user-1", RequestID: "01HX7MBJK3V9WQBZ7XNDK5ZT2M", SourceIP: "192.0.2.1", Source: "POST /api/data/product"})
	var n atomic.Int64
	return func(i int) error {
		key, err := record.NewKey(sc, record.MustEntityType("PRODUCT"), storagetest.BenchSK(i))
		if err != nil {
			return err
		}
		like := storagetest.BenchRecord(i, 1)
		attributes, err := like.Attributes.With("price", fmt.Append(nil, n.Add(1)))
		if err != nil {
			return err
		}
		_, err = commands.PublishSync(context.Background(), sc, command.Input{Key: key, Version: record.VersionLatest, Code: like.Code, Name: like.Name, Attributes: attributes})
		return err
	}
}

// at names a row of the i-th record of a benchmark.
func at(c driver.Collection, i int, version int64) driver.Ref {
	return driver.RefOf(c, storagetest.BenchRecord(i, version))
}

func versionIn(it item) int64 {
	d := decoder{it: it}
	return d.integer("version")
}

func mustEncode(c driver.Collection, r *record.Record) item {
	it, err := encode(c, r)
	if err == nil {
		err = new(attributes).put(context.Background(), server{}, it, r)
	}
	if err != nil {
		panic(err)
	}
	return it
}

// bareUpdate is the least that keeps the three rows in step.
func bareUpdate(e *engine) func(i int) error {
	data, commands, history := e.cfg.Prefix+"-product-data", e.cfg.Prefix+"-product-command", e.cfg.Prefix+"-product-history"
	return func(i int) error {
		defer e.feed.log.Poke() // as a commit does
		ctx := context.Background()
		out, err := e.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: &data, Key: keyOf(at(driver.Data, i, 0)), ConsistentRead: aws.Bool(true)})
		if err != nil {
			return err
		}
		version := versionIn(out.Item)
		put := func(table string, c driver.Collection, version int64, condition string, values item) types.TransactWriteItem {
			return types.TransactWriteItem{Put: &types.Put{TableName: &table, Item: mustEncode(c, storagetest.BenchRecord(i, version)), ConditionExpression: &condition, ExpressionAttributeValues: values}}
		}
		_, err = e.db.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
			put(commands, driver.Command, version+1, "attribute_not_exists(pk)", nil),
			put(data, driver.Data, version+1, "version = :v", item{":v": number(fmt.Sprint(version))}),
			put(history, driver.History, version, "attribute_not_exists(pk)", nil),
		}})
		return err
	}
}

// twelveCalls makes the calls of a synchronous update one after another, as that framework does: seven reads, four puts, an update.
func twelveCalls(e *engine) func(i int) error {
	data, commands, history, master := e.cfg.Prefix+"-product-data", e.cfg.Prefix+"-product-command", e.cfg.Prefix+"-product-history", e.cfg.Prefix+"-master-data"
	ctx := context.Background()
	get := func(table string, key item) (item, error) {
		out, err := e.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: key})
		if err != nil {
			return nil, err
		}
		return out.Item, nil
	}
	days := func(of string) error {
		_, err := get(master, item{"pk": text("MASTER#acme"), "sk": text("TTL#" + of)})
		return err
	}
	put := func(table string, c driver.Collection, r *record.Record, condition *string) error {
		_, err := e.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: mustEncode(c, r), ConditionExpression: condition})
		return err
	}
	return func(i int) error {
		defer e.feed.log.Poke()
		current, err := get(data, keyOf(at(driver.Data, i, 0)))
		if err != nil {
			return err
		}
		version := versionIn(current)
		for _, call := range []func() error{
			func() error { return days("command") },
			func() error {
				return put(commands, driver.Command, storagetest.BenchRecord(i, version+1), aws.String("attribute_not_exists(pk) AND attribute_not_exists(sk)"))
			},
			func() error { _, err := get(commands, keyOf(at(driver.Command, i, version))); return err },
			func() error { return put(commands, driver.Command, storagetest.BenchRecord(i, version), nil) },
			func() error { _, err := get(data, keyOf(at(driver.Data, i, 0))); return err },
			func() error { return days("history") },
			func() error { return put(history, driver.History, storagetest.BenchRecord(i, version), nil) },
			func() error { return days("data") },
			func() error { _, err := get(data, keyOf(at(driver.Data, i, 0))); return err },
			func() error { return put(data, driver.Data, storagetest.BenchRecord(i, version+1), nil) },
			func() error {
				_, err := e.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: &commands, Key: keyOf(at(driver.Command, i, version+1)),
					UpdateExpression: aws.String("SET #status = :status"), ExpressionAttributeNames: map[string]string{"#status": "status"},
					ExpressionAttributeValues: item{":status": text(record.StatusFinished)}})
				return err
			},
		} {
			if err := call(); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestUnits measures the capacity that operations take, as the server counts it, for records of about 640 bytes, and prints the table of docs/adr/0010-dynamodb.md:
//
//	go test ./storage/dynamodb -run TestUnits -v
func TestUnits(t *testing.T) {
	var counted units
	cfg := empty(t)
	cfg.transport = through(counted.serve)
	if err := Spread(t.Context(), soon(cfg), over(8, "SPREAD")...); err != nil {
		t.Fatal(err)
	}
	var e *engine
	store, err := storage.Open(t.Context(), driver.NewSource("dynamodb", func(ctx context.Context) (driver.Engine, error) {
		var err error
		e, err = open(ctx, cfg)
		return e, err
	}), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	publish := publishing(t, store)
	commit := func(b driver.Batch) func() error {
		return func() error { _, err := e.Commit(t.Context(), b); return err }
	}
	var fill, elsewhere driver.Batch
	for i := range 30 {
		fill.Writes = append(fill.Writes, storagetest.BenchCreate(1000+i).Writes...)
		elsewhere.Writes = append(elsewhere.Writes, storagetest.BenchCreate(1000+i).Writes...)
	}
	for _, w := range elsewhere.Writes {
		w.Record.PK = "SPREAD#acme"
	}
	for _, prepare := range []func() error{commit(fill), commit(elsewhere), func() error { return publish(0) }} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
	}
	get := func(sk string) func() error {
		return func() error {
			_, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: storagetest.BenchPK, SK: sk})
			return err
		}
	}
	list := func(pk string) func() error {
		return func() error {
			recs, err := e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: pk, After: storagetest.BenchSK(999), Limit: 30})
			if err == nil && len(recs) != 30 {
				err = fmt.Errorf("a list of %d", len(recs))
			}
			return err
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| operation | calls | read units | write units |\n|---|---|---|---|\n")
	for _, tc := range []struct {
		operation          string
		call               func() error
		calls, read, write float64
	}{
		{"publish that creates", func() error { return publish(1) }, 2, 1, 4},
		{"publish that updates", func() error { return publish(1) }, 2, 1, 6},
		{"commit of a create (command, data)", commit(storagetest.BenchCreate(2)), 1, 0, 4},
		{"commit of an update (command, data, history)", commit(storagetest.BenchUpdate(2, 2)), 1, 0, 6},
		{"get", get(storagetest.BenchSK(2)), 1, 1, 0},
		{"get of what is not there", get("none"), 1, 1, 0},
		{"batch get of 30", func() error {
			var refs []driver.Ref
			for i := range 30 {
				refs = append(refs, at(driver.Data, 1000+i, 0))
			}
			_, err := e.BatchGet(t.Context(), refs)
			return err
		}, 1, 30, 0},
		{"list of 30", list(storagetest.BenchPK), 1, 6, 0},
		{"list of 30, spread over 8", list("SPREAD#acme"), 8, 8, 0},
	} {
		calls, read, write, err := counted.of(tc.call)
		if err != nil {
			t.Fatal(tc.operation, err)
		}
		fmt.Fprintf(&table, "| %s | %v | %v | %v |\n", tc.operation, calls, read, write)
		if calls != tc.calls || read > tc.read || write > tc.write || read+write == 0 {
			t.Errorf("%s takes %v calls, %v read and %v write units, want %v, and at most %v and %v", tc.operation, calls, read, write, tc.calls, tc.read, tc.write)
		}
	}
	t.Logf("measured:\n%s", table.String())
}

// units counts the capacity of calls on the tables of records.
type units struct {
	mu                 sync.Mutex
	counting           bool
	calls, read, write float64
}

// of returns what the calls of f take.
func (u *units) of(f func() error) (calls, read, write float64, err error) {
	u.mu.Lock()
	u.counting, u.calls, u.read, u.write = true, 0, 0, 0
	u.mu.Unlock()
	err = f()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.counting = false
	return u.calls, u.read, u.write, err
}

func (u *units) serve(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
	u.mu.Lock()
	counting := u.counting
	u.mu.Unlock()
	engine := op == "GetItem" || op == "BatchGetItem" || op == "Query" || op == "TransactWriteItems" // the sequencer reads tables otherwise, and writes the system's
	if !counting || !engine || bytes.Contains(body, []byte("-tenantry-system")) {
		return w.send(req, body)
	}
	resp, err := w.send(req, append([]byte(`{"ReturnConsumedCapacity":"TOTAL",`), body[1:]...))
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	resp.Header.Del("X-Amz-Crc32")
	type consumed struct{ CapacityUnits float64 }
	var one struct{ ConsumedCapacity consumed }
	var many struct{ ConsumedCapacity []consumed }
	if err := json.Unmarshal(content, &many); err != nil {
		if err := json.Unmarshal(content, &one); err != nil {
			return nil, err
		}
		many.ConsumedCapacity = []consumed{one.ConsumedCapacity}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls++
	for _, c := range many.ConsumedCapacity {
		if strings.Contains(op, "Write") {
			u.write += c.CapacityUnits
		} else {
			u.read += c.CapacityUnits
		}
	}
	return resp, nil
}
