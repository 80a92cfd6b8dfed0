package postgres

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
)

// filled returns a store in which acme, acme2 and bravo have a row in every collection.
func filled(t *testing.T) (url string, e *engine) {
	t.Helper()
	url = postgrestest.New(t)
	e = opened(t, url, Options{}, tuning{})
	for _, pk := range []string{"A#acme", "A#acme2", "A#bravo#2026"} {
		var b driver.Batch
		for _, c := range driver.Collections() {
			b.Writes = append(b.Writes, driver.Write{Collection: c, Record: row(pk, "1", 1)})
		}
		commit(t, e, b)
	}
	return url, e
}

// visible returns the tenants whose rows a query of a table shows.
func visible(t *testing.T, conn *pgx.Conn, table string) []string {
	t.Helper()
	return value[[]string](t, conn, "SELECT COALESCE(array_agg(tenant ORDER BY tenant), '{}') FROM "+table)
}

func TestSecurityHidesWhatIsNotNamed(t *testing.T) {
	url, _ := filled(t)
	for _, user := range []struct{ name, url, role string }{
		{"the application", url, appRole},
		{"the owner of the tables", url, ""},
	} {
		t.Run(user.name, func(t *testing.T) {
			for setting, want := range map[string][]string{
				"":                            {},
				"{acme}":                      {"acme"},
				"{acme,bravo}":                {"acme", "bravo"},
				"{nobody}":                    {},
				"{}":                          {},
				`{"acme,bravo","%","#%","*"}`: {},
				"{#}":                         {"acme", "acme2", "bravo"},
				"{#,acme}":                    {"acme"},
			} {
				conn := connected(t, user.url, user.role)
				for _, c := range driver.Collections() {
					if got := visible(t, conn, c.String()); len(got) > 0 {
						t.Errorf("%v shows the rows of %v to who names no tenant", c, got)
					}
				}
				for _, table := range []string{"feed", "session"} {
					if n := value[int64](t, conn, "SELECT count(*) FROM "+table); n > 0 {
						t.Errorf("%s shows %d rows to who names no tenant", table, n)
					}
				}
				run(t, conn, "BEGIN")
				run(t, conn, "SELECT set_config('tenantry.tenants', $1, true)", setting)
				for _, c := range driver.Collections() {
					if diff := cmp.Diff(want, visible(t, conn, c.String())); diff != "" {
						t.Errorf("%v for %q (-want +got):\n%s", c, setting, diff)
					}
				}
				run(t, conn, "COMMIT")
				for _, c := range driver.Collections() {
					if got := visible(t, conn, c.String()); len(got) > 0 {
						t.Errorf("%v shows the rows of %v after the transaction that named them", c, got)
					}
				}
			}
		})
	}
}

func TestSecurityRefusesForeignWrites(t *testing.T) {
	url, _ := filled(t)
	conn := connected(t, url, appRole)
	run(t, conn, "SELECT set_config('tenantry.tenants', '{acme}', false)")
	for _, statement := range []string{
		"INSERT INTO data (version, deleted, pk, sk, doc) VALUES (1, false, 'A#bravo', '2', '{}')",
		"INSERT INTO data (version, deleted, pk, sk, doc) VALUES (1, false, 'A#acmes', '2', '{}')",
		"UPDATE data SET pk = 'A#bravo', sk = '2' WHERE pk = 'A#acme'",
	} {
		if _, err := conn.Exec(t.Context(), statement); !has(err, insufficientPrivilege) {
			t.Errorf("%s: %v, want a violation of the policy", statement, err)
		}
	}
	run(t, conn, "INSERT INTO data (version, deleted, pk, sk, doc) VALUES (1, false, 'A#acme', '2', '{}')") // its own is taken
	for _, statement := range []string{"UPDATE data SET doc = ''", "DELETE FROM data"} {
		tag, err := conn.Exec(t.Context(), statement)
		if err != nil || tag.RowsAffected() != 2 {
			t.Errorf("%s: %v, %v; want acme's two rows", statement, tag, err)
		}
	}
	for _, statement := range []string{"DROP TABLE data", "ALTER TABLE data DISABLE ROW LEVEL SECURITY", "DROP POLICY tenants ON data", "TRUNCATE data"} {
		if _, err := conn.Exec(t.Context(), statement); !has(err, insufficientPrivilege) {
			t.Errorf("%s: %v, want a lack of privilege", statement, err)
		}
	}
}

// TestForgottenCondition runs queries of the engine that have lost the condition on the partition.
func TestForgottenCondition(t *testing.T) {
	_, e := filled(t)
	for _, c := range driver.Collections() {
		recs, err := e.list(t.Context(), "test", withTenant(nil, "A#acme"), columns+c.String())
		if err != nil || len(recs) != 1 || recs[0].PK != "A#acme" {
			t.Errorf("%v: %d rows, %v; want acme's one", c, len(recs), err)
		}
		recs, err = e.list(t.Context(), "test", everyone, columns+c.String())
		if err != nil || len(recs) != 3 {
			t.Errorf("%v: %d rows, %v; want all three, else the query above shows nothing", c, len(recs), err)
		}
	}
}

// TestSetting has the server read how tenants are named, whatever they are called.
func TestSetting(t *testing.T) {
	conn := administrator(t, postgrestest.New(t))
	for _, tenants := range [][]string{
		{"acme"}, {"acme", "bravo"}, {""}, {"", "NULL", "null"}, {"a,b", "{c}", `"d"`, `\e`, `f\"`, " g ", "h\ni", "ü"}, {"}"}, everyone,
	} {
		if diff := cmp.Diff(tenants, value[[]string](t, conn, "SELECT $1::text::text[]", setting(tenants))); diff != "" {
			t.Errorf("%q is read as other tenants (-want +got):\n%s", setting(tenants), diff)
		}
	}
	for want, tenants := range map[string][]string{"": nil, "{#}": everyone} {
		if got := setting(tenants); got != want {
			t.Errorf("%q is named %q, want %q", tenants, got, want)
		}
	}
}

// TestGroupNamesItsTenants looks at what the writer's transactions may see.
func TestGroupNamesItsTenants(t *testing.T) {
	g := newGroup()
	for _, pk := range []string{"A#acme", "B#acme#2026", "A#bravo", "C#", "D"} {
		if !g.join(newRequest(t.Context(), createsIn(pk, "1"))) {
			t.Fatal("a batch was left out")
		}
	}
	if want := []string{"acme", "bravo", ""}; !slices.Equal(g.tenants, want) {
		t.Errorf("the group names %q, want %q", g.tenants, want)
	}
}
