package dynamodb

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/tenant"
)

// ofJSON returns the value that DynamoDB JSON spells.
func ofJSON(t testing.TB, v any) types.AttributeValue {
	t.Helper()
	for kind, x := range v.(map[string]any) {
		switch kind {
		case "S":
			return text(x.(string))
		case "N":
			return number(x.(string))
		case "BOOL":
			return boolean(x.(bool))
		case "NULL":
			return null()
		case "M":
			m := make(item)
			for name, member := range x.(map[string]any) {
				m[name] = ofJSON(t, member)
			}
			return &types.AttributeValueMemberM{Value: m}
		case "L":
			l := []types.AttributeValue{}
			for _, element := range x.([]any) {
				l = append(l, ofJSON(t, element))
			}
			return &types.AttributeValueMemberL{Value: l}
		}
	}
	t.Fatalf("no value of DynamoDB: %v", v)
	return nil
}

// plain returns v as what cmp can compare: its type and its content.
func plain(v types.AttributeValue) any {
	switch v := v.(type) {
	case *types.AttributeValueMemberM:
		return plainItem(v.Value)
	case *types.AttributeValueMemberL:
		l := make([]any, len(v.Value))
		for i, element := range v.Value {
			l[i] = plain(element)
		}
		return l
	case *types.AttributeValueMemberSS:
		return fmt.Sprintf("SS %q", slices.Sorted(slices.Values(v.Value)))
	case *types.AttributeValueMemberNS:
		return fmt.Sprintf("NS %q", slices.Sorted(slices.Values(v.Value)))
	case *types.AttributeValueMemberBS:
		texts := make([]string, len(v.Value))
		for i, raw := range v.Value {
			texts[i] = string(raw)
		}
		return fmt.Sprintf("BS %q", slices.Sorted(slices.Values(texts)))
	case *types.AttributeValueMemberS:
		return "S " + v.Value
	case *types.AttributeValueMemberN: // the server keeps numbers, not how they were written
		canonical, err := record.ParseNumber(v.Value)
		if err != nil {
			return "N that is none: " + v.Value
		}
		return "N " + canonical
	default:
		return fmt.Sprintf("%T %v", v, v)
	}
}

func plainItem(it item) map[string]any {
	m := make(map[string]any, len(it))
	for name, v := range it {
		m[name] = plain(v)
	}
	return m
}

// without returns it without the attributes named.
func without(it item, names ...string) item {
	it = maps.Clone(it)
	for _, name := range names {
		delete(it, name)
	}
	return it
}

// sameItem fails the test where two items differ in an attribute, its type included.
func sameItem(t testing.TB, what string, got, want item) {
	t.Helper()
	if diff := cmp.Diff(plainItem(want), plainItem(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// recorded is what another framework left, put into tables of a new prefix, and a store on them.
type recorded struct {
	testing.TB
	cfg    Config
	engine *engine
	items  map[driver.Collection]map[row]item // by where they stand
}

// large is what the blobs hold that recorded items point to.
const large = `{"large":"content"}`

func load(t testing.TB) *recorded {
	content, err := os.ReadFile(filepath.Join("testdata", "golden", "tables.json"))
	if err != nil {
		t.Fatal(err)
	}
	var tables map[string][]map[string]any
	if err := json.Unmarshal(content, &tables); err != nil {
		t.Fatal(err)
	}
	srv := dynamodbtest.New(t)
	cfg := Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint, Region: srv.Region, Credentials: srv.Credentials, Blobs: Directory(t.TempDir()),
		Module: func(entityType string) string {
			return map[string]string{"TENANT": "tenant", "MASTER": "master"}[entityType] + map[string]string{"PRODUCT": "product", "ORDER": "product", "PLAIN": "product"}[entityType]
		}}
	if _, err := CreateTables(t.Context(), cfg, "TENANT", "MASTER", "PRODUCT"); err != nil {
		t.Fatal(err)
	}
	r := &recorded{TB: t, cfg: cfg, engine: opened(t, cfg), items: make(map[driver.Collection]map[row]item)}
	for name, items := range tables {
		table := cfg.Prefix + strings.TrimPrefix(name, "local-demo")
		for _, raw := range items {
			it := ofJSON(t, map[string]any{"M": raw}).(*types.AttributeValueMemberM).Value
			if _, err := r.engine.db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: it}); err != nil {
				t.Fatal(err)
			}
			d := decoder{it: it}
			for _, c := range driver.Collections() {
				if strings.HasSuffix(table, "-"+c.String()) {
					if r.items[c] == nil {
						r.items[c] = make(map[row]item)
					}
					r.items[c][row{table, d.text("pk"), d.text("sk")}] = it
				}
			}
			if p, ok := it["attributes"].(*types.AttributeValueMemberS); ok {
				_, key, _ := strings.Cut(strings.TrimPrefix(p.Value, "s3://"), "/")
				if err := cfg.Blobs.Put(t.Context(), key, []byte(large)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return r
}

// raw returns the item where r's record stands in c.
func (r *recorded) raw(c driver.Collection, rec *record.Record) (row, item) {
	r.Helper()
	ref := driver.RefOf(c, rec)
	table, err := r.engine.table(c, ref.PK)
	if err != nil {
		r.Fatal(err)
	}
	at := row{table, ref.PK, sortKey(ref)}
	found, err := r.engine.items(r.Context(), []row{at})
	if err != nil {
		r.Fatal(err)
	}
	return at, found[at]
}

// pointed are the attributes that a recorded item has, those of its blob where it points to one.
func pointed(it item) types.AttributeValue {
	if _, ok := it["attributes"].(*types.AttributeValueMemberS); ok {
		return &types.AttributeValueMemberM{Value: item{"large": text("content")}}
	}
	return it["attributes"]
}

func TestRecordedItemsAreRead(t *testing.T) {
	r := load(t)
	total := 0
	for _, c := range []driver.Collection{driver.Data, driver.Command, driver.History} {
		recs, err := r.engine.Scan(t.Context(), c, driver.Ref{}, 1000)
		if err != nil || len(recs) != len(r.items[c]) {
			t.Fatalf("a scan of %v: %d records, %v; want %d", c, len(recs), err, len(r.items[c]))
		}
		total += len(recs)
		for _, rec := range recs {
			got, err := r.engine.Get(t.Context(), driver.RefOf(c, rec))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rec, got, cmp.AllowUnexported(record.Time{})); diff != "" {
				t.Errorf("get and scan differ: %s", diff)
			}
			at, stored := r.raw(c, rec)
			want, ok := r.items[c][at]
			if !ok {
				t.Fatalf("there is no recorded item at %v", at)
			}
			sameItem(t, "the item as the server has it", stored, want)

			// What is written from the record says what the item says, and has no attribute of another name or type.
			again := mustEncode(c, rec)
			want = maps.Clone(want)
			if a := pointed(want); a != nil {
				want["attributes"] = a
			}
			ours := []string{"isDeleted", "ttl", "id", "cpk", "csk", "version"} // written where the other framework may leave them out
			for _, name := range ours {
				if _, ok := want[name]; !ok {
					delete(again, name)
				}
			}
			delete(want, "taskToken")
			if c == driver.Command { // not written with a command, and kept where they are
				delete(want, "cpk")
				delete(want, "csk")
			} else if rec.Version > 0 {
				want["csk"] = text(record.VersionedSK(rec.SK, rec.Version))
			}
			sameItem(t, fmt.Sprintf("the item written from %v %s", c, rec.ID()), again, want)
		}
	}
	if total != 110 {
		t.Errorf("%d recorded items were read, want 110", total)
	}
}

// TestRecordedItemsAreRewritten puts every row in the place of itself: nothing is lost, whatever this engine knows of it.
func TestRecordedItemsAreRewritten(t *testing.T) {
	r := load(t)
	for _, c := range []driver.Collection{driver.Data, driver.Command, driver.History} {
		recs, err := r.engine.Scan(t.Context(), c, driver.Ref{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			at, _ := r.raw(c, rec)
			cond := driver.Condition{Kind: driver.IfVersion, Version: rec.Version}
			if _, err := r.engine.Commit(t.Context(), driver.Batch{Writes: []driver.Write{{Collection: c, Record: rec, If: cond}}}); err != nil {
				t.Fatal(rec.ID(), err)
			}
			_, got := r.raw(c, rec)
			want := maps.Clone(r.items[c][at])
			if a := pointed(want); a != nil {
				want["attributes"] = a
			}
			want["id"], want["isDeleted"] = text(rec.ID()), boolean(rec.IsDeleted)
			if want["ttl"] == nil {
				want["ttl"] = null()
			}
			want["version"] = number(fmt.Sprint(rec.Version))
			if c != driver.Command {
				want["cpk"], want["csk"] = text(rec.PK), text(record.VersionedSK(rec.SK, rec.Version))
			}
			sameItem(t, fmt.Sprintf("%v %s", c, rec.ID()), got, want)
		}
	}
}

// TestRecordedItemsThroughAScope lists the records of every tenant whose code is valid, and changes each and takes the change back.
func TestRecordedItemsThroughAScope(t *testing.T) {
	r := load(t)
	store, err := storage.Open(t.Context(), At(r.cfg), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	listed := 0
	for _, p := range []struct {
		code, entityType, segment string
		rows                      int
	}{
		{"acme", "PRODUCT", "", 9}, {"acme", "ORDER", "2026", 1}, {"ttl-co", "PRODUCT", "", 1}, {"ttl-co", "MASTER", "", 3},
		{"acme", "TENANT", "", 2}, {"beta", "TENANT", "", 1}, {"gamma", "TENANT", "", 1}, {"common", "TENANT", "", 1}, {"mixedcase", "TENANT", "", 0},
	} {
		code, err := tenant.Parse(p.code)
		if err != nil {
			t.Fatal(err)
		}
		sc := scope.New(code, scope.Full, time.Time{}, &scope.Actor{UserID: "tester"})
		view, err := store.In(sc)
		if err != nil {
			t.Fatal(err)
		}
		var segments []string
		if p.segment != "" {
			segments = []string{p.segment}
		}
		partition, err := record.NewPartition(sc, record.MustEntityType(p.entityType), segments...)
		if err != nil {
			t.Fatal(err)
		}
		recs, err := view.List(t.Context(), storage.Query{Partition: partition, IncludeDeleted: true, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		if len(recs) != p.rows {
			t.Errorf("%s has %d records, want %d", partition.PK(), len(recs), p.rows)
		}
		listed += len(recs)
		for _, before := range recs {
			_, itemBefore := r.raw(driver.Data, before)
			now := before
			for _, name := range []string{"changed", before.Name} {
				now = r.publish(view, now, name)
			}
			_, itemAfter := r.raw(driver.Data, now)
			if a := pointed(itemBefore); a != nil {
				itemBefore["attributes"] = a
			}
			counted := []string{"version", "csk", "isDeleted", "id", "cpk", "ttl", "tenantCode", "code", "type", "name"}
			sameItem(t, "all that was not changed of "+before.ID(), without(itemAfter, counted...), without(itemBefore, counted...))
			for _, name := range counted[3:] {
				if v, ok := itemBefore[name]; ok && plain(v) != plain(itemAfter[name]) {
					t.Errorf("%s of %s became %v", name, before.ID(), plain(itemAfter[name]))
				}
			}
			_, past := r.raw(driver.History, before)
			if plain(past["version"]) != "N "+fmt.Sprint(before.Version) || cmp.Diff(plain(past["attributes"]), plain(itemBefore["attributes"])) != "" && past["attributes"] != nil {
				t.Errorf("the history of %s is %v", before.ID(), plainItem(past))
			}
		}
	}
	if listed == 0 {
		t.Error("nothing was listed")
	}
}

// publish makes a record's next version with another name.
func (r *recorded) publish(view storage.View, current *record.Record, name string) *record.Record {
	r.Helper()
	next := current.Clone()
	next.Name, next.Version = name, current.Version+1
	command := next.Clone()
	command.Status, command.SyncMode = record.StatusFinished, record.SyncModeSync
	change := storage.Change{Command: command, Data: next, Replace: current}
	_, err := view.Commit(r.Context(), change)
	if conflict, ok := errors.AsType[*driver.Conflict](err); ok && conflict.Write == 0 { // a publish of that framework died before its data row
		_, err = view.Finish(r.Context(), change)
	}
	if err != nil {
		r.Fatal(current.ID(), err)
	}
	return next
}
