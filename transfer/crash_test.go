package transfer_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/transfer"
)

// What makes this test binary a child that copies one directory into the other, and stands still somewhere to be killed there.
const (
	childFrom  = "TENANTRY_TRANSFER_FROM"
	childTo    = "TENANTRY_TRANSFER_TO"
	childStill = "TENANTRY_TRANSFER_STILL"
)

func TestMain(m *testing.M) {
	if from := os.Getenv(childFrom); from != "" {
		if err := child(from, os.Getenv(childTo), os.Getenv(childStill)); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(withPostgres{m})
}

// withPostgres stops the server that tests started.
type withPostgres struct{ *testing.M }

func (m withPostgres) Run() int {
	defer postgrestest.Stop()
	return m.M.Run()
}

// place is where a copier is killed: around one of the commits, to either store, of a phase.
type place struct {
	phase  transfer.Phase
	commit int // the number in its phase, from 1
	after  bool
}

func (p place) String() string { return fmt.Sprintf("%s %d %t", p.phase, p.commit, p.after) }

// child copies. Where it is told to stand still it says so in a line, and leaves everything to the kill.
func child(fromDir, toDir, still string) error {
	var at place
	if _, err := fmt.Sscan(still, &at.phase, &at.commit, &at.after); err != nil {
		return err
	}
	here := place{phase: "beginning"}
	standing := func(src driver.Source) driver.Source {
		return worldtest.Wrapped(src, func(e driver.Engine) driver.Engine {
			return around{e, func(after bool) {
				if !after {
					here.commit++
				}
				if here.after = after; here == at {
					fmt.Println("here")
					select {}
				}
			}}
		})
	}
	ctx := context.Background()
	keys, err := auth.NewKeyring(auth.KeyringOptions{})
	if err != nil {
		return err
	}
	from, err := tenantry.Open(ctx, tenantry.Config{Store: standing(sqlite.At(fromDir)), Keyring: keys})
	if err != nil {
		return err
	}
	to, err := tenantry.Open(ctx, tenantry.Config{Store: standing(sqlite.At(toDir)), Keyring: keys})
	if err != nil {
		return err
	}
	tell := func(p transfer.Progress) {
		if p.Phase != here.phase {
			here = place{phase: p.Phase}
		}
	}
	sys := worldtest.System("copy", from.Audit())
	_, err = transfer.Copy(ctx, transfer.Side{Store: from.Store(), System: sys}, transfer.Side{Store: to.Store(), System: sys},
		transfer.Options{Term: 3 * time.Second, Progress: tell})
	return errors.Join(err, from.Close(), to.Close())
}

// around calls at before and after each commit.
type around struct {
	driver.Engine
	at func(after bool)
}

func (a around) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	a.at(false)
	position, err := a.Engine.Commit(ctx, b)
	a.at(true)
	return position, err
}

// TestKill kills copies around their commits, in every phase in turn, while the source is used; the one that is let through has everything.
func TestKill(t *testing.T) {
	kills := 8
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		kills = 160
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	fromDir, toDir := t.TempDir(), t.TempDir()
	from := started(t, sqlite.At(fromDir))
	from.fill()
	phases := []transfer.Phase{"beginning", transfer.Copying, transfer.Comparing, transfer.Paused}
	killed, through, most := map[transfer.Phase]int{}, 0, map[transfer.Phase]int{"beginning": 5, transfer.Copying: 12, transfer.Comparing: 4, transfer.Paused: 8}
	for round := 0; round < kills; {
		at := place{phase: phases[round%len(phases)], after: random.IntN(2) == 0}
		at.commit = 1 + random.IntN(most[at.phase])
		switch died, err := kill(t.Context(), fromDir, toDir, at); {
		case err != nil:
			t.Fatalf("round %d, %v: %v", round, at, err)
		case died:
			killed[at.phase]++
			round++
		default: // it was through before it came there
			most[at.phase] = max(1, at.commit-1)
		}
		if copied(t, toDir) {
			through++
			compared(t, from, open(t, sqlite.At(toDir)))
			if lifted, err := transfer.Resume(t.Context(), from.side(), tenant.Code{}); err != nil || !lifted {
				t.Fatalf("round %d, %v: resuming: %v, %v", round, at, lifted, err)
			}
			toDir = t.TempDir()
		}
		for n := range 60 { // refused where the kill left a pause
			_ = from.try("acme", note, fmt.Sprint("k", round, "-", n), fmt.Sprint(random.Uint64()))
		}
	}
	if died, err := kill(t.Context(), fromDir, toDir, place{phase: "nowhere"}); died || err != nil {
		t.Fatalf("the copy that was let through: %v", err)
	}
	compared(t, from, open(t, sqlite.At(toDir)))
	t.Logf("measured: kills by phase %v; %d copies were through by then", killed, through)
	for _, phase := range phases {
		if killed[phase] == 0 {
			t.Errorf("no copy was killed while %s", phase)
		}
	}
}

// copied reports whether a copy is done, by its row in the target.
func copied(t *testing.T, toDir string) bool {
	t.Helper()
	for ref, text := range open(t, sqlite.At(toDir)).rows(driver.System) {
		if ref.PK == "COPY#common" && ref.SK == "all" {
			return strings.Contains(text, `"done":true`)
		}
	}
	return false
}

// TestADeadCopierIsFollowedAtOnce has copiers die where they leave the most behind: nobody waits for the terms of what they announced.
func TestADeadCopierIsFollowedAtOnce(t *testing.T) {
	for _, phase := range []transfer.Phase{"announced", transfer.Copying, transfer.Comparing, transfer.Paused} {
		t.Run(string(phase), func(t *testing.T) {
			src, dst := memory.New(), memory.New()
			from := open(t, src)
			from.fill()
			var dead atomic.Bool
			die := func(b driver.Batch) error {
				if dead.Load() {
					return fault.New(fault.Unavailable, "test", "the process is dead")
				}
				dead.Store(phase == "announced" && strings.HasPrefix(b.Writes[0].Record.PK, "PAUSE")) // this one is still made
				return nil
			}
			died := open(t, strict(src, die)).side()
			_, err := transfer.Copy(t.Context(), died, open(t, strict(dst, die)).side(), transfer.Options{Progress: func(p transfer.Progress) {
				dead.Store(p.Phase == phase)
			}})
			refused(t, "a copier that dies", err, fault.Unavailable)
			to := open(t, dst)
			copyAll(t, from, to, transfer.Options{})
			compared(t, from, to)
		})
	}
}

func compared(t *testing.T, from, to *app) {
	t.Helper()
	if diff := cmp.Diff(from.rows(records...), to.rows(records...)); diff != "" {
		t.Errorf("the stores differ (-source +target):\n%s", diff)
	}
	to.verify()
}

// kill starts a child and kills it where it is told to stand still; died is false for one that was through before it came there.
func kill(ctx context.Context, fromDir, toDir string, at place) (died bool, err error) {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childFrom+"="+fromDir, childTo+"="+toDir, childStill+"="+at.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	var told strings.Builder
	cmd.Stderr = &told
	if err := cmd.Start(); err != nil {
		return false, err
	}
	if lines := bufio.NewScanner(out); lines.Scan() {
		_ = cmd.Process.Kill() // it stands still
	}
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return true, nil
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, told.String())
	}
	return false, err
}
