package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/tenants"
)

const (
	tenantsOfAll = 1000 // that memberships are spread over
	ofOne        = 5    // tenants of each user that is listed
	listed       = 200  // users that are listed
)

// TestMain removes the store of a million memberships, which is built once for all benchmarks of a run.
func TestMain(m *testing.M) {
	code := m.Run()
	if million.dir != "" {
		os.RemoveAll(million.dir)
	}
	os.Exit(code)
}

var million struct {
	once sync.Once
	dir  string
	err  error
}

// BenchmarkTenantsOf lists the tenants of one user: among a thousand memberships, and among a million of 100,000 users. It fails where
// that makes more than half as much again of it.
func BenchmarkTenantsOf(b *testing.B) {
	few := b.TempDir()
	must(b, populate(few, listed*ofOne))
	million.once.Do(func() {
		if million.dir, million.err = os.MkdirTemp("", "tenantry-bench-"); million.err == nil {
			million.err = populate(million.dir, 1_000_000)
		}
	})
	must(b, million.err)
	among := func(name, dir string) (perOp float64) {
		b.Run(name, func(b *testing.B) {
			app := open(b, dir)
			list := func(n int) {
				all, err := app.Members().TenantsOf(context.Background(), user(n%listed))
				if err != nil || len(all) != ofOne {
					b.Fatalf("%s has %d tenants: %v", user(n%listed), len(all), err)
				}
			}
			for n := range listed { // what is remembered of tenants
				list(n)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				list(n)
				n++
			}
			perOp = float64(b.Elapsed().Nanoseconds()) / float64(n)
		})
		return perOp
	}
	one, other := among("memberships=1000", few), among("memberships=1000000", million.dir)
	if one > 0 && other > 0 {
		if ratio := other / one; ratio > 1.5 {
			b.Errorf("among a million memberships it takes %.2f times as long", ratio)
		} else {
			b.Logf("among a million memberships it takes %.2f times as long", ratio)
		}
	}
}

func user(n int) string { return fmt.Sprint("user", n) }

func tenantNumber(n int) tenants.Create {
	code, err := tenant.Parse(fmt.Sprint("t", n))
	if err != nil {
		panic(err)
	}
	return tenants.Create{Code: code, Name: "N"}
}

// populate makes a store of memberships, as adding them one by one would leave it but for the log: the first users are in ofOne
// tenants, all others in ten.
func populate(dir string, count int) (err error) {
	var engine driver.Engine
	src := worldtest.Wrapped(sqlite.At(dir), func(e driver.Engine) driver.Engine {
		engine = e
		return e
	})
	ctx := context.Background()
	app, err := tenantry.Open(ctx, tenantry.Config{Store: src, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() {
		if closed := app.Close(); err == nil {
			err = closed
		}
	}()
	sys := worldtest.System("set up", nil)
	for n := range tenantsOfAll {
		if _, err := app.Tenants().CreateTenant(ctx, sys, tenantNumber(n)); err != nil {
			return err
		}
	}
	const atOnce = 5000 // writes in a commit
	batch := driver.Batch{Writes: make([]driver.Write, 0, atOnce)}
	now := record.At(time.Now())
	for number, made := 0, 0; made < count; number++ {
		own := 10
		if number < listed {
			own = ofOne
		}
		name := user(number)
		sum := sha256.Sum256([]byte(name))
		for i := range min(own, count-made) {
			code := tenantNumber((number*7 + i*101) % tenantsOfAll).Code.String()
			sk := code + record.Separator + name
			made++
			rec := &record.Record{PK: "USER_TENANT#common", SK: sk, Code: sk, Name: "User " + name + " in " + code, Type: "USER_TENANT", TenantCode: "common",
				Version: 1, CreatedAt: now, UpdatedAt: now, Attributes: record.Attributes(fmt.Sprintf(`{"isDefault":false,"role":"user","tenantCode":%q,"userCode":%q}`, code, name))}
			inverse := storage.CopyOf("common#"+hex.EncodeToString(sum[:]), code, rec)
			batch.Writes = append(batch.Writes, driver.Write{Collection: driver.Data, Record: rec},
				driver.Write{Collection: driver.System, Record: &record.Record{PK: "MEMBER_OF#" + inverse.Owner, SK: inverse.SK, Version: inverse.Version, Attributes: inverse.Value}})
			if len(batch.Writes) == atOnce || made == count {
				if _, err := engine.Commit(ctx, batch); err != nil {
					return err
				}
				batch.Writes = batch.Writes[:0]
			}
		}
	}
	return nil
}

// TestAddingAMemberIsOneCommit counts what reaches the store, for the most that adding one can write: an admin, by default.
func TestAddingAMemberIsOneCommit(t *testing.T) {
	var commits atomic.Int64
	app := tenantrytest.New(t, tenantry.Config{Store: memory.New(), Log: slog.New(slog.DiscardHandler), Observe: func(op string, _ time.Duration, _ error) {
		if op == "commit" {
			commits.Add(1)
		}
	}})
	sc := app.Scope("acme")
	for n := range 3 {
		before := commits.Load()
		_, _, err := app.Members().Add(t.Context(), sc, members.Add{UserCode: user(n), Role: "admin", IsDefault: true})
		must(t, err)
		if made := commits.Load() - before; made != 1 && n > 0 { // the first one notes the partition too
			t.Errorf("adding member %d took %d commits", n, made)
		}
	}
}
