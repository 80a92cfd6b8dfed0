// Package audit keeps the entries of crossings: each use of a System capability leaves one entry in the log of the
// system, AUDIT#common, that names the tenants it touched, and one in the log of each of them, AUDIT#tenant, that names
// only that tenant. An entry is durable before the tenant is touched.
package audit

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// EntityType is the type of audit entries.
func EntityType() record.EntityType { return record.MustEntityType("AUDIT") }

// Declaration declares the type: only this package's routes reach it.
func Declaration() entity.Type {
	return entity.Type{Name: EntityType(), Module: "audit", Owned: true}
}

// Entry is one crossing.
type Entry struct {
	ID        string      `json:"id"`
	At        record.Time `json:"at"`
	UserID    string      `json:"userId"`
	Issuer    string      `json:"issuer,omitempty"`
	ActUserID string      `json:"actUserId,omitempty"` // who acted for the user by support access, and their issuer
	ActIssuer string      `json:"actIssuer,omitempty"`
	Role      string      `json:"role,omitempty"`
	Operation string      `json:"operation"`
	Reason    string      `json:"reason"`
	Tenants   []string    `json:"tenants"` // touched, in the order of first touch; in a tenant's own log only that tenant
	RequestID string      `json:"requestId,omitempty"`
	SourceIP  string      `json:"sourceIp,omitempty"`
}

// Log writes and lists entries. It may be used concurrently.
type Log struct {
	commands *command.Service
	data     *data.Service
}

// New returns a Log over the services of one store.
func New(commands *command.Service, records *data.Service) *Log {
	return &Log{commands: commands, data: records}
}

// Crossed implements scope.Auditor.
func (l *Log) Crossed(ctx context.Context, c scope.Crossing) error {
	names := make([]string, len(c.Tenants))
	for i, t := range c.Tenants {
		names[i] = t.String()
	}
	if len(c.Tenants) > 0 {
		last := c.Tenants[len(c.Tenants)-1]
		if !last.IsCommon() {
			if err := l.write(ctx, last, c, []string{last.String()}); err != nil {
				return err
			}
		}
	}
	return l.write(ctx, tenant.Common(), c, names)
}

func (l *Log) write(ctx context.Context, log tenant.Code, c scope.Crossing, tenants []string) error {
	actor := c.Actor
	sc := scope.New(log, scope.Full, time.Time{}, &actor)
	key, err := record.NewKey(sc, EntityType(), c.ID)
	if err != nil {
		return err
	}
	id, err := ulid.ParseStrict(c.ID)
	if err != nil {
		return err
	}
	attributes, err := record.EncodeAttributes(Entry{ID: c.ID, At: record.At(ulid.Time(id.Time())), UserID: actor.UserID, Issuer: actor.Issuer, ActUserID: actor.ActUserID, ActIssuer: actor.ActIssuer,
		Role: actor.Role, Operation: actor.Source, Reason: c.Reason, Tenants: tenants, RequestID: actor.RequestID, SourceIP: actor.SourceIP})
	if err != nil {
		return err
	}
	_, err = l.commands.PublishAsync(ctx, sc, command.Input{Key: key, Version: record.VersionLatest, Name: actor.Source, Attributes: attributes})
	return err
}

// Page is a part of a log, newest first.
type Page struct {
	Items  []Entry `json:"items"`
	Cursor string  `json:"cursor,omitempty"`
}

// List returns the entries in the log of sc's tenant, newest first, none from before the tenant was created. Limit
// and cursor are as for data.Service.List.
func (l *Log) List(ctx context.Context, sc scope.Scope, limit int, cursor string) (Page, error) {
	partition, err := record.NewPartition(sc, EntityType())
	if err != nil {
		return Page{}, err
	}
	from := ""
	if born := sc.Born(); born > 0 {
		var first ulid.ULID
		if err := first.SetTime(uint64(born) * 1000); err != nil {
			return Page{}, err
		}
		from = first.String()
	}
	page, err := l.data.List(ctx, sc, data.Query{Partition: partition, From: from, Descending: true, Limit: limit, Cursor: cursor})
	if err != nil {
		return Page{}, err
	}
	out := Page{Items: make([]Entry, len(page.Items)), Cursor: page.Cursor}
	for i, r := range page.Items {
		if err := r.Attributes.Decode(&out.Items[i]); err != nil {
			return Page{}, err
		}
	}
	return out, nil
}
