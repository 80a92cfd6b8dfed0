package command_test

import (
	"encoding/json"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

func TestPartialUpdate(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		acme := worldtest.Scope("acme")
		key := w.Key(acme, "PRODUCT", "1")
		partial := func(p command.Partial) (command.Result, error) {
			p.Key = key
			return w.Commands.PublishPartialUpdateSync(t.Context(), acme, p)
		}
		for _, version := range []int64{0, -1, 1} {
			_, err := partial(command.Partial{Version: version, Name: pointer("n")})
			refused(t, "a missing record", err, fault.NotFound)
		}
		w.Publish(acme, command.Input{Key: key, Name: "Chair", Code: "c", Seq: "1", TTL: 1 << 33, Attributes: w.Attributes(`{"price":1,"size":{"w":1,"h":2},"tags":["a"]}`), Metadata: w.Attributes(`{"m":1}`)})

		res, err := partial(command.Partial{Version: 1, Attributes: w.Attributes(`{"price":2,"size":{"h":null},"tags":[]}`)})
		if err != nil {
			t.Fatal(err)
		}
		want := &record.Record{PK: "PRODUCT#acme", SK: "1", TenantCode: "acme", Type: "PRODUCT", Name: "Chair", Code: "c", Seq: "1", TTL: 1 << 33, Version: 2,
			Attributes: w.Attributes(`{"price":2,"size":{"w":1,"h":null},"tags":[]}`), Metadata: w.Attributes(`{"m":1}`)}
		if !want.SameState(res.Record) || res.Record.Version != 2 {
			t.Errorf("after the attributes: %+v", res.Record)
		}
		res, err = partial(command.Partial{Version: -1, Name: pointer(""), Code: pointer("d"), Seq: pointer(""), TTL: pointer(command.NoTTL)})
		want.Name, want.Code, want.Seq, want.TTL = "", "d", "", 0
		if err != nil || !want.SameState(res.Record) || res.Record.Version != 3 {
			t.Errorf("after the fields: %+v, %v", res.Record, err)
		}
		for _, version := range []int64{0, 1, 2, 4} {
			_, err := partial(command.Partial{Version: version, Name: pointer("other")})
			refused(t, "another version", err, fault.VersionConflict)
		}
		if res, err = partial(command.Partial{Version: 3, IsDeleted: pointer(true)}); err != nil || !res.Record.IsDeleted || res.Created {
			t.Errorf("deleting: %+v, %v", res.Record, err)
		}
		_, err = partial(command.Partial{Version: 0, Name: pointer("again")})
		refused(t, "version 0 of a deleted record", err, fault.VersionConflict)
		_, err = w.Commands.PublishPartialUpdateSync(t.Context(), acme, command.Partial{Key: key, Version: -1, Name: pointer("x")}, command.Live())
		refused(t, "live, of a deleted record", err, fault.NotFound)
		if res, err = partial(command.Partial{Version: 4, IsDeleted: pointer(false)}); err != nil || res.Record.IsDeleted || !res.Created || res.Record.Version != 5 {
			t.Errorf("undeleting: %+v, %v", res.Record, err)
		}
		folded(t, w, acme, key)
	})
}

// model is a record's attributes in the form of the standard library, merged in the simplest way.
type model map[string]any

func (m model) merge(patch model) model {
	out := maps.Clone(m)
	for name, value := range patch {
		inner, object := value.(map[string]any)
		if old, both := out[name].(map[string]any); object && both {
			value = map[string]any(model(old).merge(inner))
		}
		out[name] = value
	}
	return out
}

func drawModel(depth int) *rapid.Generator[model] {
	values := []*rapid.Generator[any]{rapid.Just[any](nil), rapid.IntRange(-3, 3).AsAny(), rapid.SampledFrom([]string{"", "x", "é"}).AsAny(),
		rapid.Map(rapid.SliceOfN(rapid.Bool(), 0, 2), func(list []bool) any { return list })}
	if depth > 1 {
		inner := rapid.Map(drawModel(depth-1), func(m model) any { return map[string]any(m) })
		values = append(values, inner, inner)
	}
	return rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "é"}), rapid.OneOf(values...), 0, 4), func(m map[string]any) model { return m })
}

// Any sequence of full and partial commands leaves what the model says, and the versions count what was accepted.
func TestCommandsAreTheModel(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	acme := worldtest.Scope("acme")
	rapid.Check(t, func(rt *rapid.T) {
		key := w.Key(acme, "PRODUCT", record.NewID())
		text := func(m model) record.Attributes {
			encoded, err := json.Marshal(m)
			if err != nil {
				rt.Fatal(err)
			}
			return w.Attributes(string(encoded))
		}
		var state model
		version := int64(0)
		for range rapid.IntRange(1, 8).Draw(rt, "commands") {
			patch := drawModel(3).Draw(rt, "attributes")
			var res command.Result
			var err error
			next := patch
			if state != nil && rapid.Bool().Draw(rt, "partial") {
				next = state.merge(patch)
				res, err = w.Commands.PublishPartialUpdateSync(rt.Context(), acme, command.Partial{Key: key, Version: version, Attributes: text(patch)})
			} else {
				res, err = w.Commands.PublishSync(rt.Context(), acme, command.Input{Key: key, Version: version, Name: "n", Attributes: text(patch)})
			}
			if err != nil {
				rt.Fatal(err)
			}
			dirty := state == nil || string(text(next)) != string(text(state))
			if res.Changed != dirty {
				rt.Fatalf("changed %v; %v to %v", res.Changed, state, next)
			}
			if dirty {
				version++
			}
			state = next
			if res.Record.Version != version || string(res.Record.Attributes) != string(text(state)) {
				rt.Fatalf("version %d %s; want %d %s", res.Record.Version, res.Record.Attributes, version, text(state))
			}
		}
		folded(t, w, acme, key)
	})
}
