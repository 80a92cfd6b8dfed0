package tenantsync_test

import (
	"strings"
	"testing"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenantsync"
)

// Attributes that lack what a mapping names, or have it in another form, are mapped as far as they go, and a second run changes nothing.
func TestMappingOfOddAttributes(t *testing.T) {
	mapping := tenantsync.Mapping{Omit: []string{"cost", "", "a"}, Rename: map[string]string{"a": "b", "c": "d", "d": "c", "e": "e"}, Keep: []string{"stock", "c"}}
	for _, c := range []struct{ from, into, set, want string }{
		{``, ``, ``, `{}`},
		{``, ``, `{"x":1}`, `{"x":1}`},
		{`{}`, `{"stock":1}`, ``, `{"stock":1}`},
		{`{"cost":1}`, ``, ``, `{}`},
		{`{"a":1,"b":2}`, ``, ``, `{"b":2}`},
		{`{"c":null,"d":{"deep":[1]}}`, ``, ``, `{"c":{"deep":[1]},"d":null}`},
		{`{"c":1,"d":2,"e":3,"stock":4}`, `{"own":true}`, ``, `{"d":1,"e":3}`},
		{`{"":1,"ä":"x\u0000"}`, ``, `{"ä":null}`, `{"ä":null}`},
		{`{"n":0.10000000000000000000001,"stock":[]}`, `{"stock":1.50}`, ``, `{"n":0.10000000000000000000001,"stock":1.5}`},
	} {
		w := newWorld(t)
		in := command.Input{Key: w.Key(w.acme, "PRODUCT", "1"), Name: "N"}
		if c.from != "" {
			in.Attributes = w.Attributes(c.from)
		}
		w.Publish(w.acme, in)
		if c.into != "" {
			w.put(w.bravo, "1", c.into)
		}
		r := w.request("bravo")
		if r.Mapping = mapping; c.set != "" {
			r.Mapping.Set = tenantsync.Values(w.Attributes(c.set))
		}
		if st := w.status(w.plan(r, tenantsync.Order{Apply: true})); st.Failed != 0 {
			t.Errorf("%s: %+v", c.from, st.Errors)
		}
		if got := string(w.get(w.bravo, "1").Attributes); got != c.want {
			t.Errorf("%s over %s is %s, want %s", c.from, c.into, got, c.want)
		}
		if st := w.status(w.plan(r, tenantsync.Order{Apply: true})); st.Unchanged != 1 {
			t.Errorf("%s over %s: a second run is no no-op: %+v", c.from, c.into, st.Counts)
		}
	}
}

// A mapping is kept in the row of its sync, and read with every look at rules: it is small.
func TestMappingIsBounded(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 64<<10)
	for name, m := range map[string]tenantsync.Mapping{
		"omit":   {Omit: []string{long}},
		"keep":   {Keep: []string{long}},
		"rename": {Rename: map[string]string{"a": long}},
		"set":    {Set: tenantsync.Values(`{"a":"` + long + `"}`)},
	} {
		r := w.request("bravo")
		r.Mapping = m
		if _, err := w.Plan(w.Context(), w.sys(), r, tenantsync.Order{}); fault.CodeOf(err) != fault.ValidationFailed {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := w.request("bravo")
	r.Mapping.Rename = map[string]string{"a": long[:record.MaxSortKey]}
	if _, err := w.Plan(w.Context(), w.sys(), r, tenantsync.Order{}); err != nil {
		t.Error(err)
	}
}
