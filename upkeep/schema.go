package upkeep

import (
	"context"
	"fmt"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// table is a table that a projection, or the counters, write: what is needed to make it anew and to compare.
type table struct {
	name    string
	shadow  string   // what a rebuild fills
	key     []string // of a row, besides its tenant
	columns []string // key and tenant included
}

// The tables of this package. Those of what is rebuilt, the counters and the parked commands, have a shadow for what is made anew.
var (
	liveTable    = table{"upkeep_record", "upkeep_record" + shadow, []string{"pk", "sk"}, []string{"tenant_code", "pk", "sk", "deleted"}}
	counterTable = table{"upkeep_counter", "upkeep_counter" + shadow, []string{"type"}, []string{"tenant_code", "type", "live"}}
	createdTable = table{"upkeep_created", "upkeep_created" + shadow, []string{"type", "day"}, []string{"tenant_code", "type", "day", "records"}}
	parkedTable  = table{"upkeep_parked", "upkeep_parked" + shadow, []string{"projection", "pk", "sk"},
		[]string{"tenant_code", "projection", "pk", "sk", "stored_pk", "version", "latest", "reason", "attempts", "next"}}

	counterTables = []table{liveTable, counterTable, createdTable}
)

// shadow is what the name of a shadow ends in.
const shadow = "_shadow"

// in returns the name of t in a place.
func (t table) in(place readmodel.Place) string {
	if place == readmodel.Shadow {
		return t.shadow
	}
	return t.name
}

// form is the form of the tables of this package. A newer one has another number.
const form = 1

// define makes the tables of this package that are missing, and the place from which the feed is followed, the beginning, with a name of
// its own for the database. It returns that name.
func (r *Runner) define(ctx context.Context) (name string, err error) {
	find := func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		return tx.Query(ctx, func(row driver.Row) error { return row.Scan(&name) }, "SELECT id FROM upkeep_position WHERE name = 'live' AND form = $1", form)
	}
	if err := r.db.Read(ctx, find); err == nil && name != "" { // else it is not there
		return name, nil
	}
	statements := []string{
		`CREATE TABLE IF NOT EXISTS upkeep_position (name TEXT PRIMARY KEY, id TEXT NOT NULL, form BIGINT NOT NULL, position TEXT NOT NULL,
			fence BIGINT NOT NULL, applied_at BIGINT NOT NULL)`,
		`CREATE TABLE IF NOT EXISTS upkeep_projection (name TEXT PRIMARY KEY)`,
		`CREATE TABLE IF NOT EXISTS upkeep_tenant (tenant_code TEXT PRIMARY KEY, position TEXT NOT NULL, applied_at BIGINT NOT NULL,
			lag BIGINT NOT NULL, applied BIGINT NOT NULL, errors BIGINT NOT NULL)`,
		`CREATE TABLE IF NOT EXISTS upkeep_rebuild (tenant_code TEXT NOT NULL, projection TEXT NOT NULL, state TEXT NOT NULL, audit BOOLEAN NOT NULL,
			position TEXT NOT NULL, held TEXT NOT NULL, compared BIGINT NOT NULL, different BIGINT NOT NULL,
			reason TEXT NOT NULL, asked_at BIGINT NOT NULL, changed_at BIGINT NOT NULL, PRIMARY KEY (tenant_code, projection))`,
		`CREATE TABLE IF NOT EXISTS upkeep_skipped (tenant_code TEXT NOT NULL, projection TEXT NOT NULL, pk TEXT NOT NULL, sk TEXT NOT NULL,
			version BIGINT NOT NULL, PRIMARY KEY (tenant_code, projection, pk, sk, version))`,
		`CREATE TABLE IF NOT EXISTS upkeep_difference (tenant_code TEXT NOT NULL, projection TEXT NOT NULL, number BIGINT NOT NULL, name TEXT NOT NULL,
			row_key TEXT NOT NULL, columns TEXT NOT NULL, PRIMARY KEY (tenant_code, projection, number))`,
	}
	for _, suffix := range []string{"", shadow} {
		statements = append(statements,
			fmt.Sprintf(`CREATE TABLE IF NOT EXISTS upkeep_record%s (tenant_code TEXT NOT NULL, pk TEXT NOT NULL, sk TEXT NOT NULL, deleted BOOLEAN NOT NULL,
				PRIMARY KEY (tenant_code, pk, sk))%s`, suffix, r.clustered()),
			fmt.Sprintf(`CREATE TABLE IF NOT EXISTS upkeep_counter%s (tenant_code TEXT NOT NULL, type TEXT NOT NULL, live BIGINT NOT NULL,
				PRIMARY KEY (tenant_code, type))%s`, suffix, r.clustered()),
			fmt.Sprintf(`CREATE TABLE IF NOT EXISTS upkeep_created%s (tenant_code TEXT NOT NULL, type TEXT NOT NULL, day TEXT NOT NULL, records BIGINT NOT NULL,
				PRIMARY KEY (tenant_code, type, day))%s`, suffix, r.clustered()),
			fmt.Sprintf(`CREATE TABLE IF NOT EXISTS upkeep_parked%s (tenant_code TEXT NOT NULL, projection TEXT NOT NULL, pk TEXT NOT NULL, sk TEXT NOT NULL,
				stored_pk TEXT NOT NULL, version BIGINT NOT NULL, latest BIGINT NOT NULL, reason TEXT NOT NULL, attempts BIGINT NOT NULL, next BIGINT NOT NULL,
				PRIMARY KEY (tenant_code, projection, pk, sk))`, suffix))
	}
	statements = append(statements, `CREATE INDEX IF NOT EXISTS upkeep_present ON upkeep_record (tenant_code, pk) WHERE sk = 'MASTER' AND NOT deleted`)
	err = r.db.Define(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		for _, s := range statements {
			if _, err := tx.Exec(ctx, s); err != nil {
				return err
			}
		}
		first := []any{"live", record.NewID(), form, "", int64(0), int64(0)}
		if err := insert(ctx, tx, "upkeep_position", []string{"name", "id", "form", "position", "fence", "applied_at"}, [][]any{first}, "ON CONFLICT DO NOTHING"); err != nil {
			return err
		}
		return find(tx)
	})
	if err == nil && name == "" {
		err = fault.New(fault.Unavailable, "upkeep.Open", "another version of this program keeps the read model; start all processes with one, or begin with an empty read model")
	}
	return name, err
}

// clustered is how a table says that its rows stand in its key's index, where there is such a thing.
func (r *Runner) clustered() string {
	if r.db.Dialect() == driver.SQLite {
		return " WITHOUT ROWID"
	}
	return ""
}

// rowsAtOnce are how many rows one statement takes, the most first.
var rowsAtOnce = [...]int{64, 16, 4, 1}

// values calls exec with the parameters "($1, $2), ($3, $4)" and arguments of as many rows as a statement takes, until it has had all.
// Each row has the same number of arguments.
func values(rows [][]any, exec func(parameters string, args []any) error) error {
	for _, n := range rowsAtOnce {
		for len(rows) >= n {
			args := make([]any, 0, n*len(rows[0]))
			for _, row := range rows[:n] {
				args = append(args, row...)
			}
			if err := exec(parameters(n, len(rows[0])), args); err != nil {
				return err
			}
			rows = rows[n:]
		}
	}
	return nil
}

func parameters(rows, columns int) string {
	var b strings.Builder
	for n := range rows * columns {
		switch {
		case n == 0:
			b.WriteString("(")
		case n%columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", n+1)
	}
	b.WriteString(")")
	return b.String()
}

// insert inserts rows of a table, and does with those that are there what conflict says.
func insert(ctx context.Context, tx driver.Tx, into string, columns []string, rows [][]any, conflict string) error {
	return values(rows, func(parameters string, args []any) error {
		return tx.Send(ctx, "INSERT INTO "+into+" ("+strings.Join(columns, ", ")+") VALUES "+parameters+" "+conflict, args...)
	})
}
