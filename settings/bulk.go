package settings

import (
	"context"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
)

// MaxBulk is how many settings are created at once at most.
const MaxBulk = 500

// inFlight is how many settings of one bulk are published at a time, which lets them share a commit.
const inFlight = 64

// NewSetting is a master setting to be created.
type NewSetting struct {
	Ref   Ref
	Value Value
}

// Created is what became of one setting of a bulk, at its place in the list.
type Created struct {
	Setting Setting
	Result  command.Result
	Err     error // fault.AlreadyExists where there is one
}

// CreateAll creates master settings of sc's tenant, each in its own commit, after all were checked: it fails with
// fault.ValidationFailed, and nothing is created, where one of them can't be. Options makes the options of a publish, of which part
// names the setting; nil for none.
func (s *Service) CreateAll(ctx context.Context, sc scope.Scope, list []NewSetting, options func(part string) []command.Option) ([]Created, error) {
	if err := checkAll(sc, list); err != nil {
		return nil, err
	}
	out := make([]Created, len(list))
	var publishing errgroup.Group
	publishing.SetLimit(inFlight)
	for i, in := range list {
		publishing.Go(func() error {
			var opts []command.Option
			if options != nil {
				opts = options(strconv.Itoa(i))
			}
			out[i].Setting, out[i].Result, out[i].Err = s.Create(ctx, sc, in.Ref, in.Value, opts...)
			return nil
		})
	}
	return out, publishing.Wait()
}

func checkAll(sc scope.Scope, list []NewSetting) error {
	var problems []fault.Field
	if len(list) > MaxBulk {
		problems = append(problems, fault.Field{Problem: "has more than 500 elements"})
	}
	seen := map[Ref]bool{}
	for i, in := range list {
		at := "[" + strconv.Itoa(i) + "]"
		_, err := in.Ref.key(sc)
		if err != nil && fault.CodeOf(err) != fault.ValidationFailed {
			return err
		}
		found := in.Value.check()
		if err != nil {
			found = append(found, fault.As(err).Fields...)
		}
		for _, p := range found {
			problems = append(problems, fault.Field{Field: at + "." + p.Field, Problem: p.Problem})
		}
		if seen[in.Ref] {
			problems = append(problems, fault.Field{Field: at, Problem: "names a setting that another element names"})
		}
		seen[in.Ref] = true
	}
	if problems != nil {
		return fault.Invalid("settings.CreateAll", problems...)
	}
	return nil
}
