package readmodel

import (
	"errors"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/tenantry/tenantry/fault"
)

// FuzzQuery puts texts where a request may put them: names of columns, values, prefixes and cursors. Whatever they are, the answer is
// the tenant's own rows, or that the query is refused.
func FuzzQuery(f *testing.F) {
	db, p := opened(f, sqliteIn(f)), products()
	m := model(f, db, p)
	d := database(f, m, db)
	for _, code := range []string{"acme", "bravo"} {
		must(f, project(f.Context(), m, db, Live, command(f, code, "1", 1, map[string]any{"category": "x", "barcode": "y"}), command(f, code, "2", 1, map[string]any{"category": "'"})))
	}
	names := []string{"tenant_code", "pk", "sk", "code", "name", "version", "is_deleted", "created_at", "created_by", "updated_at", "updated_by",
		"price", "category", "stock", "active", "launched", "exact", "barcode"}
	for _, name := range append(names, `name" = '' OR "name`, "name) --", "1=1", "", "ID", "rowid", "attributes") {
		f.Add(name, name, "x", "", uint8(0))
	}
	f.Add("name", "category", "' OR ''='", "", uint8(1))
	f.Add("category", "name", "\x00\xff%_", "AAAA", uint8(6))
	f.Fuzz(func(t *testing.T, where, by, value, cursor string, how uint8) {
		c := p.Column(where)
		conditions := []Condition{c.Equal(value), c.NotEqual(value), c.Below(value), c.AtMost(value), c.Above(value), c.AtLeast(value), c.HasPrefix(value), c.In(value, "x"), c.IsNull()}
		q := Query{Where: []Condition{conditions[int(how)%len(conditions)]}, Order: []Order{p.Column(by).Descending()}, Limit: 1, Cursor: cursor}
		v := view(t, p, d, "acme")
		page, err := v.List(t.Context(), q)
		groups, groupErr := v.GroupBy(t.Context(), Query{Where: q.Where}, p.Column(by))
		for _, err := range []error{err, groupErr} {
			if err != nil && !errors.Is(err, fault.InvalidRequest) && !errors.Is(err, fault.InvalidCursor) {
				t.Fatalf("%v", err)
			}
		}
		known := slices.Contains(names, where) && slices.Contains(names, by)
		if err == nil && !known {
			t.Fatalf("columns %q and %q were asked for", where, by)
		}
		for _, r := range page.Rows {
			if r.TenantCode != "acme" {
				t.Fatalf("a row of %s", r.TenantCode)
			}
		}
		for _, g := range groups {
			if g.Count > 2 || by == "tenant_code" && g.Values[0] != "acme" {
				t.Fatalf("a group %v of %d rows, where acme has two", g.Values, g.Count)
			}
		}
		if where == "name" && utf8.ValidString(value) && by == "sk" && how%9 == 0 && cursor == "" {
			want := 0
			if value == "name of 1" || value == "name of 2" {
				want = 1
			}
			if len(page.Rows) != want {
				t.Fatalf("%d rows have the name %q", len(page.Rows), value)
			}
		}
	})
}

// FuzzPrefix finds the least text behind all that begin with a prefix.
func FuzzPrefix(f *testing.F) {
	for _, s := range []string{"", "a", "ab\U0010ffff", "\U0010ffff", "\ud7ff", "\u007f", "\xff", "a\xff"} {
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, prefix, rest string) {
		if !utf8.ValidString(prefix) || !utf8.ValidString(rest) {
			return
		}
		next, ok := behind(prefix)
		if ok && (prefix+rest >= next || next <= prefix || !utf8.ValidString(next)) {
			t.Fatalf("%q is behind %q%q", next, prefix, rest)
		}
		if !ok && prefix != "" && prefix[0] != 0xf4 {
			t.Fatalf("nothing is behind %q", prefix)
		}
	})
}
