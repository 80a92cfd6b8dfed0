package command_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// Every publish against every state of a record: which are accepted, as which version, and what the others are told.
func TestVersions(t *testing.T) {
	type want struct {
		version int64 // of the record after an accepted command; 0 for a conflict
		actual  int64 // that the conflict names
		created bool
	}
	accepted := func(version int64, created bool) want { return want{version: version, created: created} }
	conflict := func(actual int64) want { return want{actual: actual} }
	states := []struct {
		name  string
		setup []bool // a command each: whether it deletes
		want  map[int64]want
	}{
		{"missing", nil, map[int64]want{0: accepted(1, true), -1: accepted(1, true), 1: conflict(0), 7: conflict(0)}},
		{"live at 1", []bool{false}, map[int64]want{0: conflict(1), -1: accepted(2, false), 1: accepted(2, false), 2: conflict(1)}},
		{"live at 3", []bool{false, false, false}, map[int64]want{0: conflict(3), -1: accepted(4, false), 3: accepted(4, false), 1: conflict(3), 2: conflict(3), 4: conflict(3)}},
		{"deleted at 2", []bool{false, true}, map[int64]want{0: accepted(3, true), -1: accepted(3, true), 2: accepted(3, true), 1: conflict(2), 3: conflict(2)}},
		{"born again at 3", []bool{false, true, false}, map[int64]want{0: conflict(3), -1: accepted(4, false), 3: accepted(4, false), 2: conflict(3)}},
	}
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		acme := worldtest.Scope("acme")
		for _, state := range states {
			for version, want := range state.want {
				key := w.Key(acme, "PRODUCT", record.NewID())
				for i, deleted := range state.setup {
					w.Publish(acme, command.Input{Key: key, Version: record.VersionLatest, Name: "setup " + strings.Repeat("x", i), IsDeleted: deleted})
				}
				res, err := w.Commands.PublishSync(t.Context(), acme, command.Input{Key: key, Version: version, Name: "new"})
				if want.version == 0 {
					e, _ := errors.AsType[*fault.Error](err)
					if e == nil || e.Code != fault.VersionConflict || e.Versions == nil || *e.Versions != (fault.Versions{Expected: version, Actual: want.actual}) {
						t.Errorf("%s, version %d: %v; want a conflict with %d", state.name, version, err, want.actual)
					}
				} else if err != nil || !res.Changed || res.Record.Version != want.version || res.Command.Version != want.version || res.Created != want.created || res.Position == "" {
					t.Errorf("%s, version %d: %+v, %v; want version %d", state.name, version, res, err, want.version)
				}
				folded(t, w, acme, key)
			}
		}
	})
}

// folded fails the test where the record's data row isn't the last command, or its history isn't every command before it.
func folded(t testing.TB, w *worldtest.World, sc scope.Scope, key record.Key) {
	t.Helper()
	view, err := w.Store.In(sc)
	if err != nil {
		t.Fatal(err)
	}
	current, err := view.Get(t.Context(), key)
	if err != nil || current == nil {
		if err != nil {
			t.Error(err)
		}
		return
	}
	for version := int64(1); version <= current.Version+1; version++ {
		cmd, err := view.Command(t.Context(), key, version)
		if err != nil {
			t.Fatal(err)
		}
		past, err := view.Past(t.Context(), key, version)
		if err != nil {
			t.Fatal(err)
		}
		state := past
		if version == current.Version {
			state = current
		}
		if version > current.Version {
			if cmd != nil || past != nil {
				t.Errorf("%s: version %d is there, the record is at %d", key.ID(), version, current.Version)
			}
			continue
		}
		if cmd == nil || state == nil || version == current.Version && past != nil {
			t.Errorf("%s@%d of %d: command %v, state %v", key.ID(), version, current.Version, cmd, state)
			continue
		}
		if cmd.Status != record.StatusFinished || cmd.SyncMode != record.SyncModeSync {
			t.Errorf("%s@%d: the command is %s, %s", key.ID(), version, cmd.Status, cmd.SyncMode)
		}
		cmd.Status, cmd.SyncMode = "", ""
		if diff := cmp.Diff(cmd, state, equalTimes); diff != "" {
			t.Errorf("%s@%d: the state isn't the command's: %s", key.ID(), version, diff)
		}
	}
}

func TestAnUnchangedCommandIsNotWritten(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		acme := worldtest.Scope("acme")
		in := command.Input{Key: w.Key(acme, "PRODUCT", "1"), Version: record.VersionLatest, Name: "Chair", TTL: 1 << 33, Seq: "3",
			Attributes: w.Attributes(`{"price":1.50,"tags":["a"]}`), Metadata: w.Attributes(`{"syncedFrom":"x"}`)}
		first := w.Publish(acme, in)
		same := in
		same.Attributes = record.Attributes("{ \"tags\":[\"\\u0061\"], \"price\":15e-1 }") // the same value in other words
		same.TTL = 0                                                                       // inherits
		noAttributes := command.Input{Key: w.Key(acme, "PRODUCT", "2"), Version: record.VersionLatest, Name: "None"}
		w.Publish(acme, noAttributes)
		empty := noAttributes
		empty.Attributes, empty.Metadata = record.Attributes("{}"), record.Attributes{}
		other := worldtest.Actor()
		other.UserID, other.RequestID, other.Source, other.SourceIP = "somebody", "req-2", "elsewhere", "10.0.0.9"
		unchanged(t, w, "an unchanged command", func() {
			for name, again := range map[string]command.Input{"the same": in, "in other words": same, "an empty object for none": empty} {
				for _, sc := range []scope.Scope{acme, worldtest.ScopeFor("acme", other)} {
					res, err := w.Commands.PublishSync(t.Context(), sc, again)
					if err != nil || res.Changed || res.Created || res.Command != nil || res.Position != "" || res.Record == nil || res.Record.Version != 1 {
						t.Errorf("%s: %+v, %v", name, res, err)
					}
				}
			}
			partial := command.Partial{Key: in.Key, Version: 1, Name: pointer("Chair"), Attributes: w.Attributes(`{"price":1.5}`)}
			if res, err := w.Commands.PublishPartialUpdateSync(t.Context(), acme, partial); err != nil || res.Changed {
				t.Errorf("partial: %+v, %v", res, err)
			}
		})
		unchanged(t, w, "an unchanged command at another version", func() {
			again := in
			again.Version = 2
			_, err := w.Commands.PublishSync(t.Context(), acme, again)
			refused(t, "version 2", err, fault.VersionConflict)
		})
		if first.Record.Attributes.Member("price") == nil {
			t.Error("the first command lost its attributes")
		}
	})
}

func TestWhatIsMalformedIsRefused(t *testing.T) {
	price := record.MustEntityType("PRICE")
	w := worldtest.New(t, memory.New(), worldtest.Options{Closed: true, Entities: []entity.Type{{Name: record.MustEntityType("PRODUCT")},
		{Name: price, Check: func(a record.Attributes) []fault.Field {
			if a.Member("amount") == nil {
				return []fault.Field{{Field: "amount", Problem: "is missing"}, {Problem: "lack something"}}
			}
			return nil
		}}}})
	acme := worldtest.Scope("acme")
	product, priced := w.Key(acme, "PRODUCT", "1"), w.Key(acme, "PRICE", "1")
	w.Publish(acme, command.Input{Key: priced, Name: "n", Attributes: w.Attributes(`{"amount":1}`)})
	tests := []struct {
		name string
		in   command.Input
		want fault.Code
	}{
		{"version -2", command.Input{Key: product, Version: -2, Name: "n"}, fault.ValidationFailed},
		{"type not declared", command.Input{Key: w.Key(acme, "ORDER", "1"), Name: "n"}, fault.NotFound},
		{"name too long", command.Input{Key: product, Name: strings.Repeat("n", command.MaxName+1)}, fault.ValidationFailed},
		{"name not UTF-8", command.Input{Key: product, Name: "a\xff"}, fault.ValidationFailed},
		{"code too long", command.Input{Key: product, Name: "n", Code: strings.Repeat("c", command.MaxCode+1)}, fault.ValidationFailed},
		{"code with a line end", command.Input{Key: product, Name: "n", Code: "a\nb"}, fault.ValidationFailed},
		{"type not UTF-8", command.Input{Key: product, Name: "n", Type: "\xff"}, fault.ValidationFailed},
		{"type too long", command.Input{Key: product, Name: "n", Type: strings.Repeat("T", 513)}, fault.ValidationFailed},
		{"seq not a number", command.Input{Key: product, Name: "n", Seq: `1,"isDeleted":true`}, fault.ValidationFailed},
		{"seq out of range", command.Input{Key: product, Name: "n", Seq: "1e400"}, fault.ValidationFailed},
		{"attributes not JSON", command.Input{Key: product, Name: "n", Attributes: record.Attributes(`{"a":`)}, fault.InvalidRequest},
		{"attributes twice", command.Input{Key: product, Name: "n", Attributes: record.Attributes(`{"a":1,"a":2}`)}, fault.InvalidRequest},
		{"attributes a list", command.Input{Key: product, Name: "n", Attributes: record.Attributes(`[]`)}, fault.ValidationFailed},
		{"attributes with more behind", command.Input{Key: product, Name: "n", Attributes: record.Attributes(`{}},"name":"x"`)}, fault.InvalidRequest},
		{"metadata not JSON", command.Input{Key: product, Name: "n", Metadata: record.Attributes(`x`)}, fault.InvalidRequest},
		{"number out of range", command.Input{Key: product, Name: "n", Attributes: record.Attributes(`{"a":1e400}`)}, fault.ValidationFailed},
		{"what the application checks", command.Input{Key: priced, Version: 1, Name: "n", Attributes: w.Attributes(`{"amoumt":1}`)}, fault.ValidationFailed},
	}
	for _, tt := range tests {
		unchanged(t, w, tt.name, func() {
			_, err := w.Commands.PublishSync(t.Context(), acme, tt.in)
			refused(t, tt.name, err, tt.want)
		})
	}
	_, err := w.Commands.PublishSync(t.Context(), acme, tests[len(tests)-1].in)
	if diff := cmp.Diff([]fault.Field{{Field: "attributes.amount", Problem: "is missing"}, {Field: "attributes", Problem: "lack something"}}, fault.As(err).Fields); diff != "" {
		t.Error(diff)
	}
	// What is deleted need not be good any more.
	if _, err := w.Commands.PublishSync(t.Context(), acme, command.Input{Key: priced, Version: 1, Name: "n", IsDeleted: true}); err != nil {
		t.Error(err)
	}
	long := command.Input{Key: product, Name: strings.Repeat("é", command.MaxName/2), Code: strings.Repeat("c", command.MaxCode), Seq: "1.50"}
	if res, err := w.Commands.PublishSync(t.Context(), acme, long); err != nil || res.Record.Seq != "1.5" {
		t.Errorf("at the limits: %+v, %v", res.Record, err)
	}
}

func TestOnlyAScopeOfTheTenantWrites(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{Entities: []entity.Type{{Name: record.MustEntityType("TEMPLATE"), Shared: true}}})
	acme := worldtest.Scope("acme")
	key := w.Key(acme, "PRODUCT", "1")
	w.Publish(acme, command.Input{Key: key, Name: "Chair"})
	common := worldtest.Scope("common")
	template := w.Key(common, "TEMPLATE", "1")
	w.Publish(common, command.Input{Key: template, Name: "Letter"})
	for _, tt := range []struct {
		name string
		sc   scope.Scope
		key  record.Key
		want fault.Code
	}{
		{"zero scope", scope.Scope{}, key, fault.TenantRequired},
		{"another tenant", worldtest.Scope("bravo"), key, fault.TenantForbidden},
		{"a neighbour", worldtest.Scope("acme2"), key, fault.TenantForbidden},
		{"reading common", worldtest.ReadingCommon(), template, fault.TenantForbidden},
		{"reading common, not shared", worldtest.ReadingCommon(), w.Key(common, "PRODUCT", "1"), fault.TenantForbidden},
		{"zero key", acme, record.Key{}, fault.TenantForbidden},
	} {
		unchanged(t, w, tt.name, func() {
			in := command.Input{Key: tt.key, Version: record.VersionLatest, Name: "changed"}
			partial := command.Partial{Key: tt.key, Version: record.VersionLatest, Name: pointer("changed")}
			_, err := w.Commands.PublishSync(t.Context(), tt.sc, in)
			refused(t, tt.name+", sync", err, tt.want)
			_, err = w.Commands.PublishAsync(t.Context(), tt.sc, in)
			refused(t, tt.name+", async", err, tt.want)
			_, err = w.Commands.PublishPartialUpdateSync(t.Context(), tt.sc, partial)
			refused(t, tt.name+", partial sync", err, tt.want)
			_, err = w.Commands.PublishPartialUpdateAsync(t.Context(), tt.sc, partial)
			refused(t, tt.name+", partial async", err, tt.want)
		})
	}
}

// The log of a framework that died between its writes: it is reported, and writes nothing.
func TestAnUnfinishedLogIsReported(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	acme := worldtest.Scope("acme")
	w.Plant(driver.Command, &record.Record{PK: "PRODUCT#acme", SK: "new", Version: 1}, &record.Record{PK: "PRODUCT#acme", SK: "old", Version: 2})
	w.Plant(driver.Data, &record.Record{PK: "PRODUCT#acme", SK: "old", Version: 1})
	for _, sk := range []string{"new", "old"} {
		unchanged(t, w, sk, func() {
			_, err := w.Commands.PublishSync(t.Context(), acme, command.Input{Key: w.Key(acme, "PRODUCT", sk), Version: record.VersionLatest, Name: "n"})
			refused(t, sk, err, fault.Internal)
			if err != nil && !strings.Contains(fault.As(err).Msg, "tenantry verify") {
				t.Errorf("%s: %v doesn't say what to do", sk, err)
			}
		})
	}
}
