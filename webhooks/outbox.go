package webhooks

import (
	"context"
	"errors"
	"slices"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// The kinds of jobs: one finds out which webhooks want the commands of a commit, one makes a delivery.
const (
	fanKind     = "webhook-fan"
	deliverKind = "webhook"
)

func (s *Service) kinds() []jobs.Kind {
	return []jobs.Kind{
		{Name: fanKind, Run: s.fan},
		{Name: deliverKind, Run: s.deliver, Attempts: s.cfg.Attempts, Backoff: s.cfg.Backoff, Workers: 64, PerTenant: 4, Timeout: 2 * patience, Quick: prompt},
	}
}

// commandRef names a command in the log.
type commandRef struct {
	PK      string `json:"pk"`
	SK      string `json:"sk"`
	Version int64  `json:"version"`
}

type fanPayload struct {
	Commands []commandRef `json:"commands"`
}

// Outbox returns what is written in the commit of changes of sc's tenant, so that its webhooks are told: a job, where one of them wants
// one of the commands. A webhook that another process made within the last second may not be known yet.
func (s *Service) Outbox(ctx context.Context, sc scope.Scope, changes []storage.Change) ([]storage.SystemWrite, error) {
	if sc.Tenant().IsCommon() {
		return nil, nil
	}
	hooks, err := s.hooks.Get(ctx, tenantKey{sc.Tenant()})
	if err != nil || len(hooks) == 0 {
		return nil, err
	}
	var p fanPayload
	for _, c := range changes {
		typ, _, _, err := record.SplitPK(c.Data.PK)
		if err != nil {
			return nil, err
		}
		t, ok := s.cfg.Entities.Lookup(typ)
		if ok && !t.Owned && slices.ContainsFunc(hooks, func(h hook) bool { return h.wants(t) }) {
			p.Commands = append(p.Commands, commandRef{PK: c.Data.PK, SK: c.Data.SK, Version: c.Data.Version})
		}
	}
	if p.Commands == nil {
		return nil, nil
	}
	payload, err := record.EncodeAttributes(p)
	if err != nil {
		return nil, err
	}
	_, writes, err := s.cfg.Jobs.Writes(ctx, sc, jobs.Order{Kind: fanKind, Payload: payload})
	return writes, err
}

// fan orders the deliveries of the commands of one commit, each once however often it runs.
func (s *Service) fan(ctx context.Context, sc scope.Scope, j jobs.Job) error {
	var p fanPayload
	if err := j.Payload.Decode(&p); err != nil {
		return jobs.Final(err)
	}
	hooks, err := s.active(ctx, sc)
	if err != nil {
		return err
	}
	for _, ref := range p.Commands {
		cmd, err := s.command(ctx, sc, ref)
		if err != nil {
			return err
		}
		typ, _, _, err := record.SplitPK(ref.PK)
		if err != nil {
			return jobs.Final(err)
		}
		verb, err := s.verb(ctx, sc, cmd)
		if err != nil {
			return err
		}
		t, _ := s.cfg.Entities.Lookup(typ)
		for _, h := range hooks {
			if !h.wants(t) {
				continue
			}
			d := Delivery{ID: deliveryID(h.id, cmd), WebhookID: h.id, Type: typ.String() + "." + verb, RecordID: cmd.PK + record.Separator + cmd.SK, RecordVersion: cmd.Version,
				State: Pending, CreatedAt: record.At(s.cfg.Now()), command: &ref}
			err := s.order(ctx, sc, storage.Row{}, d)
			if _, there := errors.AsType[*driver.Conflict](err); err != nil && !there {
				return err
			}
		}
	}
	return nil
}

// command returns the command that a job names. It fails for one of another tenant.
func (s *Service) command(ctx context.Context, sc scope.Scope, ref commandRef) (*record.Record, error) {
	key, err := record.ParseKey(sc, ref.PK, ref.SK)
	if err != nil {
		return nil, jobs.Final(err)
	}
	return s.cfg.Data.Command(ctx, sc, key, ref.Version)
}

// verb says what a command did to its record. One on a deleted record begins a new life of it, at which it is created.
func (s *Service) verb(ctx context.Context, sc scope.Scope, cmd *record.Record) (string, error) {
	switch {
	case cmd.IsDeleted:
		return "deleted", nil
	case cmd.Version == 1:
		return "created", nil
	case cmd.CreatedAt != cmd.UpdatedAt:
		return "updated", nil
	}
	former, err := s.command(ctx, sc, commandRef{cmd.PK, cmd.SK, cmd.Version - 1})
	if err == nil && former.IsDeleted {
		return "created", nil
	}
	return "updated", err
}
