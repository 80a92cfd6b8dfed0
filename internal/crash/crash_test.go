package crash_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenants"
)

// TestKill kills the process that writes, again and again.
func TestKill(t *testing.T) {
	rounds := 10
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		rounds = 200
	}
	v := newVictim(t, "records", "")
	kills := 0
	for ; kills < rounds || kills < 4*rounds && v.loaded < rounds/2; kills++ { // chance says where each one hits
		if err := v.round(t.Context()); err != nil {
			t.Fatalf("round %d: %v", kills, err)
		}
	}
	v.replayed = 0
	if err := v.inspect(t.Context(), v.told); err != nil {
		t.Fatalf("after all rounds: %v", err)
	}
	if v.replayed == 0 || v.loaded < rounds/2 {
		t.Errorf("%d receipts were replayed, and only %d of %d rounds were under load: this proves little", v.replayed, v.loaded, kills)
	}
	t.Logf("measured: %d kills, %d of them under load, %d acknowledged commands and %d receipts found, %d rows verified at the end",
		kills, v.loaded, len(v.told), v.replayed, v.rows)
}

// TestBugsAreFound wants the harness to notice engines that break what it is to prove.
func TestBugsAreFound(t *testing.T) {
	for bug, want := range map[string]string{"hasty": "is lost", "torn": "problems"} {
		t.Run(bug, func(t *testing.T) {
			v := newVictim(t, "records", bug)
			for range 20 {
				if err := v.round(t.Context()); err != nil {
					if !strings.Contains(err.Error(), want) {
						t.Fatalf("got %v, want an error that says %q", err, want)
					}
					return
				}
			}
			t.Fatal("20 rounds went by unnoticed")
		})
	}
}

// victim is a store whose processes are killed.
type victim struct {
	dir    string
	work   string
	bug    string
	random *rand.Rand

	told     []acknowledgement // by all children
	loaded   int               // rounds in which commands were acknowledged
	replayed int               // receipts that answered
	accepted int               // invitations
	rows     int64             // verified last
}

// newVictim makes a store with its tenants, and a random number generator whose seed it logs.
func newVictim(t *testing.T, work, bug string) *victim {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	v := &victim{dir: t.TempDir(), work: work, bug: bug, random: rand.New(rand.NewPCG(seed, 0))}
	err := v.with(t.Context(), func(app *tenantry.App) error {
		for _, code := range tenantCodes {
			create := tenants.Create{Code: worldtest.Code(code), Name: code}
			if _, err := app.Tenants().CreateTenant(t.Context(), worldtest.System("set up", app.Audit()), create); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// with opens the store, as a process that starts does, and closes it.
func (v *victim) with(ctx context.Context, use func(*tenantry.App) error) (err error) {
	cfg, err := config(v.dir, sqlite.At(v.dir))
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
	return use(app)
}

// round runs a child, kills it, and inspects what it leaves.
func (v *victim) round(ctx context.Context) error {
	told, err := v.kill(ctx)
	if err != nil {
		return err
	}
	if len(told) > 0 {
		v.loaded++
	}
	v.told = append(v.told, told...)
	return v.inspect(ctx, told)
}

// kill starts a child and kills it: three times of four up to 300 ms after it has begun to acknowledge, else at any moment of
// the first half second, in which it opens the store. It returns what the child acknowledged.
func (v *victim) kill(ctx context.Context) ([]acknowledgement, error) {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+v.dir, childBug+"="+v.bug, childWork+"="+v.work, childSeed+"="+fmt.Sprint(v.random.Uint64()))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	begun := make(chan struct{})
	var told []acknowledgement
	var broken error
	read := make(chan struct{})
	go func() {
		defer close(read)
		told, broken = acknowledgements(bufio.NewReader(out), begun)
	}()
	wait := time.Duration(v.random.Int64N(int64(500 * time.Millisecond)))
	if v.random.IntN(4) > 0 {
		wait = time.Duration(v.random.Int64N(int64(300 * time.Millisecond)))
		select {
		case <-begun:
		case <-read:
		}
	}
	select {
	case <-time.After(wait):
	case <-read:
	}
	killed := cmd.Process.Kill()
	<-read
	ended := cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		return nil, fmt.Errorf("the child ended by itself: %w", errors.Join(ended, killed))
	}
	return told, broken
}

// acknowledgements reads what a child writes until it dies, and closes begun at the first. A line that the kill cut off was
// not acknowledged to anyone.
func acknowledgements(out *bufio.Reader, begun chan<- struct{}) (told []acknowledgement, err error) {
	for {
		line, err := out.ReadBytes('\n')
		if err != nil { // the pipe's end, however it came
			return told, nil
		}
		var ack acknowledgement
		if err := json.Unmarshal(line, &ack); err != nil {
			return told, err
		}
		if told = append(told, ack); len(told) == 1 {
			close(begun)
		}
	}
}

// inspect opens the store and looks for what was acknowledged, and for anything that is not as it should be.
func (v *victim) inspect(ctx context.Context, told []acknowledgement) error {
	return v.with(ctx, func(app *tenantry.App) error {
		for _, ack := range told {
			if err := v.seek(ctx, app, ack); err != nil {
				return fmt.Errorf("%s#%s#%s at version %d: %w", ack.Type, ack.Tenant, ack.SK, ack.Version, err)
			}
		}
		report, err := integrity.Verify(ctx, app.Store(), worldtest.System("verify", nil), integrity.Options{Entities: app.Entities()})
		if err != nil {
			return err
		}
		if !report.Clean() || report.Unsettled > 0 {
			return fmt.Errorf("%d problems:\n%s", report.ProblemCount, report)
		}
		if v.work == "members" {
			var err error
			if v.accepted, err = wholeInvitations(ctx, app); err != nil {
				return err
			}
		}
		v.rows = 0
		for _, c := range report.Checks {
			switch c.Kind {
			case integrity.Log, integrity.State, integrity.History:
				v.rows += c.Checked
			}
		}
		return nil
	})
}

// seek looks for what was acknowledged.
func (v *victim) seek(ctx context.Context, app *tenantry.App, ack acknowledgement) error {
	if v.work == "members" {
		return seekMember(ctx, app, ack)
	}
	return v.find(ctx, app, ack)
}

// find returns an error unless an acknowledged command is in the log with what it said, its record is at least at its version,
// and its receipt answers for it.
func (v *victim) find(ctx context.Context, app *tenantry.App, ack acknowledgement) error {
	sc := worldtest.Scope(ack.Tenant)
	key, err := record.NewKey(sc, record.MustEntityType(ack.Type), ack.SK)
	if err != nil {
		return err
	}
	view, err := app.Store().In(sc)
	if err != nil {
		return err
	}
	cmd, err := view.Command(ctx, key, ack.Version)
	if err != nil {
		return err
	}
	current, err := view.Get(ctx, key)
	if err != nil {
		return err
	}
	switch {
	case cmd == nil:
		return errors.New("the acknowledged command is lost")
	case digest(cmd) != ack.Digest:
		return errors.New("the acknowledged command is lost: the log holds another one")
	case current == nil || current.Version < ack.Version:
		return errors.New("the state of the acknowledged command is lost")
	case ack.Receipt == "":
		return nil
	}
	res, err := app.Commands().PublishSync(ctx, sc, command.Input{Key: key, Version: record.VersionLatest, Name: "again"}, command.WithReceipt(receipt(sc, ack.Receipt)))
	if err != nil {
		return err
	}
	if !res.Replayed || res.Command.Version != ack.Version {
		return errors.New("the receipt of the acknowledged command is lost: the request was executed again")
	}
	v.replayed++
	return nil
}
