package upkeep_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/upkeep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type world struct {
	*worldtest.World
	db  driver.Relational
	cfg upkeep.Config
}

var product = record.MustEntityType("PRODUCT")

type attributes struct {
	N int64 `json:"n" db:"n"`
}

var products = readmodel.Declare[attributes]("product", readmodel.Options{})

func newWorld(t testing.TB, src driver.Source) *world {
	w := &world{World: worldtest.New(t, src, worldtest.Options{})}
	w.db = w.Engine.(driver.Relational)
	model, err := readmodel.New([]readmodel.Declared{products}, readmodel.Project("products", product, put, products))
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = upkeep.Config{Store: w.Store, Database: w.db, Model: model, Leases: w.Keeper("LEASE"), Term: 4 * time.Second}
	return w
}

func put(ctx context.Context, tx *readmodel.Tx, cmd *record.Record, a attributes) error {
	if strings.HasPrefix(cmd.Name, "poison") {
		return errors.New("poison")
	}
	return products.Put(ctx, tx, cmd, a)
}

func (w *world) publish(code, sk, name string, deleted bool) driver.Position {
	w.Helper()
	sc := worldtest.Scope(code)
	res, err := w.Commands.PublishAsync(w.Context(), sc, command.Input{Key: w.Key(sc, "PRODUCT", sk), Version: record.VersionLatest, Name: name, IsDeleted: deleted})
	if err != nil {
		w.Fatal(err)
	}
	return res.Position
}

func (w *world) run(cfg upkeep.Config) *upkeep.Runner {
	w.Helper()
	r := upkeep.New(cfg)
	if err := r.Open(w.Context()); err != nil {
		w.Fatal(err)
	}
	r.Start(context.Background())
	w.Cleanup(r.Close)
	return r
}

func (w *world) rows(table string) (out []string) {
	w.Helper()
	err := w.db.Read(w.Context(), func(tx driver.Tx) error {
		return tx.Query(w.Context(), func(row driver.Row) error {
			v := make([]any, len(row.Columns()))
			to := make([]any, len(v))
			for i := range v {
				to[i] = &v[i]
			}
			err := row.Scan(to...)
			out = append(out, fmt.Sprint(v...))
			return err
		}, "SELECT * FROM "+table)
	})
	if err != nil {
		w.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func TestFollows(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	random := rand.New(rand.NewPCG(1, 2))
	var last driver.Position
	for n := range 3000 {
		last = w.publish([]string{"acme", "bravo", "common"}[random.IntN(3)], fmt.Sprint("p", random.IntN(300)), fmt.Sprint("n", n), random.IntN(5) == 0)
	}
	began := time.Now()
	r := w.run(w.cfg)
	for _, code := range []string{"acme", "bravo"} {
		if err := r.Wait(t.Context(), worldtest.Code(code), last); err != nil {
			t.Fatal(err)
		}
	}
	t.Log(time.Since(began))
	t.Log(w.rows("upkeep_counter"), len(w.rows("product")), w.rows("upkeep_tenant"))
	sys := worldtest.System("test", nil)
	if _, err := r.Ask(t.Context(), sys, worldtest.Code("acme"), "", "because", false); err != nil {
		t.Fatal(err)
	}
	for {
		s, err := r.Status(t.Context(), sys)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(s.Rebuilds, func(b upkeep.Rebuild) bool { return b.State != "done" }) {
			t.Logf("%+v", s)
			break
		}
	}
	_ = cmp.Diff
}
