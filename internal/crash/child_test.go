package crash_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// What makes this test binary a child, and what it does then.
const (
	childDir  = "TENANTRY_CRASH_DIR"  // the store's directory
	childSeed = "TENANTRY_CRASH_SEED" // of its writers
	childBug  = "TENANTRY_CRASH_BUG"  // a name in bugs, "" for none
	childWork = "TENANTRY_CRASH_WORK" // a name in works
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir, os.Getenv(childSeed), bugs[os.Getenv(childBug)], works[os.Getenv(childWork)]); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(childSync); dir != "" {
		if err := syncing(dir); err != nil {
			fmt.Fprintln(os.Stderr, "syncing:", err)
			os.Exit(1)
		}
		return
	}
	if store := os.Getenv(childStore); store != "" {
		if err := process(store, os.Getenv(childSeed)); err != nil {
			fmt.Fprintln(os.Stderr, "process:", err)
			os.Exit(1)
		}
		return
	}
	if store := os.Getenv(childModel); store != "" {
		if err := keepModel(store, os.Getenv(childSeed), os.Getenv(childBug)); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(childJobs); dir != "" {
		if err := orderJobs(dir, os.Getenv(childSeed), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "process:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(served{m})
}

// served runs tests with the servers that they start.
type served struct{ *testing.M }

func (s served) Run() int {
	defer postgrestest.Stop()
	return s.M.Run()
}

const writers = 8

var (
	tenantCodes = []string{"acme", "acme2", "bravo"}
	product     = record.MustEntityType("PRODUCT") // its codes are unique
	note        = record.MustEntityType("NOTE")
)

// config is the application's, in the child as in the parent.
func config(dir string, src driver.Source) (tenantry.Config, error) {
	keyring, err := auth.OpenKeyring(dir, auth.KeyringOptions{})
	return tenantry.Config{
		Store:    src,
		Keyring:  keyring,
		Entities: []entity.Type{{Name: product, UniqueCode: true}},
		Handlers: []projection.Registration{{Name: "nothing", Handler: nothing{}}},
		Log:      slog.New(slog.DiscardHandler),
		Now:      time.Now,

		HandlerTerm: 200 * time.Millisecond, // so that publishes don't wait for the child before
	}, err
}

// nothing is a handler, so that synchronous publishes wait and checkpoints move.
type nothing struct{}

func (nothing) Up(context.Context, guard.Scope, *record.Record) error   { return nil }
func (nothing) Down(context.Context, guard.Scope, *record.Record) error { return nil }

// child publishes until it is killed.
func child(dir, seed string, bug func(driver.Engine) driver.Engine, work func(*writer, context.Context) (*acknowledgement, error)) error {
	number, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return err
	}
	src := sqlite.At(dir)
	if bug != nil {
		src = worldtest.Wrapped(src, bug)
	}
	ctx := context.Background()
	cfg, err := config(dir, src)
	if err != nil {
		return err
	}
	app, err := tenantry.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := app.Start(ctx); err != nil {
		return err
	}
	failed := make(chan error)
	for n := range writers {
		w := &writer{app: app, random: rand.New(rand.NewPCG(number, uint64(n))), name: fmt.Sprint(seed, "-", n), number: n, work: work}
		go func() { failed <- w.run(ctx, os.Stdout) }()
	}
	return <-failed
}

// acknowledgement is what a child tells of a command, after its publish has returned. Each is one line of JSON, written at once.
type acknowledgement struct {
	Tenant  string `json:"tenant"`
	Type    string `json:"type"`
	SK      string `json:"sk"`
	Version int64  `json:"version"`
	Digest  string `json:"digest"`            // of what the command says
	Receipt string `json:"receipt,omitempty"` // its idempotency key
}

// digest is of what a command or a state says.
func digest(r *record.Record) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %v %s", r.Code, r.Name, r.IsDeleted, r.Attributes))
	return hex.EncodeToString(sum[:])
}

// receipt is that of an idempotency key.
func receipt(sc guard.Scope, key string) command.Receipt {
	return command.NewReceipt(sc.Tenant(), sc.Born(), sc.Actor(), "crash", key, "", nil)
}

// writer publishes one command after the other.
type writer struct {
	app    *tenantry.App
	random *rand.Rand
	name   string
	number int
	count  int
	work   func(*writer, context.Context) (*acknowledgement, error)
}

// works are what writers do, by name: one thing at a time, nil where it changes nothing.
var works = map[string]func(*writer, context.Context) (*acknowledgement, error){
	"records": (*writer).publish,
	"members": (*writer).manage,
}

// lost are the refusals of a writer that others were faster than; nothing is acknowledged then.
var lost = []fault.Code{fault.VersionConflict, fault.AlreadyExists, fault.NotFound, fault.LastAdmin}

func (w *writer) run(ctx context.Context, out io.Writer) error {
	for {
		ack, err := w.work(w, ctx)
		switch {
		case slices.Contains(lost, fault.CodeOf(err)):
			continue
		case err != nil:
			return err
		case ack == nil:
			continue
		}
		line, err := json.Marshal(ack)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
	}
}

// publish publishes a random change of a random record, nil where it changes nothing.
func (w *writer) publish(ctx context.Context) (*acknowledgement, error) {
	w.count++
	ack := &acknowledgement{Tenant: tenantCodes[w.random.IntN(len(tenantCodes))], Type: note.String(), SK: fmt.Sprint("r", w.random.IntN(40))}
	entityType := note
	if w.random.IntN(2) == 0 {
		entityType, ack.Type = product, product.String()
	}
	sc := worldtest.Scope(ack.Tenant)
	key, err := record.NewKey(sc, entityType, ack.SK)
	if err != nil {
		return nil, err
	}
	var opts []command.Option
	if w.random.IntN(4) == 0 {
		ack.Receipt = fmt.Sprint(w.name, "-", w.count)
		opts = append(opts, command.WithReceipt(receipt(sc, ack.Receipt)))
	}
	if w.random.IntN(2) == 0 {
		opts = append(opts, command.Async())
	}
	res, err := w.change(ctx, sc, key, opts)
	if err != nil || !res.Changed {
		return nil, err
	}
	ack.Version, ack.Digest = res.Command.Version, digest(res.Command)
	return ack, nil
}

func (w *writer) change(ctx context.Context, sc guard.Scope, key record.Key, opts []command.Option) (command.Result, error) {
	version := record.VersionLatest
	if w.random.IntN(2) == 0 {
		current, err := w.app.Data().Get(ctx, sc, key)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return command.Result{}, err
		}
		if current != nil {
			version = current.Version
		}
	}
	name := fmt.Sprint(w.name, " ", w.count)
	attributes := record.Attributes(fmt.Sprintf(`{"n":%d,"text":%q,"writer":%q}`, w.count, strings.Repeat("x", w.random.IntN(1500)), w.name))
	in := command.Input{Key: key, Version: version, Code: fmt.Sprint("c", w.random.IntN(60)), Name: name, Attributes: attributes}
	switch w.random.IntN(6) {
	case 0:
		in.Version = record.VersionFirst
	case 1:
		in.IsDeleted = true
	case 2, 3:
		return w.app.Commands().PublishPartialUpdateSync(ctx, sc, command.Partial{Key: key, Version: version, Name: &name, Attributes: attributes}, opts...)
	}
	return w.app.Commands().PublishSync(ctx, sc, in, opts...)
}

// bugs are engines that break a promise, which the harness must notice, and one that dies, which breaks none.
var bugs = map[string]func(driver.Engine) driver.Engine{
	"hasty": func(e driver.Engine) driver.Engine { return &hasty{Engine: e} },
	"torn":  func(e driver.Engine) driver.Engine { return &torn{Engine: e} },
	"dying": func(e driver.Engine) driver.Engine {
		return &dying{Engine: e, left: 20 + rand.Int64N(200), before: rand.IntN(2) == 0}
	},
}

// hasty acknowledges a commit while it is under way.
type hasty struct {
	driver.Engine
	mu sync.Mutex
}

func (h *hasty) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	go func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		_, _ = h.Engine.Commit(ctx, b) // nobody waits for the error
	}()
	return "", nil
}

// dying kills its process right before or right after a commit.
type dying struct {
	driver.Engine
	left   int64 // commits that it lives for
	before bool
	mu     sync.Mutex
}

func (d *dying) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	d.mu.Lock()
	d.left--
	last := d.left == 0
	d.mu.Unlock()
	die := func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
		select {}
	}
	if last && d.before {
		die()
	}
	at, err := d.Engine.Commit(ctx, b)
	if last {
		die()
	}
	return at, err
}

// torn commits the writes of a batch one by one.
type torn struct {
	driver.Engine
	mu sync.Mutex
}

func (t *torn) Commit(ctx context.Context, b driver.Batch) (at driver.Position, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, w := range b.Writes {
		position, err := t.Engine.Commit(ctx, driver.Batch{Writes: []driver.Write{w}})
		if conflict, ok := errors.AsType[*driver.Conflict](err); ok {
			conflict.Write = i
		}
		if err != nil {
			return "", err
		}
		at = max(at, position)
	}
	return at, nil
}
