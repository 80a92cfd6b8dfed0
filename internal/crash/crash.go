// Package crash kills a process that writes, with SIGKILL at a random moment, and looks whether what it was told is still
// there: every command that a publish acknowledged stands in the log with its content, the record is at that version or a later
// one, and the whole store verifies. The same store goes on through all rounds.
//
// The writing process is the program itself, run again: call [Child] first thing in main (or TestMain).
package crash

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
)

// Result says what a run saw.
type Result struct {
	Rounds       int
	Acknowledged int // commands, each looked for after the kill
	Unknown      int // rounds in which the process was killed before it acknowledged anything
}

// Options change a run.
type Options struct {
	// Plant makes the writing process acknowledge before it commits: the defect that the run exists to find.
	Plant bool

	// Log is told of each round. Defaults to nobody.
	Log func(format string, args ...any)
}

// Run kills the writing process rounds times over the store in dir. It returns an error that names the round and the seed where
// something acknowledged is lost or the store doesn't verify.
func Run(ctx context.Context, dir string, rounds int, seed uint64, opts Options) (Result, error) {
	random := rand.New(rand.NewPCG(seed, 0))
	var res Result
	for round := range rounds {
		alive := time.Duration(10+random.IntN(490)) * time.Millisecond
		acks, err := write(ctx, dir, random.Uint64(), alive, opts.Plant)
		if err == nil {
			err = check(ctx, dir, acks)
		}
		if err != nil {
			return res, fmt.Errorf("round %d, seed %d, killed after %v: %w", round, seed, alive, err)
		}
		res.Rounds++
		res.Acknowledged += len(acks)
		if len(acks) == 0 {
			res.Unknown++
		}
		if opts.Log != nil {
			opts.Log("round %d: killed after %v, %d acknowledged commands are there, the store verifies", round, alive, len(acks))
		}
	}
	return res, nil
}

// ack is a command that a publish acknowledged.
type ack struct {
	tenant, sk string
	version    int64
	digest     string
}

func digest(r *record.Record) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%t|%s", r.Name, r.IsDeleted, r.Attributes))
	return hex.EncodeToString(sum[:8])
}

func (a ack) line() string { return fmt.Sprintf("%s %s %d %s\n", a.tenant, a.sk, a.version, a.digest) }

func parseAck(line string) (ack, error) {
	f := strings.Fields(line)
	if len(f) != 4 {
		return ack{}, fmt.Errorf("an acknowledgement has %d fields: %q", len(f), line)
	}
	version, err := strconv.ParseInt(f[2], 10, 64)
	return ack{tenant: f[0], sk: f[1], version: version, digest: f[3]}, err
}

// write runs the writing process and kills it, counted from its first acknowledgement; what it acknowledged until then is returned.
func write(ctx context.Context, dir string, seed uint64, alive time.Duration, plant bool) ([]ack, error) {
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir, childSeed+"="+strconv.FormatUint(seed, 10))
	if plant {
		child.Env = append(child.Env, childPlant+"=1")
	}
	var stderr strings.Builder
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	defer child.Wait()
	defer child.Process.Kill()
	var kill *time.Timer
	var acks []ack
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF { // a line without its end was cut short: nobody was told
			break
		}
		if err != nil {
			return nil, err
		}
		a, err := parseAck(line)
		if err != nil {
			return nil, err
		}
		acks = append(acks, a)
		if kill == nil {
			kill = time.AfterFunc(alive, func() { child.Process.Kill() })
			defer kill.Stop()
		}
	}
	if kill == nil {
		return nil, fmt.Errorf("the writing process ended by itself: %s", stderr.String())
	}
	return acks, nil
}

// check opens the store and looks for what was acknowledged, then verifies it whole.
func check(ctx context.Context, dir string, acks []ack) error {
	app, err := tenantry.Open(ctx, tenantry.Config{Store: sqlite.At(dir)})
	if err != nil {
		return err
	}
	defer app.Close()
	sys := upkeep("look for what was acknowledged")
	for _, a := range acks {
		if err := a.look(ctx, app, sys); err != nil {
			return err
		}
	}
	report, err := integrity.Verify(ctx, app.Store(), sys, integrity.Options{Entities: app.Entities()})
	if err != nil {
		return err
	}
	if !report.Clean() {
		return fmt.Errorf("the store does not verify:\n%s", report)
	}
	return nil
}

func (a ack) look(ctx context.Context, app *tenantry.App, sys guard.System) error {
	code, err := tenant.Parse(a.tenant)
	if err != nil {
		return err
	}
	sc, err := sys.Enter(ctx, code, time.Time{})
	if err != nil {
		return err
	}
	key, err := record.NewKey(sc, entityType(), a.sk)
	if err != nil {
		return err
	}
	view, err := app.Store().In(sc)
	if err != nil {
		return err
	}
	cmd, err := view.Command(ctx, key, a.version)
	if err != nil {
		return err
	}
	if cmd == nil {
		return fmt.Errorf("the acknowledged command %s@%d is lost", key.ID(), a.version)
	}
	if got := digest(cmd); got != a.digest {
		return fmt.Errorf("the acknowledged command %s@%d has another content: %s, was %s", key.ID(), a.version, got, a.digest)
	}
	current, err := view.Get(ctx, key)
	if err != nil {
		return err
	}
	if current == nil || current.Version < a.version {
		return fmt.Errorf("the record %s is behind its acknowledged version %d", key.ID(), a.version)
	}
	return nil
}

func entityType() record.EntityType { return record.MustEntityType("CRASH") }

// upkeep returns the right to cross tenants for the process itself.
func upkeep(reason string) guard.System {
	return scope.NewSystem(record.NewID(), scope.Actor{UserID: "system", RequestID: "crash", Source: "crash"}, reason, nil)
}
