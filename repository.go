package tenantry

import (
	"context"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
)

// Entity is an entity type whose attributes are a T: a struct that marshals to a JSON object. It may be used concurrently.
type Entity[T any] struct {
	name  record.EntityType
	check func(record.Attributes) []fault.Field
}

// NewEntity returns the declaration of an entity type with attributes of type T, and what it is used by. Attributes that do not have the
// form of T, unknown members included, are refused with fault.ValidationFailed wherever they come from; the validation tags
// of T's fields (minimum, maxLength, pattern, enum …) are those of package huma. Options change the declaration.
// It fails with fault.InvalidKey for a malformed name.
func NewEntity[T any](name string, options ...func(*entity.Type)) (*Entity[T], entity.Type, error) {
	t, err := record.ParseEntityType(name)
	if err != nil {
		return nil, entity.Type{}, err
	}
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[T](), false, name)
	schema.PrecomputeMessages()
	for _, s := range registry.Map() {
		s.PrecomputeMessages()
	}
	e := &Entity[T]{name: t, check: func(a record.Attributes) []fault.Field { return validate(registry, schema, a) }}
	declared := entity.Type{Name: t, Check: e.check, Schema: schema}
	for _, option := range options {
		option(&declared)
	}
	return e, declared, nil
}

func validate(registry huma.Registry, schema *huma.Schema, a record.Attributes) []fault.Field {
	tree := any(map[string]any{})
	if err := a.Decode(&tree); err != nil {
		return []fault.Field{{Problem: "can't be read"}}
	}
	res := &huma.ValidateResult{}
	huma.Validate(registry, schema, huma.NewPathBuffer(make([]byte, 0, 64), 0), huma.ModeWriteToServer, tree, res)
	problems := make([]fault.Field, 0, len(res.Errors))
	for _, err := range res.Errors {
		if detail, ok := err.(*huma.ErrorDetail); ok {
			problems = append(problems, fault.Field{Field: detail.Location, Problem: detail.Message})
		} else {
			problems = append(problems, fault.Field{Problem: err.Error()})
		}
	}
	return problems
}

// Item is a record with its attributes.
type Item[T any] struct {
	SK         string
	Code       string
	Name       string
	Version    int64
	Attributes T
	Record     *record.Record // the record as it is stored
}

// Repository reads and writes records of one entity type, typed. It may be used concurrently.
type Repository[T any] struct {
	entity   *Entity[T]
	commands *command.Service
	data     *data.Service
}

// In returns the repository of e's records in an App.
func (e *Entity[T]) In(a *App) *Repository[T] {
	return &Repository[T]{entity: e, commands: a.commands, data: a.data}
}

// Key returns the key of a record in sc's tenant. It fails with fault.InvalidKey.
func (r *Repository[T]) Key(sc guard.Scope, sk string) (record.Key, error) {
	return record.NewKey(sc, r.entity.name, sk)
}

// Get returns a record. It fails with fault.NotFound where there is none or it is deleted.
func (r *Repository[T]) Get(ctx context.Context, sc guard.Scope, sk string) (Item[T], error) {
	key, err := r.Key(sc, sk)
	if err != nil {
		return Item[T]{}, err
	}
	rec, err := r.data.Get(ctx, sc, key)
	if err != nil {
		return Item[T]{}, err
	}
	return itemOf[T](rec)
}

// Item returns a record of the entity type as an Item, for handlers. It fails with fault.ValidationFailed where the
// attributes do not have the form of T.
func (e *Entity[T]) Item(rec *record.Record) (Item[T], error) { return itemOf[T](rec) }

func itemOf[T any](rec *record.Record) (Item[T], error) {
	it := Item[T]{SK: rec.SK, Code: rec.Code, Name: rec.Name, Version: rec.Version, Record: rec}
	return it, rec.Attributes.Decode(&it.Attributes)
}

// Create creates a record; with SK "" under a new ULID. It fails with fault.VersionConflict where there is one.
func (r *Repository[T]) Create(ctx context.Context, sc guard.Scope, it Item[T], opts ...command.Option) (Item[T], error) {
	it.Version = record.VersionFirst
	if it.SK == "" {
		it.SK = record.NewID()
	}
	return r.put(ctx, sc, it, opts)
}

// Put makes it the record, if its version is it.Version; with record.VersionLatest whatever it is.
// It fails with fault.VersionConflict.
func (r *Repository[T]) Put(ctx context.Context, sc guard.Scope, it Item[T], opts ...command.Option) (Item[T], error) {
	return r.put(ctx, sc, it, opts)
}

func (r *Repository[T]) put(ctx context.Context, sc guard.Scope, it Item[T], opts []command.Option) (Item[T], error) {
	key, err := r.Key(sc, it.SK)
	if err != nil {
		return Item[T]{}, err
	}
	attributes, err := record.EncodeAttributes(it.Attributes)
	if err != nil {
		return Item[T]{}, err
	}
	res, err := r.commands.PublishSync(ctx, sc, command.Input{Key: key, Version: it.Version, Code: it.Code, Name: it.Name, Attributes: attributes}, opts...)
	if err != nil {
		return Item[T]{}, err
	}
	return itemOf[T](res.Record)
}

// Update reads a record, has change change it, and writes it; when another command was first, again. It fails with
// fault.NotFound, and with what change fails with.
func (r *Repository[T]) Update(ctx context.Context, sc guard.Scope, sk string, change func(*Item[T]) error, opts ...command.Option) (Item[T], error) {
	key, err := r.Key(sc, sk)
	if err != nil {
		return Item[T]{}, err
	}
	res, err := r.commands.Change(ctx, sc, key, record.VersionLatest, func(current *record.Record) (*record.Record, error) {
		it, err := itemOf[T](current)
		if err != nil {
			return nil, err
		}
		if err := change(&it); err != nil {
			return nil, err
		}
		next := current.Clone()
		next.Code, next.Name = it.Code, it.Name
		next.Attributes, err = record.EncodeAttributes(it.Attributes)
		return next, err
	}, append(opts, command.Live())...)
	if err != nil {
		return Item[T]{}, err
	}
	return itemOf[T](res.Record)
}

// Delete deletes a record, if its version is version. It fails with fault.NotFound and fault.VersionConflict.
func (r *Repository[T]) Delete(ctx context.Context, sc guard.Scope, sk string, version int64, opts ...command.Option) error {
	key, err := r.Key(sc, sk)
	if err != nil {
		return err
	}
	deleted := true
	_, err = r.commands.PublishPartialUpdateSync(ctx, sc, command.Partial{Key: key, Version: version, IsDeleted: &deleted}, append(opts, command.Live())...)
	return err
}

// Items is a part of a list.
type Items[T any] struct {
	Items  []Item[T]
	Cursor string // for the next page; "" where there is none
}

// List returns records by their sort keys. The query's Partition is the entity type's own unless it is set.
func (r *Repository[T]) List(ctx context.Context, sc guard.Scope, q data.Query) (Items[T], error) {
	var err error
	if q.Partition.PK() == "" {
		if q.Partition, err = record.NewPartition(sc, r.entity.name); err != nil {
			return Items[T]{}, err
		}
	}
	page, err := r.data.List(ctx, sc, q)
	if err != nil {
		return Items[T]{}, err
	}
	out := Items[T]{Items: make([]Item[T], len(page.Items)), Cursor: page.Cursor}
	for i, rec := range page.Items {
		if out.Items[i], err = itemOf[T](rec); err != nil {
			return Items[T]{}, err
		}
	}
	return out, nil
}
