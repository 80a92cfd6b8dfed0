package data_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// refused fails the test unless err has the code.
func refused(t testing.TB, what string, err error, want fault.Code) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %s", what, err, want)
	}
}

func TestGet(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		acme := worldtest.Scope("acme")
		live, dead, none := w.Key(acme, "PRODUCT", "live"), w.Key(acme, "PRODUCT", "dead"), w.Key(acme, "PRODUCT", "none")
		w.Publish(acme, command.Input{Key: live, Name: "Chair", Attributes: w.Attributes(`{"n":9007199254740993}`)})
		w.Publish(acme, command.Input{Key: dead, Name: "Table"})
		w.Publish(acme, command.Input{Key: dead, Version: 1, Name: "Table", IsDeleted: true})

		rec, err := w.Data.Get(t.Context(), acme, live)
		if err != nil || rec.Name != "Chair" || string(rec.Attributes) != `{"n":9007199254740993}` {
			t.Errorf("live: %+v, %v", rec, err)
		}
		_, err = w.Data.Get(t.Context(), acme, dead)
		refused(t, "deleted", err, fault.NotFound)
		if rec, err := w.Data.Get(t.Context(), acme, dead, data.IncludeDeleted()); err != nil || !rec.IsDeleted || rec.Version != 2 {
			t.Errorf("deleted, asked for: %+v, %v", rec, err)
		}
		for _, opts := range [][]data.Option{nil, {data.IncludeDeleted()}} {
			_, err = w.Data.Get(t.Context(), acme, none, opts...)
			refused(t, "missing", err, fault.NotFound)
		}

		names := func(recs []*record.Record, err error) string {
			if err != nil {
				t.Error(err)
			}
			var out []string
			for _, r := range recs {
				out = append(out, r.SK)
			}
			return strings.Join(out, " ")
		}
		keys := []record.Key{dead, live, none, live}
		if got := names(w.Data.BatchGet(t.Context(), acme, keys)); got != "live" {
			t.Errorf("batch: %q", got)
		}
		if got := names(w.Data.BatchGet(t.Context(), acme, keys, data.IncludeDeleted())); got != "dead live" {
			t.Errorf("batch with deleted ones: %q", got)
		}
		if got := names(w.Data.BatchGet(t.Context(), acme, nil)); got != "" {
			t.Errorf("batch of nothing: %q", got)
		}
		many := make([]record.Key, data.MaxBatch)
		for i := range many {
			many[i] = w.Key(acme, "PRODUCT", fmt.Sprint(i))
		}
		many[len(many)-1] = live
		if got := names(w.Data.BatchGet(t.Context(), acme, many)); got != "live" {
			t.Errorf("the largest batch: %q", got)
		}
		_, err = w.Data.BatchGet(t.Context(), acme, append(many, dead))
		refused(t, "a batch too large", err, fault.ValidationFailed)
		_, err = w.Data.BatchGet(t.Context(), acme, []record.Key{live, w.Key(worldtest.Scope("bravo"), "PRODUCT", "live")})
		refused(t, "a batch with a foreign key", err, fault.TenantForbidden)

		if cmd, err := w.Data.Command(t.Context(), acme, dead, 2); err != nil || !cmd.IsDeleted || cmd.Status != record.StatusFinished {
			t.Errorf("command: %+v, %v", cmd, err)
		}
		_, err = w.Data.Command(t.Context(), acme, dead, 3)
		refused(t, "a command that isn't there", err, fault.NotFound)
	})
}

// Every read is refused to a scope that doesn't cover the record.
func TestOnlyAScopeOfTheTenantReads(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{Entities: []entity.Type{{Name: record.MustEntityType("TEMPLATE"), Shared: true}}})
	acme, common := worldtest.Scope("acme"), worldtest.Scope("common")
	product, template, hidden := w.Key(acme, "PRODUCT", "1"), w.Key(common, "TEMPLATE", "1"), w.Key(common, "PRODUCT", "1")
	w.Publish(acme, command.Input{Key: product, Name: "n"})
	w.Publish(common, command.Input{Key: template, Name: "n"})
	w.Publish(common, command.Input{Key: hidden, Name: "n"})
	var now time.Time // when the last of them was written
	for _, row := range w.Rows(driver.Data) {
		if at := row.UpdatedAt.Time(); at.After(now) {
			now = at
		}
	}
	reads := func(sc scope.Scope, key record.Key) map[string]error {
		errs := map[string]error{}
		_, errs["get"] = w.Data.Get(t.Context(), sc, key)
		_, errs["batch"] = w.Data.BatchGet(t.Context(), sc, []record.Key{key})
		_, errs["list"] = w.Data.List(t.Context(), sc, data.Query{Partition: key.Partition})
		_, errs["history"] = w.Data.History(t.Context(), sc, key, 0, "")
		_, errs["version"] = w.Data.GetVersion(t.Context(), sc, key, 1)
		_, errs["at"] = w.Data.GetAt(t.Context(), sc, key, now)
		_, errs["diff"] = w.Data.Diff(t.Context(), sc, key, 1, 1)
		_, errs["command"] = w.Data.Command(t.Context(), sc, key, 1)
		return errs
	}
	for _, tt := range []struct {
		name string
		sc   scope.Scope
		key  record.Key
		want fault.Code
	}{
		{"own", acme, product, ""},
		{"common", common, hidden, ""},
		{"shared", worldtest.ReadingCommon(), template, ""},
		{"zero scope", scope.Scope{}, product, fault.TenantRequired},
		{"another tenant", worldtest.Scope("bravo"), product, fault.TenantForbidden},
		{"common's, by its full scope's key", acme, template, fault.TenantForbidden},
		{"not shared", worldtest.ReadingCommon(), hidden, fault.TenantForbidden},
		{"a tenant's, reading common", worldtest.ReadingCommon(), product, fault.TenantForbidden},
		{"zero key", acme, record.Key{}, fault.TenantForbidden},
	} {
		for read, err := range reads(tt.sc, tt.key) {
			if fault.CodeOf(err) != tt.want {
				t.Errorf("%s, %s: %v; want %q", tt.name, read, err, tt.want)
			}
		}
	}
}

// Older records of common are read like any other, with their past.
func TestOlderRecordsOfCommon(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		common := worldtest.Scope("common")
		row := func(pk, sk string, version int64) *record.Record {
			at, err := record.ParseTime(fmt.Sprintf("2026-01-15T09:00:%02dZ", version))
			if err != nil {
				t.Fatal(err)
			}
			return &record.Record{PK: pk, SK: sk, Name: fmt.Sprintf("%s of %s", sk, pk), TenantCode: "COMMON", Version: version, CreatedAt: at, UpdatedAt: at}
		}
		w.Plant(driver.Data, row("PRODUCT#COMMON", "a", 3), row("PRODUCT#common", "b", 1), row("PRODUCT#COMMON", "c", 1), row("PRODUCT#common", "c", 2), row("PRODUCT#COMMON", "d", 1))
		w.Plant(driver.History, row("PRODUCT#COMMON", "a", 1), row("PRODUCT#COMMON", "a", 2), row("PRODUCT#common", "c", 1))
		w.Plant(driver.Command, row("PRODUCT#COMMON", "a", 3))

		var listed []string
		q := data.Query{Partition: w.Key(common, "PRODUCT", "a").Partition, Limit: 1}
		for pages := 0; ; pages++ {
			page, err := w.Data.List(t.Context(), common, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Items {
				listed = append(listed, r.PK+" "+r.Name)
			}
			if q.Cursor = page.Cursor; q.Cursor == "" {
				break
			}
		}
		want := []string{"PRODUCT#common a of PRODUCT#COMMON", "PRODUCT#common b of PRODUCT#common", "PRODUCT#common c of PRODUCT#common", "PRODUCT#common d of PRODUCT#COMMON"}
		if diff := cmp.Diff(want, listed); diff != "" {
			t.Errorf("list: %s", diff)
		}
		recs, err := w.Data.BatchGet(t.Context(), common, []record.Key{w.Key(common, "PRODUCT", "c"), w.Key(common, "PRODUCT", "a")})
		if err != nil || len(recs) != 2 || recs[0].Version != 2 || recs[1].Version != 3 || recs[1].TenantCode != "common" {
			t.Errorf("batch: %+v, %v", recs, err)
		}
		a := w.Key(common, "PRODUCT", "a")
		history, err := w.Data.History(t.Context(), common, a, 10, "")
		if err != nil || len(history.Items) != 3 || history.Items[2].Version != 1 {
			t.Errorf("history: %+v, %v", history, err)
		}
		if r, err := w.Data.GetVersion(t.Context(), common, a, 2); err != nil || r.PK != "PRODUCT#common" || r.Version != 2 {
			t.Errorf("version: %+v, %v", r, err)
		}
		if r, err := w.Data.Command(t.Context(), common, a, 3); err != nil || r.PK != "PRODUCT#common" {
			t.Errorf("command: %+v, %v", r, err)
		}
	})
}
