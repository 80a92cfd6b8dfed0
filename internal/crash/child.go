package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
)

// What the parent tells the writing process.
const (
	childDir   = "TENANTRY_CRASH_DIR"
	childSeed  = "TENANTRY_CRASH_SEED"
	childPlant = "TENANTRY_CRASH_PLANT"
)

// Writers is how many write at once.
const Writers = 8

// Child writes until it is killed, where this process was started by Run; otherwise it does nothing.
func Child() {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	seed, err := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	if err == nil {
		err = work(context.Background(), dir, seed, os.Getenv(childPlant) != "", os.Stdout)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// work writes for ever, and says what was acknowledged after it was.
func work(ctx context.Context, dir string, seed uint64, plant bool, out io.Writer) error {
	src := sqlite.At(dir)
	if plant {
		src = hasty(src)
	}
	app, err := tenantry.Open(ctx, tenantry.Config{Store: src, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer app.Close()
	if err := app.Start(ctx); err != nil {
		return err
	}
	sys := upkeep("write until killed")
	failed := make([]error, Writers)
	var writing sync.WaitGroup
	for n := range Writers {
		writing.Go(func() { failed[n] = writer(ctx, app, sys, rand.New(rand.NewPCG(seed, uint64(n))), out) })
	}
	writing.Wait()
	return errors.Join(failed...)
}

// writer publishes random changes of random records of three tenants.
func writer(ctx context.Context, app *tenantry.App, sys guard.System, random *rand.Rand, out io.Writer) error {
	for {
		code, err := tenant.Parse([]string{"alpha", "bravo", "charlie"}[random.IntN(3)])
		if err != nil {
			return err
		}
		sc, err := sys.Enter(ctx, code, time.Time{})
		if err != nil {
			return err
		}
		key, err := record.NewKey(sc, entityType(), fmt.Sprintf("r%03d", random.IntN(400)))
		if err != nil {
			return err
		}
		res, err := publish(ctx, app, sc, key, random)
		switch fault.CodeOf(err) {
		case "":
		case fault.VersionConflict, fault.NotFound:
			continue
		default:
			return err
		}
		if !res.Changed || res.Replayed {
			continue
		}
		a := ack{tenant: code.String(), sk: key.SK(), version: res.Command.Version, digest: digest(res.Command)}
		if _, err := io.WriteString(out, a.line()); err != nil {
			return err
		}
	}
}

func publish(ctx context.Context, app *tenantry.App, sc guard.Scope, key record.Key, random *rand.Rand) (command.Result, error) {
	attributes, err := record.EncodeAttributes(map[string]any{"n": random.IntN(1000), "text": fmt.Sprint(random.Uint64()), "list": []int{random.IntN(9)}})
	if err != nil {
		return command.Result{}, err
	}
	var opts []command.Option
	if random.IntN(4) == 0 {
		opts = append(opts, command.WithReceipt(command.NewReceipt(sc.Tenant(), sc.Born(), sc.Actor(), "crash", fmt.Sprint(random.Uint64()), "", attributes)))
	}
	version := record.VersionLatest
	if current, err := app.Data().Get(ctx, sc, key); err == nil && random.IntN(2) == 0 {
		version = current.Version
	}
	in := command.Input{Key: key, Version: version, Name: fmt.Sprint("n", random.IntN(100)), Attributes: attributes}
	switch random.IntN(5) {
	case 0:
		in.Version = record.VersionFirst
		return app.Commands().PublishSync(ctx, sc, in, opts...)
	case 1:
		deleted := true
		return app.Commands().PublishPartialUpdateSync(ctx, sc, command.Partial{Key: key, Version: version, IsDeleted: &deleted}, opts...)
	case 2:
		return app.Commands().PublishPartialUpdateAsync(ctx, sc, command.Partial{Key: key, Version: version, Attributes: attributes}, opts...)
	case 3:
		return app.Commands().PublishAsync(ctx, sc, in, opts...)
	default:
		return app.Commands().PublishSync(ctx, sc, in, opts...)
	}
}

// hasty returns a store that acknowledges at once and commits a little later.
func hasty(src driver.Source) driver.Source {
	return driver.NewSource("hasty", func(ctx context.Context) (driver.Engine, error) {
		e, err := src.Open(ctx, scope.NewRoot())
		return hastyEngine{e}, err
	})
}

type hastyEngine struct{ driver.Engine }

func (e hastyEngine) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	time.AfterFunc(20*time.Millisecond, func() { e.Engine.Commit(context.WithoutCancel(ctx), b) })
	return "1", nil
}
