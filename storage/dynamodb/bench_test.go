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

// benchRecords is how many records the updates of a benchmark go round.
const benchRecords = 256

// BenchmarkUpdate makes the next version of one of a few records: as Tenantry does, as a program would that does no more than
// read the state and write the three rows in one transaction, and in the twelve calls of mbc-cqrs-serverless. All on one server, with the
// change log of an open store behind it. The test server slows down as its streams grow, so each is run in a process of its own:
//
//	for by in tenantry transaction twelve-calls; do go test ./storage/dynamodb -run '^$' -bench "Update/writers=16/by=$by" -benchtime 2000x; done
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 16} {
		for _, by := range []struct {
			name   string
			update func(e *engine) func(i int) error
		}{{"tenantry", nil}, {"transaction", bareUpdate}, {"twelve-calls", twelveCalls}} {
			b.Run(fmt.Sprintf("writers=%d/by=%s", writers, by.name), func(b *testing.B) {
				cfg := empty(b)
				cfg.Module = nil
				if _, err := CreateTables(b.Context(), cfg, "PRODUCT", "MASTER"); err != nil {
					b.Fatal(err)
				}
				var update func(i int) error
				if by.update == nil {
					update = publishing(b, cfg)
				} else {
					e := opened(b, cfg)
					for i := range benchRecords {
						if _, err := e.Commit(b.Context(), storagetest.BenchCreate(i)); err != nil {
							b.Fatal(err)
						}
					}
					bare := by.update(e)
					update = func(i int) error {
						defer e.feed.log.Poke() // the log is to follow all three alike
						return bare(i)
					}
				}
				var busy [benchRecords]atomic.Bool // one writer for each record at a time
				storagetest.Together(b, writers, func(i int) {
					n := i % benchRecords
					for !busy[n].CompareAndSwap(false, true) {
						n = (n + 1) % benchRecords
					}
					defer busy[n].Store(false)
					if err := update(n); err != nil {
						b.Error(err)
					}
				})
			})
		}
	}
}

// publishing returns an update by the whole of Tenantry's write side.
func publishing(b *testing.B, cfg Config) func(i int) error {
	store, err := storage.Open(context.Background(), At(cfg), storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
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
	publish := func(i int) error {
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
	for i := range benchRecords {
		if err := publish(i); err != nil {
			b.Fatal(err)
		}
	}
	return publish
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
	it, err := encode(c, r, "")
	if err != nil {
		panic(err)
	}
	return it
}

// bareUpdate is the least that keeps the three rows in step.
func bareUpdate(e *engine) func(i int) error {
	data, commands, history := e.cfg.Prefix+"-product-data", e.cfg.Prefix+"-product-command", e.cfg.Prefix+"-product-history"
	return func(i int) error {
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

// TestUnits measures the capacity that operations take, as the server counts it, for records of about 640 bytes.
func TestUnits(t *testing.T) {
	var counted units
	cfg := empty(t)
	cfg.transport = through(counted.serve)
	e := opened(t, cfg)
	product := func(b driver.Batch) driver.Batch {
		for _, w := range b.Writes {
			w.Record.PK = strings.Replace(w.Record.PK, "PRODUCT", "A", 1)
		}
		return b
	}
	commit := func(b driver.Batch) func() error {
		return func() error { _, err := e.Commit(t.Context(), product(b)); return err }
	}
	fill := driver.Batch{}
	for i := range 30 {
		fill.Writes = append(fill.Writes, storagetest.BenchCreate(1000+i).Writes...)
	}
	if err := commit(fill)(); err != nil {
		t.Fatal(err)
	}
	ref := driver.Ref{Collection: driver.Data, PK: "A#acme", SK: storagetest.BenchSK(1)}
	for _, tc := range []struct {
		operation   string
		call        func() error
		read, write float64
	}{
		{"create", commit(storagetest.BenchCreate(1)), 0, 4},
		{"update", commit(storagetest.BenchUpdate(1, 2)), 0, 6},
		{"get", func() error { _, err := e.Get(t.Context(), ref); return err }, 1, 0},
		{"get of nothing", func() error {
			_, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "none"})
			return err
		}, 1, 0},
		{"list of 30", func() error {
			_, err := e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "A#acme", After: storagetest.BenchSK(999), Limit: 30})
			return err
		}, 6, 0},
	} {
		read, write, err := counted.of(tc.call)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-15s %4.1f read units, %4.1f write units", tc.operation, read, write)
		if read > tc.read || write > tc.write || read+write == 0 {
			t.Errorf("%s takes %v read and %v write units, want at most %v and %v", tc.operation, read, write, tc.read, tc.write)
		}
	}
}

// units counts the capacity of calls on the tables of records.
type units struct {
	mu          sync.Mutex
	counting    bool
	read, write float64
}

// of returns what the calls of f take.
func (u *units) of(f func() error) (read, write float64, err error) {
	u.mu.Lock()
	u.counting, u.read, u.write = true, 0, 0
	u.mu.Unlock()
	err = f()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.counting = false
	return u.read, u.write, err
}

func (u *units) serve(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
	u.mu.Lock()
	counting := u.counting
	u.mu.Unlock()
	engine := op == "GetItem" || op == "Query" || op == "TransactWriteItems" // the sequencer reads tables otherwise, and writes the system's
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
	for _, c := range many.ConsumedCapacity {
		if strings.Contains(op, "Write") {
			u.write += c.CapacityUnits
		} else {
			u.read += c.CapacityUnits
		}
	}
	return resp, nil
}
