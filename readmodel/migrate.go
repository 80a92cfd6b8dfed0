package readmodel

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
)

// registry is the table that says which tables were made, and of which form.
const registry = "readmodel_form"

// made is what the registry says of a table.
type made struct {
	digest     string   // of the declaration
	generation int64    // counts the tables that were made; its shadow is of the newest
	live       []column // that the table has which is read; they may be more than are declared
	stale      bool     // the rows are not what the declaration says
}

// Migrate makes the tables that are missing, each with a shadow, and brings those up to date whose declaration has changed. It returns
// the names of the tables that are to be rebuilt, in their order, those that it made included; Rebuilt and Swap take the mark from them.
//
// A column that was added, or has another type now, is empty in rows that are there already, until a rebuild. One that is declared no more
// stays until then, and so do indexes. No rows are written, and readers wait for nobody. Of several processes that start at once one
// does the work. Emptied is called for each table whose shadow was made anew, in the transaction that does, so that nobody goes on filling it; nil
// does nothing. It fails with fault.InvalidRequest where a table of a name stands there that it did not make, and with fault.Unavailable where
// the database's user may not make tables.
func (m *Model) Migrate(ctx context.Context, db driver.Relational, emptied func(ctx context.Context, tx driver.Tx, table string) error) (rebuild []string, err error) {
	current := false
	err = db.Read(ctx, func(tx driver.Tx) error {
		known, err := m.registered(ctx, tx, db.Dialect())
		current = err == nil && m.isMade(known)
		rebuild = m.stale(known)
		return err
	})
	if err != nil || current {
		return rebuild, err
	}
	err = db.Define(ctx, func(tx driver.Tx) error {
		known, err := m.registered(ctx, tx, db.Dialect()) // another process may have been first
		if err != nil {
			return err
		}
		for _, t := range m.tables {
			switch was, ok := known[t.name]; {
			case !ok:
				known[t.name], err = t.create(ctx, tx, db.Dialect())
			case was.digest != t.form().digest():
				if known[t.name], err = t.evolve(ctx, tx, db.Dialect(), was); err == nil && emptied != nil {
					err = emptied(ctx, tx, t.name)
				}
			}
			if err != nil {
				return err
			}
		}
		rebuild = m.stale(known)
		return nil
	})
	return rebuild, err
}

// Agrees reports whether Migrate would change nothing that another program declared: whether the tables of m are made, in the form that it
// declares, or none of any model is.
func (m *Model) Agrees(ctx context.Context, db driver.Relational) (agrees bool, err error) {
	err = db.Read(ctx, func(tx driver.Tx) error {
		known, err := m.registered(ctx, tx, db.Dialect())
		agrees = err == nil && (len(known) == 0 || m.isMade(known))
		return err
	})
	return agrees, err
}

// isMade reports whether all tables are there as they are declared.
func (m *Model) isMade(known map[string]made) bool {
	return !slices.ContainsFunc(m.tables, func(t *table) bool { return known[t.name].digest != t.form().digest() })
}

func (m *Model) stale(known map[string]made) []string {
	var names []string
	for _, t := range m.tables {
		if known[t.name].stale {
			names = append(names, t.name)
		}
	}
	return names
}

func (t *table) form() form { return form{Columns: t.columns, Indexes: t.indexes} }

// registered returns what the registry says, nothing where there is none.
func (m *Model) registered(ctx context.Context, tx driver.Tx, d driver.Dialect) (map[string]made, error) {
	known := map[string]made{}
	if err := tx.As(ctx, driver.All); err != nil {
		return nil, err
	}
	if there, err := exists(ctx, tx, d, registry); err != nil || !there {
		return known, err
	}
	err := tx.Query(ctx, func(r driver.Row) error {
		var name, live string
		var was made
		if err := r.Scan(&name, &was.digest, &was.generation, &live, &was.stale); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(live), &was.live); err != nil {
			return fault.Wrap(err, fault.Internal, "readmodel.Migrate", "the table %s is damaged; drop it and the tables of the read model, and rebuild", registry)
		}
		known[name] = was
		return nil
	}, "SELECT name, digest, generation, live, stale FROM "+registry)
	return known, err
}

// exists reports whether there is a table of a name.
func exists(ctx context.Context, tx driver.Tx, d driver.Dialect, name string) (there bool, err error) {
	query := "SELECT count(*) FROM sqlite_schema WHERE name = $1"
	if d == driver.PostgreSQL {
		query = "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = $1"
	}
	err = tx.Query(ctx, func(r driver.Row) error {
		var n int64
		err := r.Scan(&n)
		there = n > 0
		return err
	}, query, name)
	return there, err
}

func run(ctx context.Context, tx driver.Tx, statements ...string) error {
	for _, s := range statements {
		if _, err := tx.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// create makes a table and its shadow.
func (t *table) create(ctx context.Context, tx driver.Tx, d driver.Dialect) (made, error) {
	is := made{digest: t.form().digest(), generation: 2, live: t.columns, stale: true}
	if there, err := exists(ctx, tx, d, registry); err != nil {
		return is, err
	} else if !there {
		if err := run(ctx, tx, "CREATE TABLE "+registry+" (name text PRIMARY KEY, digest text NOT NULL, generation bigint NOT NULL, live text NOT NULL, stale boolean NOT NULL)"); err != nil {
			return is, err
		}
	}
	for generation, name := range []string{t.name, t.name + shadowSuffix} {
		if there, err := exists(ctx, tx, d, name); err != nil {
			return is, err
		} else if there {
			return is, fault.New(fault.InvalidRequest, "readmodel.Migrate", "the database has a table %s already, which is none of the read model; rename it, or declare another name", name)
		}
		if err := run(ctx, tx, t.statements(name, int64(generation+1), d)...); err != nil {
			return is, err
		}
	}
	return is, t.register(ctx, tx, is)
}

// register keeps what is of a table.
func (t *table) register(ctx context.Context, tx driver.Tx, is made) error {
	live, err := json.Marshal(is.live)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO "+registry+" (name, digest, generation, live, stale) VALUES ($1, $2, $3, $4, $5) "+
		"ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, generation = excluded.generation, live = excluded.live, stale = excluded.stale",
		t.name, is.digest, is.generation, string(live), is.stale)
	return err
}

// evolve gives the table that is read the columns which the declaration has more, and makes its shadow anew.
func (t *table) evolve(ctx context.Context, tx driver.Tx, d driver.Dialect, was made) (made, error) {
	is := made{digest: t.form().digest(), generation: was.generation + 1, live: slices.Clone(was.live), stale: true}
	name, shadow := quote(t.name), quote(t.name+shadowSuffix)
	if err := patient(ctx, tx, d); err != nil {
		return is, err
	}
	for _, c := range t.columns {
		i := slices.IndexFunc(is.live, func(l column) bool { return l.Name == c.Name })
		if i >= 0 && is.live[i] == c {
			continue
		}
		if i >= 0 { // of another type: it makes room, until the table goes
			kept := fmt.Sprintf("%s_%d", c.Name, was.generation)
			if err := run(ctx, tx, "ALTER TABLE "+name+" RENAME COLUMN "+quote(c.Name)+" TO "+quote(kept)); err != nil {
				return is, err
			}
			is.live[i].Name = kept
		}
		if err := run(ctx, tx, "ALTER TABLE "+name+" ADD COLUMN "+c.definition(d)); err != nil {
			return is, err
		}
		is.live = append(is.live, c)
	}
	if err := run(ctx, tx, "DROP TABLE "+shadow); err != nil {
		return is, err
	}
	if err := run(ctx, tx, t.statements(t.name+shadowSuffix, is.generation, d)...); err != nil {
		return is, err
	}
	return is, t.register(ctx, tx, is)
}

// patient has statements that change tables give up where readers don't end soon: others would wait behind them.
func patient(ctx context.Context, tx driver.Tx, d driver.Dialect) error {
	if d != driver.PostgreSQL {
		return nil
	}
	return run(ctx, tx, "SET LOCAL lock_timeout = '3s'")
}

// statements returns those that make a table of the declared form. Indexes carry the number of their generation, since a table
// takes them along when it is renamed.
func (t *table) statements(name string, generation int64, d driver.Dialect) []string {
	stored := "VIRTUAL"
	if d == driver.PostgreSQL {
		stored = "STORED"
	}
	var lines []string
	for _, c := range t.columns {
		lines = append(lines, c.definition(d))
	}
	lines = append(lines, idColumn+" "+text.sql(d)+" GENERATED ALWAYS AS (pk || '#' || sk) "+stored,
		"PRIMARY KEY (tenant_code, sk, pk)", "UNIQUE (pk, sk)")
	all := []string{"CREATE TABLE " + quote(name) + " (" + strings.Join(lines, ", ") + ")"}
	for n, i := range t.indexes {
		columns, unique, where := []string{driver.TenantColumn}, "", ""
		if i.Across {
			columns = nil
		}
		if i.Unique {
			unique, where = "UNIQUE ", " WHERE NOT is_deleted AND "+t.column(i.Columns[0]).present()
		}
		for _, name := range i.Columns {
			order := ""
			if t.column(name).Null && d == driver.PostgreSQL {
				order = " NULLS FIRST" // as SQLite has it, and lists are ordered
			}
			columns = append(columns, quote(name)+order)
		}
		for _, name := range []string{"sk", "pk"} { // which lists are ordered by in the end
			if !i.Unique && !slices.Contains(i.Columns, name) {
				columns = append(columns, name)
			}
		}
		all = append(all, fmt.Sprintf("CREATE %sINDEX %s ON %s (%s)%s", unique, quote(fmt.Sprintf("%s_%d_%d", t.name, generation, n+1)), quote(name),
			strings.Join(columns, ", "), where))
	}
	return all
}

// definition returns a column for a table's statement. One that may not be null is empty where nothing was said.
func (c column) definition(d driver.Dialect) string {
	line := quote(c.Name) + " " + c.Kind.sql(d)
	if !c.Null {
		line += " NOT NULL DEFAULT " + map[kind]string{text: "''", integer: "0", double: "0", boolean: "false"}[c.Kind]
	}
	return line
}

// present is the condition that a column says something: that of unique indexes, as statements must spell it to have them used.
func (c column) present() string {
	if c.Kind == text && !c.Null {
		return quote(c.Name) + " <> ''"
	}
	return quote(c.Name) + " IS NOT NULL"
}

// sql returns the type of a kind's columns. Text is compared byte by byte.
func (k kind) sql(d driver.Dialect) string {
	if d == driver.PostgreSQL {
		return map[kind]string{text: `text COLLATE "C"`, integer: "bigint", double: "double precision", boolean: "boolean", moment: "timestamptz"}[k]
	}
	return map[kind]string{text: "text", integer: "integer", double: "real", boolean: "boolean", moment: "text"}[k]
}

// Rebuilt takes the mark of a rebuild from tables whose rows are what their declaration says: they were projected from the first
// command on. It is for a transaction of Write.
func (m *Model) Rebuilt(ctx context.Context, tx driver.Tx, tables ...string) error {
	if err := tx.As(ctx, driver.All); err != nil {
		return err
	}
	for _, name := range tables {
		if _, err := tx.Exec(ctx, "UPDATE "+registry+" SET stale = $2 WHERE name = $1", name, false); err != nil {
			return err
		}
	}
	return nil
}

// Swap makes the shadows of tables the tables that are read, and makes new shadows, which are empty. It takes the mark of a rebuild from
// them. It is for a transaction of Define. Readers go on with what they see. It fails with fault.Unavailable where they don't end in
// time, and where the tables are of another declaration than m's, which another process has.
func (m *Model) Swap(ctx context.Context, tx driver.Tx, d driver.Dialect, tables ...string) error {
	known, err := m.registered(ctx, tx, d)
	if err != nil {
		return err
	}
	if err := patient(ctx, tx, d); err != nil {
		return err
	}
	for _, name := range tables {
		t := m.table(name)
		if t == nil {
			return fault.New(fault.InvalidRequest, "readmodel.Swap", "the table %s is not declared", name)
		}
		was, ok := known[name]
		if !ok || was.digest != t.form().digest() {
			return fault.New(fault.Unavailable, "readmodel.Swap", "the table %s is of another declaration than this process has; start all processes with one", name)
		}
		live, shadow := quote(name), quote(name+shadowSuffix)
		is := made{digest: was.digest, generation: was.generation + 1, live: t.columns}
		statements := append([]string{"DROP TABLE " + live, "ALTER TABLE " + shadow + " RENAME TO " + live}, t.statements(name+shadowSuffix, is.generation, d)...)
		if err := run(ctx, tx, statements...); err != nil {
			return err
		}
		if err := t.register(ctx, tx, is); err != nil {
			return err
		}
	}
	return nil
}
