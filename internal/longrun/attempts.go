package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/internal/proof"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
)

// How much each proof does; the tests do a twentieth.
const (
	races      = 2_000
	operations = 40_000
	histories  = 20
	requests   = 20_000
	fuzzTime   = time.Minute
)

func attempts() []attempt {
	longRun := []string{"TENANTRY_LONG_RUN=1"}
	hostile := []string{fmt.Sprint("TENANTRY_FUZZ_REQUESTS=", requests)}
	return []attempt{
		{"kill", "200 kills at random moments under load from 8 writers", test(longRun, "-run", "^TestKill$", "./internal/crash")},
		{"members", "50 kills of a process that manages members, at random moments and around commits", test(longRun, "-run", "^TestKillMembers$", "./internal/crash")},
		{"processes", "50 kills of one of three processes on each kind of store: nothing lost, handlers in order, taken over within 10 s", test(longRun, "-run", "^TestKillOneOfThree$", "./internal/crash")},
		{"projection", "200 kills of the process that keeps a read model on SQLite and PostgreSQL, 50,000 commands: read model, rebuild and model are the same", test(longRun, "-run", "^TestKillProjection$", "-timeout", "2h", "./internal/crash")},
		{"rebuild", "while one tenant of 100 is rebuilt, the others' lag stays under twice the quiet one, or 100 ms; the median of 5 runs", test(longRun, "-run", "^TestLagWhileRebuilding$", "-timeout", "1h", "./upkeep")},
		{"noisy", "while one tenant sends 50 times as much as each of 20 others, these wait less than twice as long as without, or 100 ms: HTTP, handlers, read model, jobs; the median of 5 runs", test(longRun, "-run", "^TestNoisyNeighbour$", "-timeout", "1h", "./bench")},
		{"jobs", "100 tenants with 10,000 interleaved jobs each (1,000 on SQLite), with panics, retries and tenants that are deleted, in two processes; 50 kills of one that runs jobs", test(longRun, "-race", "-run", "^(TestJobsOfManyTenants|TestKillJobs)$", "-timeout", "4h", "./jobs", "./internal/crash")},
		{"faults", "300,000 calls on PostgreSQL and as many on DynamoDB while connections and servers fail: acknowledged is made, refused is not", test(longRun, "-run", "^(TestCallsUnderFaults|TestServerIsKilled|TestFaults)$", "-timeout", "8h", "./storage/postgres", "./storage/dynamodb")},
		{"steps", "100,000 random steps on each engine have the results of the memory engine", test(nil, "-timeout", "4h", "-run", "^TestContract(Spread)?$/any_operations", "./storage/sqlite", "./storage/postgres", "./storage/dynamodb", "-rapid.checks=1000", "-rapid.steps=100")},
		{"copies", "160 kills of copies of a store that is used, around their commits in every phase", test(longRun, "-run", "^TestKill$", "./transfer")},
		{"sync", "2,000 random worlds (240 on the engines) with syncs that die at commits, and a sync of 40,000 records whose process is killed: applied is planned, undone is before", test(longRun, "-run", "^(TestRandomWorlds|TestRandomWorldsOnEngines|TestKillSync)$", "./tenantsync", "./internal/crash")},
		{"race", fmt.Sprintf("%d rounds of %d writers racing for one version", races, proof.Racers), race},
		{"linear", fmt.Sprintf("%d histories of versioned writes and reads, %d operations in all", histories, operations), linear},
		{"planted", "stale reads, lost updates, early and torn commits that are planted must be found", test(nil, "-run", "Found$", "./internal/proof", "./internal/crash")},
		{"effect", "1000 each of removals, role changes, suspensions, settings and revocations under load: at once here, within 1 s in another process", test(longRun, "-run", "^TestEffect$", "./internal/proof")},
		{"settings", "100,000 random trees of settings resolve as by brute force, explained too", test(longRun, "-run", "^TestSettings$", "./internal/proof")},
		{"fuzz", fmt.Sprintf("every fuzz target for %v", fuzzTime), fuzz},
		{"http", fmt.Sprintf("%d hostile requests over the API's description", requests), test(hostile, "-run", "^TestRandomRequests$", "./httpapi")},
		{"mutants", "every planted bug makes the test fail that should notice it", mutants},
	}
}

// with calls use with the services over a new store, for a proof.
func with(ctx context.Context, use func(proof.Subject) error) (err error) {
	dir, err := os.MkdirTemp("", "tenantry-longrun-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	app, err := tenantry.Open(ctx, tenantry.Config{Store: sqlite.At(dir)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	code, err := tenant.Parse("proof")
	if err != nil {
		return err
	}
	sys := scope.NewSystem(record.NewID(), scope.Actor{UserID: "system", RequestID: "longrun", Source: "longrun"}, "prove", nil)
	sc, err := sys.Enter(ctx, code, time.Time{})
	if err != nil {
		return err
	}
	return use(proof.Subject{Commands: app.Commands(), Data: app.Data(), Scope: sc})
}

func race(ctx context.Context, _ io.Writer, seed uint64) (string, error) {
	measured := fmt.Sprintf("%d rounds, exactly one of %d won each", races, proof.Racers)
	return measured, with(ctx, func(s proof.Subject) error { return proof.Race(ctx, s, races, seed) })
}

func linear(ctx context.Context, _ io.Writer, seed uint64) (string, error) {
	for n := range uint64(histories) {
		err := with(ctx, func(s proof.Subject) error { return proof.Linearizable(ctx, s, operations/histories, seed+n) })
		if err != nil {
			return fmt.Sprintf("%d histories were linearizable", n), err
		}
	}
	return fmt.Sprintf("%d histories of %d operations are linearizable", histories, operations/histories), nil
}
