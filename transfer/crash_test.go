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
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/transfer"
)

// What makes this test binary a child that copies one directory into the other.
const (
	childFrom = "TENANTRY_TRANSFER_FROM"
	childTo   = "TENANTRY_TRANSFER_TO"
)

func TestMain(m *testing.M) {
	if from := os.Getenv(childFrom); from != "" {
		if err := child(from, os.Getenv(childTo)); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(dynamodbtest.Main(withPostgres{m}))
}

// withPostgres stops the server that tests started.
type withPostgres struct{ dynamodbtest.TestingM }

func (m withPostgres) Run() int {
	defer postgrestest.Stop()
	return m.TestingM.Run()
}

// child copies, and tells of every step in a line. It leaves everything to the kill.
func child(fromDir, toDir string) error {
	ctx := context.Background()
	from, err := tenantry.Open(ctx, tenantry.Config{Store: sqlite.At(fromDir)})
	if err != nil {
		return err
	}
	to, err := tenantry.Open(ctx, tenantry.Config{Store: sqlite.At(toDir)})
	if err != nil {
		return err
	}
	tell := func(p transfer.Progress) { fmt.Println(p.Phase, p.Commands) }
	sys := worldtest.System("copy", from.Audit())
	_, err = transfer.Copy(ctx, transfer.Side{Store: from.Store(), System: sys}, transfer.Side{Store: to.Store(), System: sys},
		transfer.Options{Term: 3 * time.Second, Progress: tell})
	return errors.Join(err, from.Close(), to.Close())
}

// TestKill kills copies at random steps while the source is used; the one that is let through has everything.
func TestKill(t *testing.T) {
	kills := 5
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		kills = 60
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	fromDir, toDir := t.TempDir(), t.TempDir()
	from := started(t, sqlite.At(fromDir))
	from.fill()
	killed := map[string]int{}
	for round := 0; round < kills; {
		steps := random.IntN(24)
		if random.IntN(2) == 0 { // what is left to a copy that goes on is told in a few lines
			steps = 1 + random.IntN(4)
		}
		phase, died, err := kill(t.Context(), fromDir, toDir, steps)
		switch {
		case err != nil: // it was through before its kill
			if lifted, resumed := transfer.Resume(t.Context(), from.side()); resumed != nil || !lifted || strings.Contains(err.Error(), "another copy") {
				t.Fatalf("round %d: %v, and resuming: %v, %v", round, err, lifted, resumed)
			}
		case !died:
			compared(t, from, open(t, sqlite.At(toDir)))
			if _, err := transfer.Resume(t.Context(), from.side()); err != nil {
				t.Fatal(err)
			}
			toDir = t.TempDir()
		default:
			killed[phase]++
			round++
		}
		_ = from.try("acme", note, fmt.Sprint("k", round), fmt.Sprint(random.Uint64())) // refused where the kill left a pause
	}
	if _, died, err := kill(t.Context(), fromDir, toDir, 1<<30); died || err != nil {
		if _, err := transfer.Resume(t.Context(), from.side()); err != nil {
			t.Fatal(err)
		}
		if _, died, err := kill(t.Context(), fromDir, toDir, 1<<30); died || err != nil {
			t.Fatalf("the copy that was let through: %v", err)
		}
	}
	compared(t, from, open(t, sqlite.At(toDir)))
	t.Logf("measured: kills by the phase that was told last: %v", killed)
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

// kill starts a child and kills it after steps lines; died is false for one that was through before. It returns the phase of the last line.
func kill(ctx context.Context, fromDir, toDir string, steps int) (phase string, died bool, err error) {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childFrom+"="+fromDir, childTo+"="+toDir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", false, err
	}
	var told strings.Builder
	cmd.Stderr = &told
	if err := cmd.Start(); err != nil {
		return "", false, err
	}
	lines := bufio.NewScanner(out)
	for ; steps > 0 && lines.Scan(); steps-- {
		var commands int64
		_, _ = fmt.Sscan(lines.Text(), &phase, &commands)
	}
	if steps == 0 {
		_ = cmd.Process.Kill() // it may have ended
	}
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return phase, true, nil
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, told.String())
	}
	return phase, false, err
}
