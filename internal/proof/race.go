// Package proof holds workloads that try to break what the system promises when many act at once. The tests of this package
// run them for a moment; the long run runs them for as long as it takes to believe them.
package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
)

// Subject is what a workload runs against: the services over one store, and a Scope whose tenant it fills.
type Subject struct {
	Commands *command.Service
	Data     *data.Service
	Scope    scope.Scope
}

func (s Subject) key(sk string) (record.Key, error) {
	return record.NewKey(s.Scope, record.MustEntityType("PROOF"), sk)
}

// Racers is how many writers want one version in Race.
const Racers = 32

// Race lets Racers writers race for the next version of a record, round after round, and returns an error unless each time
// exactly one of them wins, all others are told the version that it made, and the record says what the winner wrote. The
// seed chooses which record each round is about and how each racer publishes; the scheduler chooses the rest.
func Race(ctx context.Context, s Subject, rounds int, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 0))
	versions := make([]int64, 4) // of the records, few so that chains grow
	for round := range rounds {
		n := random.IntN(len(versions))
		if random.IntN(8) == 0 {
			versions = append(versions, 0)
			n = len(versions) - 1
		}
		key, err := s.key(fmt.Sprintf("race-%d-%d", seed, n))
		if err != nil {
			return err
		}
		if err := s.race(ctx, random, key, versions[n]); err != nil {
			return fmt.Errorf("round %d, seed %d, record %s at version %d: %w", round, seed, key.ID(), versions[n], err)
		}
		versions[n]++
	}
	return nil
}

// race is one round, for the version after current.
func (s Subject) race(ctx context.Context, random *rand.Rand, key record.Key, current int64) error {
	results, errs := make([]command.Result, Racers), make([]error, Racers)
	start := make(chan struct{})
	var racing sync.WaitGroup
	for i := range Racers {
		way := random.IntN(4)
		if current == 0 {
			way = random.IntN(2) // there is nothing yet to update a part of
		}
		racing.Go(func() {
			<-start
			results[i], errs[i] = s.publish(ctx, way, key, current, name(i, current+1))
		})
	}
	close(start)
	racing.Wait()
	winner := -1
	for i, err := range errs {
		e, _ := errors.AsType[*fault.Error](err)
		switch {
		case err == nil && winner >= 0:
			return fmt.Errorf("racers %d and %d both won version %d", winner, i, current+1)
		case err == nil:
			winner = i
		case e == nil || e.Code != fault.VersionConflict || e.Versions == nil:
			return fmt.Errorf("racer %d: %w", i, err)
		case *e.Versions != fault.Versions{Expected: current, Actual: current + 1}:
			return fmt.Errorf("racer %d is told of %+v", i, *e.Versions)
		}
	}
	if winner < 0 {
		return errors.New("nobody won")
	}
	if won := results[winner]; !won.Changed || won.Record.Version != current+1 {
		return fmt.Errorf("the winner made version %d", won.Record.Version)
	}
	rec, err := s.Data.Get(ctx, s.Scope, key)
	if err != nil {
		return err
	}
	if rec.Version != current+1 || rec.Name != name(winner, current+1) {
		return fmt.Errorf("the record says %q at version %d; racer %d won", rec.Name, rec.Version, winner)
	}
	if current > 0 {
		if _, err := s.Data.GetVersion(ctx, s.Scope, key, current); err != nil {
			return fmt.Errorf("the version before: %w", err)
		}
	}
	return nil
}

func name(racer int, version int64) string {
	return fmt.Sprintf("racer %d, version %d", racer, version)
}

// publish is a change of a record's name in one of four ways.
func (s Subject) publish(ctx context.Context, way int, key record.Key, version int64, name string) (command.Result, error) {
	whole := command.Input{Key: key, Version: version, Name: name}
	part := command.Partial{Key: key, Version: version, Name: &name}
	switch way {
	case 0:
		return s.Commands.PublishSync(ctx, s.Scope, whole)
	case 1:
		return s.Commands.PublishAsync(ctx, s.Scope, whole)
	case 2:
		return s.Commands.PublishPartialUpdateSync(ctx, s.Scope, part)
	default:
		return s.Commands.PublishPartialUpdateAsync(ctx, s.Scope, part)
	}
}
