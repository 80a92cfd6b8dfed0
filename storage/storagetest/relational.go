package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
)

// relationalProperties are the contract of driver.Relational, for engines that implement it.
var relationalProperties = []property{
	{"tables are made, written and read", tables},
	{"values come back as they went", values},
	{"a transaction that fails leaves nothing", undone},
	{"a statement that fails fails the transaction", poisoned},
	{"statements that are sent are done in their order", sent},
	{"what was written is there after a restart", writtenStays},
	{"transactions that meet are made one after the other", counted},
	{"transactions and commits go on beside each other", besideCommits},
	{"a reader sees one state", oneState},
	{"a reader writes nothing", readersRead},
	{"a transaction is used where it lives", misused},
	{"statements that a read model may not use are refused", refused},
}

// Relational tests the contract of driver.Relational, every property on a store of its own. Walls says whether As hides rows.
func Relational(t *testing.T, open Open, walls bool) {
	properties := relationalProperties
	if walls {
		properties = append(properties[:len(properties):len(properties)], property{"a tenant sees its rows only", walled})
	}
	run(t, properties, open, false)
}

// model is the engine with a table item.
func (s *store) model() driver.Relational {
	s.Helper()
	db, ok := s.Engine.(driver.Relational)
	if !ok {
		s.Fatal("the engine is no driver.Relational")
	}
	return db
}

// defined makes the table item and returns the database.
func (s *store) defined() driver.Relational {
	s.Helper()
	db := s.model()
	s.done("making a table", db.Define(s.Context(), func(tx driver.Tx) error {
		_, err := tx.Exec(s.Context(), "CREATE TABLE item (tenant_code text NOT NULL, sk text NOT NULL, n bigint NOT NULL, PRIMARY KEY (tenant_code, sk))")
		return err
	}))
	return db
}

func (s *store) done(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// add inserts a row of item.
func (s *store) item(tx driver.Tx, tenant, sk string, n int64) error {
	if err := tx.As(s.Context(), tenant); err != nil {
		return err
	}
	_, err := tx.Exec(s.Context(), "INSERT INTO item (n, sk, tenant_code) VALUES ($3, $2, $1)", tenant, sk, n)
	return err
}

// items returns what a query of item yields, as text, for everyone.
func (s *store) items(db driver.Relational) []string {
	s.Helper()
	var found []string
	s.done("reading", db.Read(s.Context(), func(tx driver.Tx) error {
		found = nil
		if err := tx.As(s.Context(), driver.All); err != nil {
			return err
		}
		return s.texts(tx, &found)
	}))
	return found
}

func (s *store) texts(tx driver.Tx, to *[]string) error {
	return tx.Query(s.Context(), func(r driver.Row) error { return s.row(r, to) }, "SELECT tenant_code, sk, n FROM item ORDER BY tenant_code, sk")
}

func (s *store) row(r driver.Row, to *[]string) error {
	var tenant, sk string
	var n int64
	err := r.Scan(&tenant, &sk, &n)
	*to = append(*to, fmt.Sprint(tenant, "/", sk, "=", n))
	return err
}

func tables(s *store) {
	db := s.defined()
	var changed []int64
	s.done("writing", db.Write(s.Context(), func(tx driver.Tx) error {
		changed = nil
		for _, sk := range []string{"1", "2"} {
			if err := s.item(tx, "acme", sk, 5); err != nil {
				return err
			}
		}
		for _, statement := range []string{"UPDATE item SET n = n + $2 WHERE tenant_code = $1", "DELETE FROM item WHERE n < $2 AND tenant_code = $1"} {
			n, err := tx.Exec(s.Context(), statement, "acme", 3)
			if err != nil {
				return err
			}
			changed = append(changed, n)
		}
		n, err := tx.Exec(s.Context(), "INSERT INTO item (tenant_code, sk, n) VALUES ($1, $2, $3) ON CONFLICT (tenant_code, sk) DO UPDATE SET n = excluded.n", "acme", "2", 9)
		changed = append(changed, n)
		return err
	}))
	s.same("rows that statements changed", changed, []int64{2, 0, 1})
	s.same("rows", s.items(db), []string{"acme/1=8", "acme/2=9"})
}

func values(s *store) {
	db := s.model()
	stamp := map[driver.Dialect]string{driver.SQLite: "text", driver.PostgreSQL: "timestamptz"}[db.Dialect()]
	double := map[driver.Dialect]string{driver.SQLite: "real", driver.PostgreSQL: "double precision"}[db.Dialect()]
	bytes := map[driver.Dialect]string{driver.SQLite: "blob", driver.PostgreSQL: "bytea"}[db.Dialect()]
	s.done("making a table", db.Define(s.Context(), func(tx driver.Tx) error {
		_, err := tx.Exec(s.Context(), "CREATE TABLE sample (id bigint, t text, n bigint, f "+double+", b boolean, d "+bytes+", at "+stamp+")")
		return err
	}))
	at := time.Date(2026, 11, 23, 10, 0, 0, 123e6, time.UTC)
	s.done("writing", db.Write(s.Context(), func(tx driver.Tx) error {
		if err := tx.As(s.Context(), driver.All); err != nil {
			return err
		}
		const insert = "INSERT INTO sample (id, t, n, f, b, d, at) VALUES ($1, $2, $3, $4, $5, $6, $7)"
		_, err := tx.Exec(s.Context(), insert, 1, "名前\u0301 '\"\\ $1 ?", int64(-1<<63), 0.1, true, []byte{0, 1, 255}, at.In(time.FixedZone("", 3600)))
		if err == nil {
			_, err = tx.Exec(s.Context(), insert, 2, nil, nil, nil, nil, nil, nil)
		}
		return err
	}))
	type held struct {
		T  *string
		N  *int64
		F  *float64
		B  *bool
		D  []byte
		At *time.Time
	}
	var got [2]held
	var whole struct {
		t  string
		n  int64
		f  float64
		b  bool
		at time.Time
	}
	var loose [2]any
	s.done("reading", db.Read(s.Context(), func(tx driver.Tx) error {
		if err := tx.As(s.Context(), driver.All); err != nil {
			return err
		}
		i := 0
		err := tx.Query(s.Context(), func(r driver.Row) error {
			s.same("columns", r.Columns(), []string{"t", "n", "f", "b", "d", "at"})
			h := &got[i]
			i++
			if err := r.Scan(&h.T, &h.N, &h.F, &h.B, &h.D, &h.At); err != nil || i == 2 {
				return err
			}
			if err := r.Scan(&loose[0], &loose[1], &h.F, &h.B, &h.D, &h.At); err != nil {
				return err
			}
			return r.Scan(&whole.t, &whole.n, &whole.f, &whole.b, &h.D, &whole.at)
		}, "SELECT t, n, f, b, d, at FROM sample ORDER BY id")
		return err
	}))
	text, n, f, b := "名前\u0301 '\"\\ $1 ?", int64(-1<<63), 0.1, true
	s.same("values", got, [2]held{{&text, &n, &f, &b, []byte{0, 1, 255}, &at}, {}})
	s.same("values without pointers", []any{whole.t, whole.n, whole.f, whole.b, whole.at}, []any{text, n, f, b, at})
	s.same("values of any type", loose[:], []any{text, n})
	err := db.Read(s.Context(), func(tx driver.Tx) error {
		s.done("As", tx.As(s.Context(), driver.All))
		return tx.Query(s.Context(), func(r driver.Row) error { return r.Scan(&whole.t) }, "SELECT t FROM sample WHERE id = $1", 2)
	})
	if fault.CodeOf(err) != fault.Internal {
		s.Errorf("NULL read into a string: %v", err)
	}
}

func undone(s *store) {
	db := s.defined()
	stop := errors.New("stop")
	err := db.Write(s.Context(), func(tx driver.Tx) error {
		s.done("an insert", s.item(tx, "acme", "1", 1))
		return stop
	})
	if !errors.Is(err, stop) {
		s.Errorf("the error of the function became %v", err)
	}
	for name, transact := range map[string]func(context.Context, func(driver.Tx) error) error{"Write": db.Write, "Define": db.Define, "Read": db.Read} {
		func() {
			defer func() {
				if recover() != "stop" {
					s.Errorf("%s: a panic did not come through", name)
				}
			}()
			transact(s.Context(), func(tx driver.Tx) error {
				if name != "Read" {
					s.done("an insert", s.item(tx, "acme", "1", 1))
				}
				panic("stop")
			})
		}()
	}
	ctx, cancel := context.WithCancel(s.Context())
	err = db.Write(ctx, func(tx driver.Tx) error {
		s.done("an insert", s.item(tx, "acme", "1", 1))
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		s.Errorf("a transaction whose context ended: %v", err)
	}
	s.same("rows", s.items(db), []string(nil))
	s.done("a transaction after them", db.Write(s.Context(), func(tx driver.Tx) error { return s.item(tx, "acme", "1", 1) }))
	s.commit(publish("A#acme", "1", 1)...)
	s.same("rows", s.items(db), []string{"acme/1=1"})
}

func poisoned(s *store) {
	db := s.defined()
	err := db.Write(s.Context(), func(tx driver.Tx) error {
		s.done("an insert", s.item(tx, "acme", "1", 1))
		if err := s.item(tx, "acme", "1", 2); !errors.Is(err, fault.AlreadyExists) {
			s.Errorf("a row with the key of another: %v", err)
		}
		if err := s.item(tx, "acme", "2", 2); !errors.Is(err, fault.AlreadyExists) {
			s.Errorf("a statement behind one that failed: %v", err)
		}
		return nil
	})
	if !errors.Is(err, fault.AlreadyExists) {
		s.Errorf("a transaction with a statement that failed: %v", err)
	}
	s.same("rows", s.items(db), []string(nil))
}

// sent has statements wait for each other's tenants, and for answers, and be undone with one that fails.
func sent(s *store) {
	db := s.defined()
	send := func(tx driver.Tx, tenant, sk string, n int64) error {
		return errors.Join(tx.As(s.Context(), tenant), tx.Send(s.Context(), "INSERT INTO item (n, sk, tenant_code) VALUES ($3, $2, $1)", tenant, sk, n))
	}
	const many = 1000
	s.done("writing", db.Write(s.Context(), func(tx driver.Tx) error {
		for n := range int64(many) {
			s.done("an insert", send(tx, []string{"acme", "bravo"}[n%2], fmt.Sprintf("%03d", n), n))
		}
		s.done("As", tx.As(s.Context(), driver.All))
		changed, err := tx.Exec(s.Context(), "UPDATE item SET n = n + 1")
		s.same("rows that were sent before", changed, int64(many))
		s.done("a statement", err)
		s.done("As", tx.As(s.Context(), "acme"))
		s.done("a statement", tx.Send(s.Context(), "DELETE FROM item WHERE tenant_code = $1 AND n > $2", "acme", 3))
		var found []string
		s.done("As", tx.As(s.Context(), driver.All))
		s.done("a query", tx.Query(s.Context(), func(r driver.Row) error { return s.row(r, &found) }, "SELECT tenant_code, sk, n FROM item WHERE n < $1 ORDER BY sk", 7))
		s.same("rows", found, []string{"acme/000=1", "bravo/001=2", "acme/002=3", "bravo/003=4", "bravo/005=6"})
		return send(tx, "acme", "last", 1)
	}))
	s.same("rows", len(s.items(db)), many/2+3)
	for what, after := range map[string]func(driver.Tx) error{
		"the end": func(driver.Tx) error { return nil },
		"Settle":  func(tx driver.Tx) error { return tx.Settle(s.Context()) },
		"Send": func(tx driver.Tx) error {
			return errors.Join(tx.Settle(s.Context()), send(tx, "acme", "more", 1))
		},
	} {
		err := db.Write(s.Context(), func(tx driver.Tx) error {
			s.done("an insert", send(tx, "acme", "more", 1))
			_ = send(tx, "acme", "last", 1) // one engine knows already
			return after(tx)
		})
		if !errors.Is(err, fault.AlreadyExists) {
			s.Errorf("a row with the key of another, sent, at %s: %v", what, err)
		}
	}
	s.same("rows", len(s.items(db)), many/2+3)
}

func writtenStays(s *store) {
	db := s.defined()
	for i := range 3 {
		s.done("writing", db.Write(s.Context(), func(tx driver.Tx) error { return s.item(tx, "acme", fmt.Sprint(i), int64(i)) }))
		s.restart()
		db = s.model()
	}
	s.same("rows", s.items(db), []string{"acme/0=0", "acme/1=1", "acme/2=2"})
}

// counted has transactions read a number, and write the next one, in two processes.
func counted(s *store) {
	db := s.defined()
	s.done("writing", db.Write(s.Context(), func(tx driver.Tx) error { return s.item(tx, "acme", "1", 0) }))
	other := s.another().(driver.Relational)
	const writers, rounds = 4, 10
	var calls atomic.Int64
	parallel(writers, func(w int) {
		to := db
		if w%2 == 1 {
			to = other
		}
		for range rounds {
			err := to.Write(s.Context(), func(tx driver.Tx) error {
				calls.Add(1)
				if err := tx.As(s.Context(), "acme"); err != nil {
					return err
				}
				var n int64
				err := tx.Query(s.Context(), func(r driver.Row) error { return r.Scan(&n) }, "SELECT n FROM item WHERE tenant_code = $1", "acme")
				if err != nil {
					return err
				}
				_, err = tx.Exec(s.Context(), "UPDATE item SET n = $2 WHERE tenant_code = $1", "acme", n+1)
				return err
			})
			if err != nil {
				s.Errorf("a transaction: %v", err)
			}
		}
	})
	s.same("the number", s.items(db), []string{fmt.Sprintf("acme/1=%d", writers*rounds)})
	if calls.Load() == writers*rounds && db.Dialect() == driver.PostgreSQL {
		s.Error("no function was called again: the transactions never met")
	}
}

func besideCommits(s *store) {
	db := s.defined()
	const rounds = 40
	parallel(3, func(w int) {
		for i := range rounds {
			var err error
			switch sk := fmt.Sprint(i); w {
			case 0:
				err = db.Write(s.Context(), func(tx driver.Tx) error { return s.item(tx, "acme", sk, int64(i)) })
			case 1:
				_, err = s.Commit(s.Context(), driver.Batch{Writes: publish("A#acme", sk, 1)})
			case 2:
				err = db.Read(s.Context(), func(tx driver.Tx) error { var found []string; return s.texts(tx, &found) })
			}
			if err != nil {
				s.Errorf("%d of %d: %v", i, w, err)
			}
		}
	})
	s.same("the number of rows", len(s.items(db)), rounds)
	s.same("the number of commands", len(s.settled("", rounds)), rounds)
}

func oneState(s *store) {
	db := s.defined()
	s.done("writing", db.Write(s.Context(), func(tx driver.Tx) error { return s.item(tx, "acme", "1", 1) }))
	s.done("reading", db.Read(s.Context(), func(tx driver.Tx) error {
		var before, after []string
		if err := tx.As(s.Context(), driver.All); err != nil {
			return err
		}
		if err := s.texts(tx, &before); err != nil {
			return err
		}
		wrote := make(chan error, 1)
		go func() { wrote <- db.Write(s.Context(), func(tx driver.Tx) error { return s.item(tx, "acme", "2", 2) }) }()
		s.done("writing while one reads", within(s, "a write while one reads", 10*time.Second, wrote))
		if err := s.texts(tx, &after); err != nil {
			return err
		}
		s.same("what a reader sees later", after, before)
		return nil
	}))
	s.same("rows", s.items(db), []string{"acme/1=1", "acme/2=2"})
}

func readersRead(s *store) {
	db := s.defined()
	for _, statement := range []string{"INSERT INTO item VALUES ('acme', '1', 1)", "DELETE FROM item", "CREATE TABLE more (n bigint)", "DROP TABLE item", "COMMIT"} {
		err := db.Read(s.Context(), func(tx driver.Tx) error {
			s.done("As", tx.As(s.Context(), driver.All))
			_, err := tx.Exec(s.Context(), statement)
			if err == nil {
				s.Errorf("a reader ran %s", statement)
			}
			return err
		})
		if err == nil {
			s.Errorf("a reader's %s was no failure", statement)
		}
	}
	s.same("rows", s.items(db), []string(nil))
}

func misused(s *store) {
	db := s.defined()
	var kept driver.Tx
	var row driver.Row
	s.done("writing", db.Write(s.Context(), func(tx driver.Tx) error {
		kept = tx
		s.done("an insert", s.item(tx, "acme", "1", 1))
		s.done("a query", tx.Query(s.Context(), func(r driver.Row) error {
			row = r
			if _, err := tx.Exec(s.Context(), "DELETE FROM item"); fault.CodeOf(err) != fault.Internal {
				s.Errorf("a statement inside a query: %v", err)
			}
			return nil
		}, "SELECT n FROM item"))
		return nil
	}))
	var n int64
	_, err := kept.Exec(s.Context(), "DELETE FROM item")
	for what, err := range map[string]error{"a statement": err, "one that is sent": kept.Send(s.Context(), "DELETE FROM item"), "Settle": kept.Settle(s.Context()), "a query": kept.Query(s.Context(), nil, "SELECT n FROM item"),
		"As": kept.As(s.Context(), "acme"), "a row": row.Scan(&n)} {
		if fault.CodeOf(err) != fault.Internal {
			s.Errorf("%s after the transaction: %v", what, err)
		}
	}
	stop := errors.New("stop")
	err = db.Read(s.Context(), func(tx driver.Tx) error {
		s.done("As", tx.As(s.Context(), driver.All))
		return tx.Query(s.Context(), func(driver.Row) error { return stop }, "SELECT n FROM item")
	})
	if !errors.Is(err, stop) {
		s.Errorf("the error of a row's function became %v", err)
	}
	for _, transact := range []func(context.Context, func(driver.Tx) error) error{db.Write, db.Read, db.Define} {
		err := transact(cancelled(s.Context()), func(driver.Tx) error { s.Error("a context that is done began a transaction"); return nil })
		if !errors.Is(err, context.Canceled) {
			s.Errorf("a context that is done: %v", err)
		}
	}
	s.same("rows", s.items(db), []string{"acme/1=1"})
	s.done("closing", s.Close())
	for _, transact := range []func(context.Context, func(driver.Tx) error) error{db.Write, db.Read, db.Define} {
		s.unavailable("a closed database", transact(s.Context(), func(driver.Tx) error { return nil }))
	}
	s.Engine = s.another()
}

func refused(s *store) {
	db := s.defined()
	for _, statement := range []string{"ROLLBACK", "CREATE TABLE more (n bigint)", "ALTER TABLE item ADD COLUMN m bigint", "DROP TABLE item",
		"SELECT 1; DELETE FROM item", "DELETE FROM item WHERE n = ?", "DELETE FROM item WHERE n = $1", "nonsense"} {
		err := db.Write(s.Context(), func(tx driver.Tx) error {
			s.done("an insert", s.item(tx, "acme", "1", 1))
			_, err := tx.Exec(s.Context(), statement)
			return err
		})
		if err == nil {
			s.Errorf("%s was run", statement)
		}
	}
	s.same("rows", s.items(db), []string(nil))
	err := db.Write(s.Context(), func(tx driver.Tx) error {
		_, err := tx.Exec(s.Context(), "COMMIT")
		return err
	})
	if fault.CodeOf(err) != fault.Internal {
		s.Errorf("a statement that ends the transaction: %v", err)
	}
}

func walled(s *store) {
	db := s.defined()
	s.done("writing", db.Write(s.Context(), func(tx driver.Tx) error {
		return errors.Join(s.item(tx, "acme", "1", 1), s.item(tx, "bravo", "1", 2))
	}))
	for tenant, want := range map[string][]string{"acme": {"acme/1=1"}, "bravo": {"bravo/1=2"}, "nobody": nil, "": nil,
		"acme,bravo": nil, driver.All: {"acme/1=1", "bravo/1=2"}} {
		var found []string
		s.done("reading", db.Read(s.Context(), func(tx driver.Tx) error {
			found = nil
			if err := tx.As(s.Context(), tenant); err != nil {
				return err
			}
			return s.texts(tx, &found)
		}))
		s.same(fmt.Sprintf("rows that %q sees", tenant), found, want)
		if tenant == driver.All {
			continue
		}
		err := db.Write(s.Context(), func(tx driver.Tx) error {
			s.done("As", tx.As(s.Context(), tenant))
			if n, err := tx.Exec(s.Context(), "UPDATE item SET n = n + 1"); err != nil || n != int64(len(want)) {
				s.Errorf("%q changes %d rows, %v", tenant, n, err)
			}
			_, err := tx.Exec(s.Context(), "INSERT INTO item (tenant_code, sk, n) VALUES ($1, 'x', 1)", "other")
			return err
		})
		if err == nil {
			s.Errorf("%q wrote a row of another tenant", tenant)
		}
	}
	var unnamed []string
	s.done("reading", db.Read(s.Context(), func(tx driver.Tx) error { unnamed = nil; return s.texts(tx, &unnamed) }))
	s.same("rows that nobody sees", unnamed, []string(nil))
	s.same("rows", s.items(db), []string{"acme/1=1", "bravo/1=2"})
}
