package members

import (
	"context"
	"strings"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// change makes a membership what next says, which gets what it was; the zero attributes end it. One commit writes it and
// everything that must agree with it: the membership that was the user's default, who the default is, how many admins the
// tenant has.
func (s *Service) change(ctx context.Context, sc scope.Scope, userCode string, next func(before attributes, live bool) (attributes, error),
	opts []command.Option) (Membership, command.Result, error) {
	in, err := common(sc)
	if err != nil {
		return Membership{}, command.Result{}, err
	}
	res, err := s.cfg.Commands.Together(ctx, in, func(ctx context.Context) (command.Plan, error) {
		return s.plan(ctx, in, sc.Tenant().String(), userCode, next)
	}, opts...)
	if err != nil {
		return Membership{}, res, err
	}
	m, err := membershipOf(res.Record)
	return m, res, err
}

// plan returns what a change of one membership writes.
func (s *Service) plan(ctx context.Context, in scope.Scope, code, userCode string, next func(attributes, bool) (attributes, error)) (command.Plan, error) {
	key, err := s.key(in, code, userCode)
	if err != nil {
		return command.Plan{}, err
	}
	rec, err := s.current(ctx, in, key)
	if err != nil {
		return command.Plan{}, err
	}
	before, err := read(rec)
	if err != nil {
		return command.Plan{}, err
	}
	live := rec != nil && !rec.IsDeleted
	after, err := next(before, live)
	if err != nil {
		return command.Plan{}, err
	}
	step, err := stepTo(key, rec, after)
	if err != nil {
		return command.Plan{}, err
	}
	p := command.Plan{Steps: []command.Step{step}}
	was, is := live && before.IsDefault, after.IsDefault
	if was != is {
		if err := s.planDefault(ctx, in, &p, code, userCode, is); err != nil {
			return command.Plan{}, err
		}
	}
	if was, is := live && isAdmin(before), isAdmin(after); was != is {
		write, err := s.countAdmins(ctx, in, code, is)
		if err != nil {
			return command.Plan{}, err
		}
		p.System = append(p.System, write)
	}
	return p, nil
}

func (s *Service) key(in scope.Scope, code, userCode string) (record.Key, error) {
	parsed, err := tenant.Parse(code)
	if err != nil {
		return record.Key{}, err
	}
	return keyOf(in, parsed, userCode)
}

// current returns a record, deleted or not, nil where there never was one.
func (s *Service) current(ctx context.Context, in scope.Scope, key record.Key) (*record.Record, error) {
	rec, err := s.cfg.Data.Get(ctx, in, key, data.IncludeDeleted())
	if fault.CodeOf(err) == fault.NotFound {
		return nil, nil
	}
	return rec, err
}

// stepTo returns the step that makes a membership's record say what after says; the zero attributes delete it.
func stepTo(key record.Key, current *record.Record, after attributes) (command.Step, error) {
	step := command.Step{Key: key, Current: current}
	if after == (attributes{}) {
		step.Next = current.Clone()
		step.Next.IsDeleted = true
		return step, nil
	}
	a, err := record.EncodeAttributes(after)
	if err != nil {
		return step, err
	}
	if current == nil || current.IsDeleted {
		step.Next = &record.Record{Code: key.SK(), Name: "User " + after.UserCode + " in " + after.TenantCode, Type: EntityType().String(), Attributes: a}
		return step, nil
	}
	step.Next = current.Clone()
	step.Next.Attributes, err = current.Attributes.MergeShallow(a) // keeps what other services added
	return step, err
}

// defaultValue is what is kept of a user's default.
type defaultValue struct {
	TenantCode string `json:"tenantCode"` // "" for none
}

// planDefault makes a membership the user's default, or no longer. The row of the default changes with every such commit, so
// that of two at once the second sees the first.
func (s *Service) planDefault(ctx context.Context, in scope.Scope, p *command.Plan, code, userCode string, is bool) error {
	row, err := s.cfg.Defaults.Get(ctx, in.Tenant().String(), hash(userCode))
	if err != nil {
		return err
	}
	var former, now defaultValue
	if err := row.Value.Decode(&former); err != nil {
		return err
	}
	if row.Version == 0 {
		if former.TenantCode, err = s.findDefault(ctx, userCode); err != nil {
			return err
		}
	}
	if is {
		now.TenantCode = code
	}
	if former.TenantCode != "" && former.TenantCode != code {
		if !is {
			return nil // another one is the default; this one never was
		}
		if err := s.planFormer(ctx, in, p, former.TenantCode, userCode); err != nil {
			return err
		}
	}
	if row.Value, err = record.EncodeAttributes(now); err != nil {
		return err
	}
	p.System = append(p.System, s.cfg.Defaults.Put(row))
	return nil
}

// planFormer makes the membership that was the user's default none.
func (s *Service) planFormer(ctx context.Context, in scope.Scope, p *command.Plan, code, userCode string) error {
	key, err := s.key(in, code, userCode)
	if err != nil {
		return err
	}
	rec, err := s.current(ctx, in, key)
	if err != nil || rec == nil || rec.IsDeleted {
		return err
	}
	a, err := read(rec)
	if err != nil {
		return err
	}
	a.IsDefault = false
	step, err := stepTo(key, rec, a)
	p.Steps = append(p.Steps, step)
	return err
}

// findDefault returns the default of a user none is kept of yet: other services keep it in the memberships only.
func (s *Service) findDefault(ctx context.Context, userCode string) (string, error) {
	all, err := s.TenantsOf(ctx, userCode)
	if err != nil {
		return "", err
	}
	for _, m := range all {
		if m.IsDefault {
			return m.TenantCode, nil
		}
	}
	return "", nil
}

// isAdmin reports whether a membership's role is Admin, which other services may write in capitals.
func isAdmin(a attributes) bool { return strings.EqualFold(a.Role, Admin) }

type adminsValue struct {
	Admins int `json:"admins"`
}

const adminsKey = "admins"

// countAdmins returns the write that counts one admin more, or fewer. It fails with fault.LastAdmin.
func (s *Service) countAdmins(ctx context.Context, in scope.Scope, code string, more bool) (storage.SystemWrite, error) {
	row, err := s.cfg.Admins.Get(ctx, code, adminsKey)
	if err != nil {
		return storage.SystemWrite{}, err
	}
	var v adminsValue
	if err := row.Value.Decode(&v); err != nil {
		return storage.SystemWrite{}, err
	}
	if row.Version == 0 {
		if v.Admins, err = s.findAdmins(ctx, in, code); err != nil {
			return storage.SystemWrite{}, err
		}
	}
	switch {
	case more:
		v.Admins++
	case v.Admins <= 1:
		return storage.SystemWrite{}, fault.New(fault.LastAdmin, "members", "the tenant would have no admin left; make another member an admin first")
	default:
		v.Admins--
	}
	if row.Value, err = record.EncodeAttributes(v); err != nil {
		return storage.SystemWrite{}, err
	}
	return s.cfg.Admins.Put(row), nil
}

// findAdmins counts the admins of a tenant none are counted of yet: other services don't count.
func (s *Service) findAdmins(ctx context.Context, in scope.Scope, code string) (n int, err error) {
	partition, err := record.NewPartition(in, EntityType())
	if err != nil {
		return 0, err
	}
	for cursor := ""; ; {
		page, err := s.cfg.Data.List(ctx, in, data.Query{Partition: partition, Prefix: code + record.Separator, Limit: data.MaxLimit, Cursor: cursor})
		if err != nil {
			return 0, err
		}
		for _, rec := range page.Items {
			a, err := read(rec)
			if err != nil {
				return 0, err
			}
			if isAdmin(a) {
				n++
			}
		}
		if cursor = page.Cursor; cursor == "" {
			return n, nil
		}
	}
}
