package readmodel

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

func TestRowsFollowCommands(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		db, p := another(), products()
		m := model(t, db, p)
		d := database(t, m, db)
		full := map[string]any{"price": 1.25, "category": "名前\x00'\"", "stock": int64(1) << 60, "active": true,
			"launched": "2026-11-23T12:00:00.005Z", "exact": json.Number("12345678901234567890.5"), "barcode": "4901", "note": "kept", "more": []int{1}}
		first, bare := command(t, "acme", "1", 1, full), command(t, "acme", "2", 1, map[string]any{})
		must(t, project(t.Context(), m, db, Live, first, bare))
		v := view(t, p, d, "acme")
		got, err := v.Find(t.Context(), "1")
		must(t, err)
		stock, barcode := int64(1)<<60, "4901"
		same(t, "a row", got, Row[product]{TenantCode: "acme", ID: "PRODUCT#acme#1", PK: "PRODUCT#acme", SK: "1", Code: "code-1", Name: "name of 1", Version: 1,
			CreatedAt: first.CreatedAt, CreatedBy: "ann", UpdatedAt: first.UpdatedAt, UpdatedBy: "bob", Attributes: first.Attributes,
			Values: product{Price: 1.25, Category: "名前\ufffd'\"", Stock: &stock, Active: true, Launched: record.At(noon), Exact: "12345678901234567890.5", Barcode: &barcode}})
		for _, odd := range []string{"名前\x00'\"", "\xff", "\x00", strings.Repeat("x", 1<<16)} {
			_, err := v.Count(t.Context(), Query{Where: []Condition{p.Column("category").Equal(odd), p.Column("category").HasPrefix(odd), p.Column("code").Equal(odd)}})
			must(t, err)
		}
		got, err = v.FindByCode(t.Context(), "code-2")
		must(t, err)
		same(t, "a row of a bare record", got.Values, product{})

		newer := command(t, "acme", "1", 3, map[string]any{"price": 3})
		older := command(t, "acme", "1", 2, map[string]any{"price": 2})
		must(t, project(t.Context(), m, db, Live, newer, newer, older))
		got, err = v.Find(t.Context(), "1")
		must(t, err)
		same(t, "a row behind an older command", []any{got.Version, got.Values.Price, got.Values.Category}, []any{int64(3), 3.0, ""})

		gone := command(t, "acme", "1", 4, map[string]any{"price": 3})
		gone.IsDeleted = true
		must(t, project(t.Context(), m, db, Live, gone))
		_, err = v.Find(t.Context(), "1")
		fails(t, "a deleted row", err, fault.NotFound)
		page, err := v.List(t.Context(), Query{Deleted: true})
		must(t, err)
		same(t, "rows with deleted ones", keys(page.Rows), []string{"1@4", "2@1"})
		reborn := command(t, "acme", "3", 1, map[string]any{})
		reborn.Code = "code-1" // of the deleted one
		must(t, project(t.Context(), m, db, Live, reborn))
		twice := command(t, "acme", "4", 1, map[string]any{})
		twice.Code = "code-1"
		fails(t, "a code that is taken", project(t.Context(), m, db, Live, twice), fault.AlreadyExists)
		must(t, project(t.Context(), m, db, Live, command(t, "bravo", "1", 1, map[string]any{"barcode": "4901"})))
		must(t, project(t.Context(), m, db, Live, command(t, "bravo", "2", 1, map[string]any{})))
		fails(t, "a unique column that is taken", project(t.Context(), m, db, Live, command(t, "bravo", "3", 1, map[string]any{"barcode": "4901"})), fault.AlreadyExists)
		fails(t, "attributes of another form", project(t.Context(), m, db, Live, command(t, "bravo", "3", 1, map[string]any{"price": "x"})), fault.ValidationFailed)
	})
}

// world is some rows of three tenants, and their oracle.
func world(t testing.TB, m *Model, db driver.Relational, random *rand.Rand) map[string][]Row[product] {
	rows := map[string][]Row[product]{}
	var cmds []*record.Record
	for _, code := range []string{"acme", "acme2", "bravo"} {
		for i := range 40 {
			p := product{Price: float64(random.IntN(5)) / 4, Category: strings.Repeat("ab\U0010ffff", random.IntN(3)) + string(rune('a'+random.IntN(3))), Active: random.IntN(2) == 0}
			if random.IntN(3) > 0 {
				stock := int64(random.IntN(4))
				p.Stock = &stock
			}
			if random.IntN(3) > 0 {
				p.Launched = record.At(noon.Add(time.Duration(random.IntN(4)) * time.Millisecond))
			}
			c := command(t, code, fmt.Sprintf("%02d", i), 1, p)
			c.IsDeleted, c.Name = random.IntN(5) == 0, fmt.Sprint("n", random.IntN(6))
			cmds = append(cmds, c)
			p.Note = ""
			rows[code] = append(rows[code], Row[product]{SK: c.SK, Name: c.Name, Version: 1, IsDeleted: c.IsDeleted, Values: p})
		}
	}
	random.Shuffle(len(cmds), func(i, j int) { cmds[i], cmds[j] = cmds[j], cmds[i] })
	must(t, project(t.Context(), m, db, Live, cmds...))
	return rows
}

// field is a column that the oracle knows: its value in a row as something that compares, nil for null.
type field struct {
	name   string
	of     func(Row[product]) any
	sample func(*rand.Rand) any
}

var fields = []field{
	{"price", func(r Row[product]) any { return r.Values.Price }, func(r *rand.Rand) any { return float64(r.IntN(5)) / 4 }},
	{"category", func(r Row[product]) any { return r.Values.Category }, func(r *rand.Rand) any { return []string{"a", "ab\U0010ffffb", "b", "zz", ""}[r.IntN(5)] }},
	{"name", func(r Row[product]) any { return r.Name }, func(r *rand.Rand) any { return fmt.Sprint("n", r.IntN(6)) }},
	{"stock", func(r Row[product]) any {
		if r.Values.Stock == nil {
			return nil
		}
		return float64(*r.Values.Stock)
	}, func(r *rand.Rand) any { return r.IntN(4) }},
	{"launched", func(r Row[product]) any {
		if r.Values.Launched.IsZero() {
			return nil
		}
		return float64(r.Values.Launched.Time().UnixMilli())
	}, func(r *rand.Rand) any { return record.At(noon.Add(time.Duration(r.IntN(4)) * time.Millisecond)) }},
}

// comparable returns a sample as the oracle compares it.
func plain(v any) any {
	switch v := v.(type) {
	case int:
		return float64(v)
	case record.Time:
		return float64(v.Time().UnixMilli())
	}
	return v
}

// order compares two values of a field; null is before all others.
func compare(a, b any) int {
	switch {
	case a == nil || b == nil:
		return cmp.Compare(btoi(a != nil), btoi(b != nil))
	}
	if s, ok := a.(string); ok {
		return strings.Compare(s, b.(string))
	}
	return cmp.Compare(a.(float64), b.(float64))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestListsAsTheOracle asks random queries, page by page, and compares with what a few lines of Go say.
func TestListsAsTheOracle(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		db, p := another(), products()
		m := model(t, db, p)
		d := database(t, m, db)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		rows := world(t, m, db, random)
		for range 60 {
			code := []string{"acme", "acme2", "bravo"}[random.IntN(3)]
			var q Query
			holds := func(r Row[product]) bool { return q.Deleted || !r.IsDeleted }
			asked := ""
			where := func(c Condition, text string, also func(Row[product]) bool) {
				q.Where = append(q.Where, c)
				asked += " " + text
				before := holds
				holds = func(r Row[product]) bool { return before(r) && also(r) }
			}
			q.Deleted = random.IntN(2) == 0
			for range random.IntN(3) {
				f := fields[random.IntN(len(fields))]
				c, v := p.Column(f.name), f.sample(random)
				is := func(test func(int) bool) func(Row[product]) bool {
					return func(r Row[product]) bool { return f.of(r) != nil && test(compare(f.of(r), plain(v))) }
				}
				switch random.IntN(9) {
				case 0:
					where(c.Equal(v), fmt.Sprint(f.name, "=", v), is(func(n int) bool { return n == 0 }))
				case 1:
					where(c.NotEqual(v), fmt.Sprint(f.name, "<>", v), is(func(n int) bool { return n != 0 }))
				case 2:
					where(c.Below(v), fmt.Sprint(f.name, "<", v), is(func(n int) bool { return n < 0 }))
				case 3:
					where(c.AtMost(v), fmt.Sprint(f.name, "<=", v), is(func(n int) bool { return n <= 0 }))
				case 4:
					where(c.Above(v), fmt.Sprint(f.name, ">", v), is(func(n int) bool { return n > 0 }))
				case 5:
					where(c.AtLeast(v), fmt.Sprint(f.name, ">=", v), is(func(n int) bool { return n >= 0 }))
				case 6:
					w := f.sample(random)
					where(c.In(v, w), fmt.Sprint(f.name, " in ", v, w), func(r Row[product]) bool {
						return f.of(r) != nil && (compare(f.of(r), plain(v)) == 0 || compare(f.of(r), plain(w)) == 0)
					})
				case 7:
					where(c.IsNull(), f.name+" null", func(r Row[product]) bool { return f.of(r) == nil })
				case 8:
					prefix := []string{"a", "ab", "ab\U0010ffff", ""}[random.IntN(4)]
					where(p.Column("category").HasPrefix(prefix), "prefix "+prefix, func(r Row[product]) bool { return strings.HasPrefix(r.Values.Category, prefix) })
				}
			}
			var compares []func(a, b Row[product]) int
			for range random.IntN(3) {
				f := fields[random.IntN(len(fields))]
				if random.IntN(2) == 0 {
					q.Order = append(q.Order, p.Column(f.name).Ascending())
					compares = append(compares, func(a, b Row[product]) int { return compare(f.of(a), f.of(b)) })
				} else {
					q.Order = append(q.Order, p.Column(f.name).Descending())
					compares = append(compares, func(a, b Row[product]) int { return compare(f.of(b), f.of(a)) })
				}
				asked += " by " + f.name
			}
			var want []Row[product]
			for _, r := range rows[code] {
				if holds(r) {
					want = append(want, r)
				}
			}
			slices.SortStableFunc(want, func(a, b Row[product]) int {
				for _, c := range compares {
					if n := c(a, b); n != 0 {
						return n
					}
				}
				if n := len(q.Order); n > 0 && q.Order[n-1].descending {
					return strings.Compare(b.SK, a.SK)
				}
				return strings.Compare(a.SK, b.SK)
			})
			v := view(t, p, d, code)
			q.Limit = 1 + random.IntN(50)
			got := []string{}
			for first := true; first || q.Cursor != ""; first = false {
				page, err := v.List(t.Context(), q)
				must(t, err)
				for _, r := range page.Rows {
					if r.TenantCode != code {
						t.Fatalf("%s was shown a row of %s", code, r.TenantCode)
					}
				}
				got = append(got, keys(page.Rows)...)
				if q.Cursor = page.Cursor; len(got) > len(rows[code]) {
					t.Fatalf("rows where%s: more than there are, page after page", asked)
				}
			}
			same(t, "rows where"+asked, got, keys(want))
			n, err := v.Count(t.Context(), q)
			must(t, err)
			same(t, "how many"+asked, n, int64(len(want)))
			groups, err := v.GroupBy(t.Context(), Query{Where: q.Where, Deleted: q.Deleted, Limit: 100}, p.Column("category"), p.Column("stock"))
			must(t, err)
			counted := int64(0)
			for _, g := range groups {
				n := int64(0)
				for _, r := range want {
					if stock := r.Values.Stock; r.Values.Category == g.Values[0] && (stock == nil && g.Values[1] == nil || stock != nil && g.Values[1] == *stock) {
						n++
					}
				}
				same(t, fmt.Sprint("the group of ", g.Values), g.Count, n)
				counted += g.Count
			}
			same(t, "rows in groups", counted, int64(len(want)))
		}
	})
}

func TestQueriesThatAreRefused(t *testing.T) {
	db, p := opened(t, sqliteIn(t)), products()
	m := model(t, db, p)
	v := view(t, p, database(t, m, db), "acme")
	other := Declare[product]("other", Options{})
	for what, q := range map[string]Query{
		"a column that is none":             {Where: []Condition{p.Column("nothing").Equal("x")}},
		"a statement as a column":           {Where: []Condition{p.Column(`name" = '' OR "name`).Equal("x")}},
		"the attributes":                    {Where: []Condition{p.Column("attributes").Equal("x")}},
		"a column of another table":         {Where: []Condition{other.Column("price").Equal(1.0)}},
		"the zero condition":                {Where: []Condition{{}}},
		"a condition without a kind":        {Where: []Condition{{column: p.Column("name")}}},
		"a value of another type":           {Where: []Condition{p.Column("price").Equal("1")}},
		"a null value":                      {Where: []Condition{p.Column("stock").Equal(nil)}},
		"a value that is no column's":       {Where: []Condition{p.Column("name").Equal([]byte("x"))}},
		"what is no number":                 {Where: []Condition{p.Column("price").Equal(math.NaN())}},
		"a prefix of a number":              {Where: []Condition{p.Column("price").HasPrefix("1")}},
		"too many values":                   {Where: []Condition{p.Column("name").In(make([]any, 101)...)}},
		"too many conditions":               {Where: slices.Repeat([]Condition{p.Column("name").Equal("x")}, 21)},
		"an order by a column that is none": {Order: []Order{p.Column("name; DROP TABLE product").Descending()}},
		"the zero order":                    {Order: []Order{{}}},
		"too many orders":                   {Order: slices.Repeat([]Order{p.Column("name").Ascending()}, 5)},
		"a limit below 1":                   {Limit: -1},
		"a limit above the greatest":        {Limit: MaxLimit + 1},
	} {
		_, err := v.List(t.Context(), q)
		fails(t, what, err, fault.InvalidRequest)
		_, err = v.Count(t.Context(), Query{Where: q.Where})
		if len(q.Where) > 0 {
			fails(t, "counting "+what, err, fault.InvalidRequest)
		}
	}
	for what, columns := range map[string][]Column{"no column": nil, "a column that is none": {p.Column("nothing")}, "five columns": slices.Repeat([]Column{p.Column("name")}, 5)} {
		_, err := v.GroupBy(t.Context(), Query{}, columns...)
		fails(t, "groups by "+what, err, fault.InvalidRequest)
	}
	_, err := v.List(t.Context(), Query{Where: []Condition{p.Column("price").Equal(1), p.Column("stock").In(), p.Column("launched").Below(time.Now())}, Limit: MaxLimit})
	must(t, err) // what is refused above is so for what it says
}

func TestViewsNeedAScope(t *testing.T) {
	db, p := opened(t, sqliteIn(t)), products()
	private := Declare[product]("private", Options{})
	m := model(t, db, p, private)
	d := database(t, m, db)
	must(t, project(t.Context(), m, db, Live, command(t, "common", "1", 1, map[string]any{}), command(t, "acme", "1", 1, map[string]any{})))
	_, err := p.In(d, scope.Scope{})
	fails(t, "the zero Scope", err, fault.TenantRequired)
	_, err = View[product]{table: p.table, db: d}.List(t.Context(), Query{})
	fails(t, "a View without a Scope", err, fault.TenantRequired)
	_, err = private.In(d, scopeOf("acme").Shared())
	fails(t, "the common tenant's rows of a table that is not shared", err, fault.TenantForbidden)
	_, err = products().In(d, scopeOf("acme"))
	fails(t, "a table of another model", err, fault.InvalidRequest)
	shared, err := p.In(d, scopeOf("acme").Shared())
	must(t, err)
	page, err := shared.List(t.Context(), Query{})
	must(t, err)
	same(t, "what is shared", page.Rows[0].TenantCode, "common")

	projection := m.Projections()[0]
	must(t, db.Write(t.Context(), func(tx driver.Tx) error {
		_, err := projection.Begin(t.Context(), tx, scope.Scope{}, Live)
		fails(t, "a Tx for the zero Scope", err, fault.TenantRequired)
		_, err = projection.Begin(t.Context(), tx, scopeOf("acme").Shared(), Live)
		fails(t, "a Tx for a Scope that reads", err, fault.TenantForbidden)
		fails(t, "the zero Tx", p.Put(t.Context(), &Tx{}, command(t, "acme", "2", 1, nil), product{}), fault.TenantRequired)
		fails(t, "the zero Tx", p.Delete(t.Context(), &Tx{}, command(t, "acme", "1", 1, nil)), fault.TenantRequired)
		mine, err := projection.Begin(t.Context(), tx, scopeOf("acme"), Live)
		must(t, err)
		fails(t, "a table that the projection doesn't write", private.Put(t.Context(), mine, command(t, "acme", "2", 1, nil), product{}), fault.Internal)
		return nil
	}))
}

// TestATxIsOneTenants has projections that name other tenants write with it.
func TestATxIsOneTenants(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		db, p := another(), products()
		m := model(t, db, p)
		d := database(t, m, db)
		must(t, project(t.Context(), m, db, Live, command(t, "acme", "1", 1, map[string]any{}), command(t, "bravo", "1", 1, map[string]any{})))
		foreign := command(t, "bravo", "1", 9, map[string]any{"price": 9})
		strange := command(t, "bravo", "2", 9, map[string]any{"price": 9})
		write := func(f func(*Tx) error) error {
			return db.Write(t.Context(), func(tx driver.Tx) error {
				mine, err := m.Projections()[0].Begin(t.Context(), tx, scopeOf("acme"), Live)
				must(t, err)
				return f(mine)
			})
		}
		write(func(tx *Tx) error { return p.Put(t.Context(), tx, foreign, product{Price: 9}) }) // refused, or without effect
		must(t, write(func(tx *Tx) error { return p.Delete(t.Context(), tx, foreign) }))
		must(t, write(func(tx *Tx) error { return p.Put(t.Context(), tx, strange, product{Price: 9}) }))
		page, err := view(t, p, d, "bravo").List(t.Context(), Query{})
		must(t, err)
		same(t, "bravo's rows", keys(page.Rows), []string{"1@1"})
		page, err = view(t, p, d, "acme").List(t.Context(), Query{})
		must(t, err)
		same(t, "acme's rows", keys(page.Rows), []string{"1@1", "2@9"})
		must(t, write(func(tx *Tx) error { return p.Delete(t.Context(), tx, command(t, "acme", "1", 0, nil)) })) // an older command's
		must(t, write(func(tx *Tx) error { return p.Delete(t.Context(), tx, strange) }))
		page, err = view(t, p, d, "acme").List(t.Context(), Query{})
		must(t, err)
		same(t, "acme's rows", keys(page.Rows), []string{"1@1"})
	})
}

// TestAForgottenCondition runs a list that has lost its tenant: the row that comes back is withheld, or never comes.
func TestAForgottenCondition(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		db, p := another(), products()
		m := model(t, db, p)
		d := database(t, m, db)
		must(t, project(t.Context(), m, db, Live, command(t, "acme", "1", 1, map[string]any{}), command(t, "bravo", "1", 1, map[string]any{})))
		v := view(t, p, d, "acme")
		plan := &plan{table: p.table, limit: 10, orders: []order{{column: *p.column("sk")}}}
		rows, _, err := v.rows(t.Context(), plan)
		if db.Dialect() == driver.SQLite {
			fails(t, "rows of all tenants", err, fault.Internal)
			return
		}
		must(t, err)
		same(t, "rows that the wall lets through", len(rows), 1)
	})
}

func TestCursorsAreTheirLists(t *testing.T) {
	db, p := opened(t, sqliteIn(t)), products()
	m := model(t, db, p)
	d := database(t, m, db)
	for _, code := range []string{"acme", "bravo"} {
		for i := range 3 {
			must(t, project(t.Context(), m, db, Live, command(t, code, fmt.Sprint(i), 1, map[string]any{})))
		}
	}
	q := Query{Limit: 1, Order: []Order{p.Column("name").Ascending()}, Where: []Condition{p.Column("price").AtMost(1)}}
	page, err := view(t, p, d, "acme").List(t.Context(), q)
	must(t, err)
	q.Cursor = page.Cursor
	page, err = view(t, p, d, "acme").List(t.Context(), q)
	must(t, err)
	same(t, "the second page", keys(page.Rows), []string{"1@1"})
	try := func(what, code string, change func(*Query)) {
		asked := q
		change(&asked)
		_, err := view(t, p, d, code).List(t.Context(), asked)
		fails(t, what, err, fault.InvalidCursor)
	}
	try("another tenant", "bravo", func(*Query) {})
	try("another order", "acme", func(q *Query) { q.Order = []Order{p.Column("name").Descending()} })
	try("another value", "acme", func(q *Query) { q.Where = []Condition{p.Column("price").AtMost(2)} })
	try("another comparison", "acme", func(q *Query) { q.Where = []Condition{p.Column("price").Below(1)} })
	try("deleted rows", "acme", func(q *Query) { q.Deleted = true })
	try("a cursor that was changed", "acme", func(q *Query) {
		first := map[bool]string{true: "B", false: "A"}[q.Cursor[0] == 'A']
		q.Cursor = first + q.Cursor[1:]
	})
	earlier := scope.New(tenantOf(t, "acme"), scope.Full, noon, &scope.Actor{UserID: "tester"})
	v, err := p.In(d, earlier)
	must(t, err)
	_, err = v.List(t.Context(), q)
	fails(t, "an earlier tenant of the code", err, fault.InvalidCursor)

	long := command(t, "acme", "long", 1, map[string]any{"category": strings.Repeat("x", 2000)})
	must(t, project(t.Context(), m, db, Live, long))
	_, err = view(t, p, d, "acme").List(t.Context(), Query{Limit: 1, Order: []Order{p.Column("category").Descending()}})
	fails(t, "a place that is too long", err, fault.InvalidRequest)
}

func tenantOf(t testing.TB, code string) tenant.Code {
	t.Helper()
	c, err := tenant.Parse(code)
	must(t, err)
	return c
}

// auditor keeps what it is told, or refuses.
type auditor struct {
	kept []scope.Crossing
	err  error
}

func (a *auditor) Crossed(_ context.Context, c scope.Crossing) error {
	if a.err == nil {
		a.kept = append(a.kept, c)
	}
	return a.err
}

func TestQueryCrossesTenants(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		db, p := another(), products()
		m := model(t, db, p)
		d := database(t, m, db)
		must(t, project(t.Context(), m, db, Live, command(t, "acme", "1", 1, map[string]any{"price": 2.5, "active": true}), command(t, "bravo", "1", 1, map[string]any{"price": 1, "stock": 4})))
		log := &auditor{}
		sys := scope.NewSystem("id", scope.Actor{UserID: "root"}, "monthly report", log)
		res, err := d.Query(t.Context(), sys, "SELECT tenant_code AS tenant, sum(price) AS total, sum(stock) AS stock, count(*) AS n FROM product WHERE price < $1 GROUP BY tenant_code ORDER BY tenant_code", 10)
		must(t, err)
		stock := map[driver.Dialect]any{driver.SQLite: int64(4), driver.PostgreSQL: "4"}[db.Dialect()]
		same(t, "the answer", res, Result{Columns: []string{"tenant", "total", "stock", "n"}, Rows: [][]any{{"acme", 2.5, nil, int64(1)}, {"bravo", 1.0, stock, int64(1)}}})
		same(t, "audit entries", len(log.kept), 1)
		_, err = d.Query(t.Context(), scope.System{}, "SELECT 1")
		fails(t, "the zero System", err, fault.RoleRequired)
		log = &auditor{err: fault.New(fault.Unavailable, "test", "the log is full")}
		_, err = d.Query(t.Context(), scope.NewSystem("id", scope.Actor{UserID: "root"}, "monthly report", log), "SELECT 1")
		fails(t, "a crossing that can't be kept", err, fault.Unavailable)
		for _, query := range []string{"DELETE FROM product", "UPDATE product SET price = 0", "DROP TABLE product", "SELECT 1; DELETE FROM product", "COMMIT",
			"WITH gone AS (DELETE FROM product RETURNING 1) SELECT * FROM gone", "nonsense"} {
			if _, err := d.Query(t.Context(), sys, query); err == nil {
				t.Errorf("%s was answered", query)
			}
		}
		n, err := view(t, p, d, "acme").Count(t.Context(), Query{})
		must(t, err)
		same(t, "rows after all that", n, int64(1))
		_, err = d.Query(t.Context(), sys, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n")
		fails(t, "an answer that is too long", err, fault.TooLarge)
	})
}

// TestListsUseIndexes asks SQLite how it looks for rows: none of the queries that a declaration prepares for reads
// a whole table, or sorts.
func TestListsUseIndexes(t *testing.T) {
	db, p := opened(t, sqliteIn(t)), products()
	m := model(t, db, p)
	v := view(t, p, database(t, m, db), "acme")
	for what, q := range map[string]Query{ // each by an index of its own
		"a row by its sort key":    {Where: []Condition{p.Column("sk").Equal("1")}},
		"all rows":                 {},
		"rows by name":             {Order: []Order{p.Column("name").Ascending()}},
		"the newest rows":          {Order: []Order{p.Column("created_at").Descending()}},
		"rows of a category":       {Where: []Condition{p.Column("category").Equal("x")}},
		"a row by its code":        {Where: []Condition{p.Column("code").Equal("x")}},
		"a row by what is unique":  {Where: []Condition{p.Column("barcode").Equal("x")}},
		"rows in order of a price": {Order: []Order{p.Column("price").Descending()}},
	} {
		plan, err := v.plan(q)
		must(t, err)
		query := "EXPLAIN QUERY PLAN SELECT sk FROM product" + plan.where.String() + " ORDER BY " + plan.ordered() + " LIMIT 1"
		must(t, db.Read(t.Context(), func(tx driver.Tx) error {
			return tx.Query(t.Context(), func(r driver.Row) error {
				var detail string
				var id, parent, unused int64
				err := r.Scan(&id, &parent, &unused, &detail)
				if !strings.HasPrefix(detail, "SEARCH") { // SCAN is the whole table, USE TEMP B-TREE sorts
					t.Errorf("%s: %s", what, detail)
				}
				return err
			}, query, plan.args...)
		}))
	}
}
