package command_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

func TestProvenance(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		clock := worldtest.NewClock(noon)
		w := worldtest.New(t, src, worldtest.Options{Now: clock.Now})
		key := w.Key(worldtest.Scope("acme"), "PRODUCT", "1")
		by := func(user string) scope.Scope {
			return worldtest.ScopeFor("acme", scope.Actor{Issuer: "idp", UserID: user, UserCode: "code-" + user, RequestID: "req-" + user, SourceIP: "10.0.0." + user, Source: "op-" + user})
		}
		publish := func(user string, deleted bool) *record.Record {
			res := w.Publish(by(user), command.Input{Key: key, Version: -1, Name: user, IsDeleted: deleted})
			clock.Advance(time.Minute)
			return res.Record
		}
		type who struct{ Created, Updated, Request string }
		got := func(r *record.Record) who {
			if r.RequestID != "req-"+r.UpdatedBy || r.Source != "op-"+r.UpdatedBy {
				t.Errorf("version %d: request %s, source %s", r.Version, r.RequestID, r.Source)
			}
			return who{r.CreatedAt.String() + " " + r.CreatedBy + " " + r.CreatedIP, r.UpdatedAt.String() + " " + r.UpdatedBy + " " + r.UpdatedIP, r.RequestID}
		}
		const one, two, three, four = "2026-11-23T12:00:00.000Z 1 10.0.0.1", "2026-11-23T12:01:00.000Z 2 10.0.0.2", "2026-11-23T12:02:00.000Z 3 10.0.0.3", "2026-11-23T12:03:00.000Z 4 10.0.0.4"
		want := []who{{one, one, "req-1"}, {one, two, "req-2"}, {one, three, "req-3"}, {four, four, "req-4"}}
		for i, deleted := range []bool{false, false, true, false} { // the fourth begins a new life of the record
			r := publish(string(rune('1'+i)), deleted)
			if diff := cmp.Diff(want[i], got(r)); diff != "" {
				t.Errorf("version %d: %s", r.Version, diff)
			}
		}
		folded(t, w, by("1"), key)
	})
}

// Where a node's clock is behind the one that wrote last, times still follow versions.
func TestTimesOfARecordNeverGoBack(t *testing.T) {
	clock := worldtest.NewClock(noon)
	w := worldtest.New(t, memory.New(), worldtest.Options{Now: clock.Now})
	acme := worldtest.Scope("acme")
	key := w.Key(acme, "PRODUCT", "1")
	var times []string
	for i, at := range []time.Time{noon, noon.Add(-time.Hour), noon.Add(time.Minute), noon.Add(30 * time.Second), noon.Add(2 * time.Minute)} {
		clock.Set(at)
		res := w.Publish(acme, command.Input{Key: key, Version: int64(i), Name: string(rune('a' + i))})
		times = append(times, res.Record.UpdatedAt.String()[11:19])
	}
	if diff := cmp.Diff([]string{"12:00:00", "12:00:00", "12:01:00", "12:01:00", "12:02:00"}, times); diff != "" {
		t.Error(diff)
	}
	// A row of whole seconds counts at its second's end: what follows within that second keeps its form.
	whole, err := record.ParseTime("2026-11-23T12:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	w.Plant(driver.Data, &record.Record{PK: "PRODUCT#acme", SK: "2", Version: 1, CreatedAt: whole, UpdatedAt: whole})
	clock.Set(noon.Add(500 * time.Millisecond))
	res := w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "2"), Version: 1, Name: "n"})
	if res.Record.UpdatedAt != whole || res.Record.CreatedAt != whole {
		t.Errorf("%v", res.Record.UpdatedAt)
	}
}

func TestDefaultsAndTTL(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	acme := worldtest.Scope("acme")
	key := w.Key(acme, "PRODUCT", "bob@example.com")
	type fields struct {
		Code, Type, Tenant string
		TTL                int64
	}
	steps := []struct {
		in   command.Input
		want fields
	}{
		{command.Input{Name: "a"}, fields{"bob@example.com", "PRODUCT", "acme", 0}},
		{command.Input{Name: "b", Code: "c", Type: "Special", TTL: 1 << 33}, fields{"c", "Special", "acme", 1 << 33}},
		{command.Input{Name: "c"}, fields{"c", "Special", "acme", 1 << 33}}, // inherited
		{command.Input{Name: "d", TTL: 1<<33 + 1}, fields{"c", "Special", "acme", 1<<33 + 1}},
		{command.Input{Name: "d", TTL: command.NoTTL}, fields{"c", "Special", "acme", 0}}, // removing alone is a change
		{command.Input{Name: "e", TTL: command.NoTTL}, fields{"c", "Special", "acme", 0}},
	}
	for i, step := range steps {
		step.in.Key, step.in.Version = key, int64(i)
		r := w.Publish(acme, step.in).Record
		if got := (fields{r.Code, r.Type, r.TenantCode, r.TTL}); got != step.want || r.Version != int64(i+1) {
			t.Errorf("step %d: %+v, version %d; want %+v", i, got, r.Version, step.want)
		}
	}
	// A record whose TTL has passed is there until the store removes it, and can be changed.
	w.Publish(acme, command.Input{Key: key, Version: -1, Name: "f", TTL: 1})
	if r := w.Publish(acme, command.Input{Key: key, Version: -1, Name: "g"}).Record; r.TTL != 1 || r.Version != 8 {
		t.Errorf("after its TTL: %+v", r)
	}
}

// Changes of the common tenant's older records stay where those stand.
func TestOlderRecordsOfCommon(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		common := worldtest.Scope("common")
		at := record.At(noon)
		old := &record.Record{PK: "PRODUCT#COMMON", SK: "old", Code: "old", Name: "old", Type: "PRODUCT", TenantCode: "COMMON", Version: 3, CreatedAt: at, UpdatedAt: at}
		both := old.Clone()
		both.SK, both.Version = "both", 7
		winner := both.Clone()
		winner.PK, winner.Version, winner.TenantCode = "PRODUCT#common", 2, "common"
		w.Plant(driver.Data, old, both, winner)
		w.Plant(driver.Command, old, both, winner)

		for _, tt := range []struct {
			sk, stands string
			version    int64
		}{{"old", "PRODUCT#COMMON", 4}, {"both", "PRODUCT#common", 3}, {"new", "PRODUCT#common", 1}} {
			key := w.Key(common, "PRODUCT", tt.sk)
			_, err := w.Commands.PublishSync(t.Context(), common, command.Input{Key: key, Version: tt.version + 1, Name: "n"})
			if err == nil {
				t.Errorf("%s: a wrong version is accepted", tt.sk)
			}
			res := w.Publish(common, command.Input{Key: key, Version: tt.version - 1, Name: "changed"})
			if res.Record.PK != "PRODUCT#common" || res.Record.Version != tt.version || res.Record.TenantCode != "common" {
				t.Errorf("%s: %+v", tt.sk, res.Record)
			}
			row, err := w.Engine.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: tt.stands, SK: tt.sk})
			if err != nil || row == nil || row.Name != "changed" || row.Version != tt.version {
				t.Errorf("%s: %s holds %+v, %v", tt.sk, tt.stands, row, err)
			}
		}
		unchanged(t, w, "no change of an older record", func() {
			if res := w.Publish(common, command.Input{Key: w.Key(common, "PRODUCT", "old"), Version: -1, Name: "changed"}); res.Changed {
				t.Errorf("%+v", res)
			}
		})
	})
}
