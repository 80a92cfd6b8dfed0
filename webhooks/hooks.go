package webhooks

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

// Max is how many webhooks a tenant may have.
const Max = 20

// Webhook is one webhook as its tenant's admins see it.
type Webhook struct {
	ID          string      `json:"id"`
	URL         string      `json:"url"`
	EntityTypes []string    `json:"entityTypes" doc:"whose commands are sent; all where it is empty"`
	Description string      `json:"description,omitempty"`
	Active      bool        `json:"active"`
	Version     int64       `json:"version"`
	CreatedAt   record.Time `json:"createdAt"`
	CreatedBy   string      `json:"createdBy"`
	UpdatedAt   record.Time `json:"updatedAt"`
	Secret      string      `json:"secret,omitempty" doc:"shown once, when the webhook is made or its secret is rotated"`
	FormerUntil record.Time `json:"formerSecretUntil,omitzero" doc:"until when the secret before signs as well"`
}

// attributes are what the record of a webhook holds.
type attributes struct {
	URL         string   `json:"url"`
	EntityTypes []string `json:"entityTypes,omitempty"`
	Description string   `json:"description,omitempty"`
	Active      bool     `json:"active"`
	Role        string   `json:"role,omitempty"` // of who changed it last: it is told of what that role may read
	Secrets     []secret `json:"secrets"`        // the newest first
}

// hook is a webhook with what signs its deliveries.
type hook struct {
	attributes
	id string
}

func (h hook) wants(t entity.Type) bool {
	return mayRead(h.Role, t) && (len(h.EntityTypes) == 0 || slices.Contains(h.EntityTypes, t.Name.String()))
}

// mayRead reports whether a webhook of a role's is told of records of a type: no module owns it, and the role may read it.
func mayRead(role string, t entity.Type) bool {
	return !t.Owned && (len(t.ReadRoles) == 0 || role == guard.SystemAdmin || slices.Contains(t.ReadRoles, role))
}

func hookOf(rec *record.Record) (hook, error) {
	h := hook{id: rec.SK}
	if err := rec.Attributes.Decode(&h.attributes); err != nil {
		return h, fault.Wrap(err, fault.Internal, "webhooks", "a webhook's record has attributes of another form; run tenantry verify")
	}
	return h, nil
}

func (s *Service) shown(rec *record.Record) (Webhook, error) {
	h, err := hookOf(rec)
	w := Webhook{ID: h.id, URL: h.URL, EntityTypes: append([]string{}, h.EntityTypes...), Description: h.Description, Active: h.Active, Version: rec.Version,
		CreatedAt: rec.CreatedAt, CreatedBy: rec.CreatedBy, UpdatedAt: rec.UpdatedAt}
	if len(h.Secrets) > 1 && h.Secrets[1].Until > s.cfg.Now().Unix() {
		w.FormerUntil = record.At(time.Unix(h.Secrets[1].Until, 0))
	}
	return w, err
}

// Change is what is set of a webhook. A nil field stays, and is the zero value in a new one, which is active.
type Change struct {
	URL         *string
	EntityTypes *[]string
	Description *string
	Active      *bool
}

func (c Change) on(a *attributes) {
	set(&a.URL, c.URL)
	set(&a.EntityTypes, c.EntityTypes)
	set(&a.Description, c.Description)
	set(&a.Active, c.Active)
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

func (s *Service) check(a *attributes) error {
	var problems []fault.Field
	if p := checkURL(a.URL, s.cfg.Allow); p != "" {
		problems = append(problems, fault.Field{Field: "url", Problem: p})
	}
	if len(a.Description) > 500 || a.Description != "" && record.CheckText(a.Description, 500) != nil {
		problems = append(problems, fault.Field{Field: "description", Problem: "is at most 500 bytes of printable UTF-8"})
	}
	if len(a.EntityTypes) > 100 {
		problems = append(problems, fault.Field{Field: "entityTypes", Problem: "has at most 100 entity types"})
	}
	for _, name := range a.EntityTypes {
		t, err := record.ParseEntityType(name)
		typ, ok := s.cfg.Entities.Lookup(t)
		if err != nil || !ok || t.String() != name || !mayRead(a.Role, typ) {
			problems = append(problems, fault.Field{Field: "entityTypes", Problem: "holds what is not an entity type of records that the caller may read, as PRODUCT"})
			break
		}
	}
	if problems != nil {
		return fault.Invalid("webhooks", problems...)
	}
	return nil
}

// Create makes a webhook in sc's tenant. Its Secret is in the answer only: what is kept is sealed. It fails with fault.ValidationFailed,
// also where the tenant has Max webhooks.
func (s *Service) Create(ctx context.Context, sc scope.Scope, in Change) (Webhook, error) {
	a := attributes{Active: true, Role: sc.Actor().Role}
	in.on(&a)
	if err := s.check(&a); err != nil {
		return Webhook{}, err
	}
	key, err := record.NewKey(sc, EntityType(), record.NewID())
	if err != nil {
		return Webhook{}, err
	}
	if sc.Tenant().IsCommon() {
		return Webhook{}, fault.New(fault.InvalidRequest, "webhooks.Create", "the common tenant has no webhooks; make one in each tenant")
	}
	text, sealed := s.newSecret(sc, key.SK())
	a.Secrets = []secret{sealed}
	value, err := record.EncodeAttributes(a)
	if err != nil {
		return Webhook{}, err
	}
	res, err := s.cfg.Commands().PublishAsync(ctx, sc, command.Input{Key: key, Name: "webhook", Attributes: value}, command.Beside(s.room))
	if err != nil {
		return Webhook{}, err
	}
	w, err := s.shown(res.Record)
	w.Secret = text
	return w, err
}

// room returns the write that makes a webhook one more of sc's tenant. Each changes one row, so that those made at the same moment count each other.
func (s *Service) room(ctx context.Context, sc scope.Scope) ([]storage.SystemWrite, error) {
	row, err := s.cfg.Deliveries.Get(ctx, sc.Tenant().String(), madeSK)
	if err != nil {
		return nil, err
	}
	all, err := s.records(ctx, sc)
	if err != nil {
		return nil, err
	}
	if len(all) >= Max {
		return nil, fault.Invalid("webhooks.Create", fault.Field{Field: "url", Problem: "is one too many: a tenant has at most 20 webhooks"})
	}
	return []storage.SystemWrite{s.cfg.Deliveries.Put(row)}, nil
}

// madeSK is the sort key of the row whose version counts the webhooks that a tenant ever made. No delivery has it.
const madeSK = "made"

func (s *Service) key(sc scope.Scope, id string) (record.Key, error) {
	key, err := record.NewKey(sc, EntityType(), id)
	if err != nil && fault.CodeOf(err) == fault.InvalidKey || strings.Contains(id, record.Separator) {
		return key, noHook()
	}
	return key, err
}

func noHook() error { return fault.New(fault.NotFound, "webhooks", "there is no such webhook") }

// Get returns a webhook of sc's tenant. It fails with fault.NotFound.
func (s *Service) Get(ctx context.Context, sc scope.Scope, id string) (Webhook, error) {
	rec, err := s.get(ctx, sc, id)
	if err != nil {
		return Webhook{}, err
	}
	return s.shown(rec)
}

func (s *Service) get(ctx context.Context, sc scope.Scope, id string) (*record.Record, error) {
	key, err := s.key(sc, id)
	if err != nil {
		return nil, err
	}
	rec, err := s.cfg.Data.Get(ctx, sc, key)
	if fault.CodeOf(err) == fault.NotFound {
		return nil, noHook()
	}
	return rec, err
}

// List returns the webhooks of sc's tenant, oldest first.
func (s *Service) List(ctx context.Context, sc scope.Scope) ([]Webhook, error) {
	recs, err := s.records(ctx, sc)
	if err != nil {
		return nil, err
	}
	all := make([]Webhook, len(recs))
	for i, rec := range recs {
		if all[i], err = s.shown(rec); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// records returns the records of a tenant's webhooks.
func (s *Service) records(ctx context.Context, sc scope.Scope) ([]*record.Record, error) {
	partition, err := record.NewPartition(sc, EntityType())
	if err != nil {
		return nil, err
	}
	page, err := s.cfg.Data.List(ctx, sc, data.Query{Partition: partition, Limit: Max})
	return page.Items, err
}

// active returns the webhooks of a tenant that want deliveries.
func (s *Service) active(ctx context.Context, sc scope.Scope) (hooks []hook, err error) {
	recs, err := s.records(ctx, sc)
	if err != nil {
		return nil, err
	}
	for _, rec := range recs {
		h, err := hookOf(rec)
		if err != nil {
			return nil, err
		}
		if h.Active {
			hooks = append(hooks, h)
		}
	}
	return hooks, nil
}

// Update changes a webhook. It fails with fault.NotFound and fault.ValidationFailed.
func (s *Service) Update(ctx context.Context, sc scope.Scope, id string, in Change, opts ...command.Option) (Webhook, command.Result, error) {
	return s.change(ctx, sc, id, func(next *record.Record, a *attributes) error {
		in.on(a)
		a.Role = sc.Actor().Role
		return s.check(a)
	}, opts)
}

// Delete removes a webhook; deliveries that wait are not made. It fails with fault.NotFound.
func (s *Service) Delete(ctx context.Context, sc scope.Scope, id string, opts ...command.Option) (Webhook, command.Result, error) {
	return s.change(ctx, sc, id, func(next *record.Record, _ *attributes) error {
		next.IsDeleted = true
		return nil
	}, opts)
}

// Rotate gives a webhook a new secret, which is in the answer only. The one before signs as well for Options.Overlap; older ones end at once.
// It fails with fault.NotFound.
func (s *Service) Rotate(ctx context.Context, sc scope.Scope, id string) (Webhook, command.Result, error) {
	var text string
	w, res, err := s.change(ctx, sc, id, func(_ *record.Record, a *attributes) error {
		var sealed secret
		text, sealed = s.newSecret(sc, id)
		former := a.Secrets[:min(1, len(a.Secrets))]
		for i := range former {
			former[i].Until = s.cfg.Now().Add(s.cfg.Overlap).Unix()
		}
		a.Secrets = append([]secret{sealed}, former...)
		return nil
	}, nil)
	w.Secret = text
	return w, res, err
}

func (s *Service) change(ctx context.Context, sc scope.Scope, id string, change func(*record.Record, *attributes) error, opts []command.Option) (Webhook, command.Result, error) {
	key, err := s.key(sc, id)
	if err != nil {
		return Webhook{}, command.Result{}, err
	}
	res, err := s.cfg.Commands().Change(ctx, sc, key, record.VersionLatest, func(current *record.Record) (*record.Record, error) {
		h, err := hookOf(current)
		if err != nil {
			return nil, err
		}
		next := current.Clone()
		if err := change(next, &h.attributes); err != nil {
			return nil, err
		}
		next.Attributes, err = record.EncodeAttributes(h.attributes)
		return next, err
	}, append(opts, command.Live(), command.Async())...)
	if fault.CodeOf(err) == fault.NotFound {
		return Webhook{}, res, noHook()
	}
	if err != nil {
		return Webhook{}, res, err
	}
	w, err := s.shown(res.Record)
	return w, res, err
}
