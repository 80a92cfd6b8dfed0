package crash_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenants"
)

// childStore makes this test binary one of several processes on a store: an engine and where it is, with a blank between.
const childStore = "TENANTRY_CRASH_STORE"

// takeoverLimit is how long a handler may stand still after the process that ran it was killed.
const takeoverLimit = 10 * time.Second

// sourceOf returns the store that childStore names.
func sourceOf(named string) (driver.Source, error) {
	engine, where, _ := strings.Cut(named, " ")
	switch engine {
	case "sqlite":
		return sqlite.At(where), nil
	case "postgres":
		return postgres.At(where, postgres.Options{}), nil
	case "dynamodb":
		return dynamodb.At(tablesOf(where)), nil
	}
	return driver.Source{}, fmt.Errorf("there is no engine %q", engine)
}

// tablesOf returns the tables that a prefix and an endpoint name; region and credentials come from the environment.
func tablesOf(where string) dynamodb.Config {
	prefix, endpoint, _ := strings.Cut(where, " ")
	return dynamodb.Config{Prefix: prefix, Endpoint: endpoint}
}

// TestKillOneOfThree kills one of three processes on a store again and again, most often the one that runs the handler.
func TestKillOneOfThree(t *testing.T) {
	for engine, where := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return t.TempDir() },
		"postgres": func(t *testing.T) string { return postgrestest.New(t) },
		"dynamodb": func(t *testing.T) string {
			srv := dynamodbtest.New(t)
			t.Setenv("AWS_REGION", srv.Region)
			t.Setenv("AWS_ACCESS_KEY_ID", "test")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
			types := []string{product.String(), note.String()}
			for _, typ := range tenantry.Declarations() {
				types = append(types, typ.Name.String())
			}
			cfg := dynamodb.Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint}
			if _, err := dynamodb.CreateTables(t.Context(), cfg, types...); err != nil {
				t.Fatal(err)
			}
			return srv.Prefix + " " + srv.Endpoint
		},
	} {
		t.Run(engine, func(t *testing.T) { killOneOfThree(t, engine+" "+where(t)) })
	}
}

func killOneOfThree(t *testing.T, store string) {
	rounds := 5
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		rounds = 50
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := &herd{store: store, random: rand.New(rand.NewPCG(seed, 0)), last: map[string]int64{}, by: -1, handled: make(chan int, 1)}
	if err := h.set(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer h.end()
	for range 3 {
		if err := h.start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var longest time.Duration
	holders := 0
	for round := range rounds {
		took, held, err := h.round(t.Context())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if held {
			holders++
			longest = max(longest, took)
		}
	}
	h.end()
	if err := h.inspect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if holders == 0 || len(h.told) == 0 {
		t.Errorf("%d kills of a process that ran the handler, %d commands: this proves little", holders, len(h.told))
	}
	t.Logf("measured: %d kills, %d of the process that ran the handler, taken over after at most %v; %d acknowledged commands found, %d handled again",
		rounds, holders, longest.Round(time.Millisecond), len(h.told), h.again)
}

// event is what a process tells: a command that was acknowledged, or one that its handler carried out.
type event struct {
	acknowledgement
	Handled bool `json:"handled,omitempty"`
}

// herd is several processes on one store, and what they tell.
type herd struct {
	store  string
	random *rand.Rand
	next   int // number of the next process

	children []*member
	reading  sync.WaitGroup
	handled  chan int // receives the process that handled something

	mu     sync.Mutex
	told   []acknowledgement
	last   map[string]int64 // version handled, by record
	by     int              // the process that handled last
	again  int
	broken error
}

type member struct {
	number int
	cmd    *exec.Cmd
}

// configOf is the application's of every process, with its handler.
func configOf(store string, handler projection.Handler) (tenantry.Config, error) {
	src, err := sourceOf(store)
	if err != nil {
		return tenantry.Config{}, err
	}
	keys, err := auth.NewKeyring(auth.KeyringOptions{}) // nobody uses tokens
	return tenantry.Config{
		Store:    src,
		Keyring:  keys,
		Entities: []entity.Type{{Name: product, UniqueCode: true}},
		Handlers: []projection.Registration{{Name: "trace", Handler: handler}},
		Log:      slog.New(slog.DiscardHandler),
	}, err
}

// set begins the store.
func (h *herd) set(ctx context.Context) (err error) {
	cfg, err := configOf(h.store, nothing{})
	if err != nil {
		return err
	}
	cfg.Handlers = nil
	app, err := tenantry.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	for _, code := range tenantCodes {
		if _, err := app.Tenants().CreateTenant(ctx, worldtest.System("set up", app.Audit()), tenants.Create{Code: worldtest.Code(code), Name: code}); err != nil {
			return err
		}
	}
	return nil
}

func (h *herd) start(ctx context.Context) error {
	m := &member{number: h.next, cmd: exec.CommandContext(ctx, os.Args[0])}
	h.next++
	m.cmd.Env = append(os.Environ(), childStore+"="+h.store, childSeed+"="+fmt.Sprint(h.random.Uint64()))
	m.cmd.Stderr = os.Stderr
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	h.children = append(h.children, m)
	h.reading.Go(func() {
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil { // the pipe's end; a line that the kill cut off was told to nobody
				return
			}
			h.note(m.number, line)
		}
	})
	return nil
}

func (h *herd) note(number int, line []byte) {
	var e event
	err := json.Unmarshal(line, &e)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err != nil:
		h.broken = errors.Join(h.broken, err)
	case !e.Handled:
		h.told = append(h.told, e.acknowledgement)
	default:
		h.broken = errors.Join(h.broken, h.see(e.Type+"#"+e.Tenant+"#"+e.SK, e.Version))
		h.by = number
		select {
		case h.handled <- number:
		default:
		}
	}
}

// see notes that a version was handled, and returns an error where the one before it was not. The caller holds h.mu.
func (h *herd) see(id string, version int64) error {
	before := h.last[id]
	if version <= before {
		h.again++
		return nil
	}
	h.last[id] = version
	if version != before+1 {
		return fmt.Errorf("%s: version %d was handled after version %d", id, version, before)
	}
	return nil
}

// round kills one process while the handler runs and waits until another runs it, says whether it was the one that ran it, and
// starts a new one.
func (h *herd) round(ctx context.Context) (took time.Duration, held bool, err error) {
	if _, err := h.await(ctx, -1, 3*takeoverLimit); err != nil { // processes start meanwhile
		return 0, false, err
	}
	pause(ctx, h.random.IntN(500))
	h.mu.Lock()
	by := h.by
	h.mu.Unlock()
	victim := h.random.IntN(len(h.children))
	if h.random.IntN(3) > 0 {
		for i, m := range h.children {
			if m.number == by {
				victim = i
			}
		}
	}
	m := h.children[victim]
	h.children = append(h.children[:victim], h.children[victim+1:]...)
	began := time.Now()
	if err := m.kill(); err != nil {
		return 0, false, err
	}
	if _, err := h.await(ctx, m.number, takeoverLimit); err != nil {
		return 0, false, err
	}
	took = time.Since(began)
	return took, m.number == by, h.start(ctx)
}

// pause lets some milliseconds pass.
func pause(ctx context.Context, ms int) {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
	case <-ctx.Done():
	}
}

// await waits until a process other than one handles something.
func (h *herd) await(ctx context.Context, other int, limit time.Duration) (number int, err error) {
	deadline := time.After(limit)
	for {
		select {
		case number := <-h.handled:
			h.mu.Lock()
			err := h.broken
			h.mu.Unlock()
			if number != other || err != nil {
				return number, err
			}
		case <-deadline:
			return 0, fmt.Errorf("nothing was handled for %v", limit)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (m *member) kill() error {
	err := m.cmd.Process.Kill()
	_ = m.cmd.Wait() // its error is the kill
	return err
}

// end kills all processes and reads what they told.
func (h *herd) end() {
	for _, m := range h.children {
		_ = m.kill() // it may have ended
	}
	h.children = nil
	h.reading.Wait()
}

// inspect handles what is left, and looks for what was acknowledged and for what was not handled.
func (h *herd) inspect(ctx context.Context) (err error) {
	h.mu.Lock()
	err = h.broken
	h.mu.Unlock()
	if err != nil {
		return err
	}
	cfg, err := configOf(h.store, trace(func(e event) {
		line, _ := json.Marshal(e)
		h.note(-1, line)
	}))
	if err != nil {
		return err
	}
	app, err := tenantry.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	if err := app.Start(ctx); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; pause(ctx, 100) {
		waiting, err := h.unhandled(ctx, app)
		if err != nil {
			return err
		}
		if waiting == "" {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s was not handled", waiting)
		}
	}
	v := &victim{}
	for _, ack := range h.told {
		if err := v.find(ctx, app, ack); err != nil {
			return fmt.Errorf("%s#%s#%s at version %d: %w", ack.Type, ack.Tenant, ack.SK, ack.Version, err)
		}
	}
	report, err := integrity.Verify(ctx, app.Store(), worldtest.System("verify", nil), integrity.Options{Entities: app.Entities()})
	if err == nil && (!report.Clean() || report.Unsettled > 0) {
		err = fmt.Errorf("%d problems:\n%s", report.ProblemCount, report)
	}
	return err
}

// unhandled returns a record whose state was not handled, "" where there is none.
func (h *herd) unhandled(ctx context.Context, app *tenantry.App) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != nil {
		return "", h.broken
	}
	seen := map[string]bool{}
	for _, ack := range h.told {
		id := ack.Type + "#" + ack.Tenant + "#" + ack.SK
		if seen[id] {
			continue
		}
		seen[id] = true
		view, err := app.Store().In(worldtest.Scope(ack.Tenant))
		if err != nil {
			return "", err
		}
		key, err := record.NewKey(worldtest.Scope(ack.Tenant), record.MustEntityType(ack.Type), ack.SK)
		if err != nil {
			return "", err
		}
		current, err := view.Get(ctx, key)
		if err != nil {
			return "", err
		}
		if current == nil || current.Version != h.last[id] {
			return id, nil
		}
	}
	return "", nil
}

// trace is a handler that tells what it carries out.
type trace func(event)

func (t trace) Up(_ context.Context, sc guard.Scope, cmd *record.Record) error {
	kind, _, _, err := record.SplitPK(cmd.PK)
	if kind == product || kind == note {
		t(event{acknowledgement{Tenant: sc.Tenant().String(), Type: kind.String(), SK: cmd.SK, Version: cmd.Version}, true})
	}
	return err
}

func (trace) Down(context.Context, guard.Scope, *record.Record) error { return nil }

// process is one of several on a store: it publishes and handles until it is killed.
func process(store, seed string) error {
	number, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return err
	}
	cfg, err := configOf(store, trace(func(e event) {
		line, _ := json.Marshal(e)
		_, _ = os.Stdout.Write(append(line, '\n')) // whoever reads it is gone where it fails
	}))
	if err != nil {
		return err
	}
	ctx := context.Background()
	app, err := tenantry.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := app.Start(ctx); err != nil {
		return err
	}
	failed := make(chan error)
	for n := range 4 {
		w := &writer{app: app, random: rand.New(rand.NewPCG(number, uint64(n))), name: fmt.Sprint(seed, "-", n), number: n, work: patient}
		go func() { failed <- w.run(ctx, os.Stdout) }()
	}
	return <-failed
}

// patient publishes, and acknowledges nothing while the store has too much to do.
func patient(w *writer, ctx context.Context) (*acknowledgement, error) {
	ack, err := w.publish(ctx)
	if errors.Is(err, fault.Unavailable) {
		return nil, nil
	}
	return ack, err
}
