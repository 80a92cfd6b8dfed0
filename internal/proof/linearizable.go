package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

// Clients is how many act at once in Linearizable.
const Clients = 8

// ErrNotLinearizable is what Linearizable returns where no order of the operations, each taking effect at one moment between its call
// and its answer, explains the answers.
var ErrNotLinearizable = errors.New("the history is not linearizable")

// Linearizable lets Clients write and read versions of a few records at once, operations many in all, and returns
// ErrNotLinearizable unless porcupine finds the history of each record linearizable. The seed chooses the operations.
func Linearizable(ctx context.Context, s Subject, operations int, seed uint64) error {
	history, err := s.history(ctx, operations, seed)
	if err != nil {
		return fmt.Errorf("seed %d: %w", seed, err)
	}
	switch result, _ := porcupine.CheckOperationsVerbose(register, history, time.Minute); result {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return fmt.Errorf("seed %d: %w", seed, ErrNotLinearizable)
	default:
		return fmt.Errorf("seed %d: %d operations can't be checked within a minute", seed, operations)
	}
}

// call is what a client asks of one record: a read, or a write of text at an expected version.
type call struct {
	key      int
	write    bool
	expected int64 // record.VersionLatest for any
	text     string
}

// answer is what it gets: the version and text that the record has now or, for a write that lost, the version found.
type answer struct {
	version  int64
	text     string
	conflict bool
}

func (s Subject) history(ctx context.Context, operations int, seed uint64) ([]porcupine.Operation, error) {
	const records = 3
	var mu sync.Mutex
	var history []porcupine.Operation
	errs := make([]error, Clients)
	began := time.Now()
	var working sync.WaitGroup
	for client := range Clients {
		random := rand.New(rand.NewPCG(seed, uint64(client)))
		working.Go(func() {
			known := make([]int64, records) // versions that this client saw last
			for n := range operations / Clients {
				c := call{key: random.IntN(records), write: random.IntN(2) == 0, text: fmt.Sprintf("%d of client %d", n, client)}
				if c.expected = known[c.key]; random.IntN(4) == 0 {
					c.expected = record.VersionLatest
				}
				called := time.Since(began)
				a, err := s.perform(ctx, seed, c)
				answered := time.Since(began)
				if err != nil {
					errs[client] = err
					return
				}
				known[c.key] = a.version
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: c, Call: int64(called), Output: a, Return: int64(answered)})
				mu.Unlock()
			}
		})
	}
	working.Wait()
	return history, errors.Join(errs...)
}

func (s Subject) perform(ctx context.Context, seed uint64, c call) (answer, error) {
	key, err := s.key(fmt.Sprintf("register-%d-%d", seed, c.key))
	if err != nil {
		return answer{}, err
	}
	if !c.write {
		rec, err := s.Data.Get(ctx, s.Scope, key)
		if errors.Is(err, fault.NotFound) {
			return answer{}, nil
		} else if err != nil {
			return answer{}, err
		}
		return answer{version: rec.Version, text: rec.Name}, nil
	}
	res, err := s.Commands.PublishSync(ctx, s.Scope, command.Input{Key: key, Version: c.expected, Name: c.text})
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Versions != nil {
		return answer{version: e.Versions.Actual, conflict: true}, nil
	} else if err != nil {
		return answer{}, err
	}
	return answer{version: res.Record.Version, text: res.Record.Name}, nil
}

// register is a versioned record, as it is meant to be.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(call).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return answer{} },
	Step: func(state, input, output any) (bool, any) {
		now, c, a := state.(answer), input.(call), output.(answer)
		switch {
		case !c.write:
			return a == now, now
		case c.expected != record.VersionLatest && c.expected != now.version:
			return a == answer{version: now.version, conflict: true}, now
		}
		next := answer{version: now.version + 1, text: c.text}
		return a == next, next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}
