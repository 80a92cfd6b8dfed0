// Package members is who belongs to which tenant, and what follows from it: memberships, invitations, switching between
// tenants, support access and revocation. It is section 5 of the contract.
//
// A membership is a record of the common tenant, USER_TENANT#common / tenant#userCode, which the common tenant's shared
// reading does not reach. Its inverse, by which a user's tenants are found, the user's default and the count of a tenant's
// admins stand in the same commit.
package members

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// Admin is the role that manages a tenant's members.
const Admin = "admin"

// maxUserCode is the length of the longest user code, in bytes.
const maxUserCode = 255

// Module is the module of the entity types that this package owns.
const Module = "user_tenant"

// EntityType is the type of memberships.
func EntityType() record.EntityType { return record.MustEntityType("USER_TENANT") }

// Declarations declares the types that only this package's routes reach.
func Declarations() []entity.Type {
	return []entity.Type{
		{Name: EntityType(), Module: Module, Owned: true},
		{Name: invitationType(), Module: "invitation", Owned: true},
		{Name: revocationType(), Module: "revocation", Owned: true},
	}
}

// Config is what a Service is made of. Every field is required but Required, which is false by default.
type Config struct {
	Commands    *command.Service
	Data        *data.Service
	Directory   *Directory
	Revocations *Revocations
	Keyring     *auth.Keyring

	// Tenants answers whether a tenant exists and is active.
	Tenants guard.Directory

	// Required says that nobody acts in a tenant without a membership record.
	Required bool

	// System gives a system admin the right to cross tenants, for a reason.
	System func(p *auth.Principal, actor guard.Actor, reason string) (guard.System, error)

	// CrossTenant reports whether a role counts in every tenant and so can't be given in one.
	CrossTenant func(role string) bool

	// Inverse, Defaults, Admins and Families keep whose tenants there are (the one that Companion was given), users'
	// defaults, how many admins a tenant has, and refresh tokens.
	Inverse, Defaults, Admins, Families storage.Keeper

	Now func() time.Time
}

// Service manages memberships. It may be used concurrently. Methods that take a Scope act on its tenant; whether the caller
// may is the route's policy.
type Service struct{ cfg Config }

// New returns a Service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Membership is that of one user in one tenant.
type Membership struct {
	TenantCode string      `json:"tenantCode"`
	UserCode   string      `json:"userCode"`
	Role       string      `json:"role"`
	IsDefault  bool        `json:"isDefault" doc:"whether it is the user's default; at most one is"`
	UserID     string      `json:"userId,omitempty" doc:"the only sub that it serves; absent for any that has the user code"`
	Version    int64       `json:"version"`
	CreatedAt  record.Time `json:"createdAt"`
	UpdatedAt  record.Time `json:"updatedAt"`

	issuer string // whose subject UserID is, "" where that is not known
}

// serves reports whether a membership of p's user code is p's own, in a tenant that p's issuer may assert.
func (m Membership) serves(p *auth.Principal) bool {
	code, err := tenant.Parse(m.TenantCode)
	return err == nil && p.MayAssert(code) && (m.UserID == "" || m.UserID == p.Subject()) && (m.issuer == "" || m.issuer == p.Issuer())
}

// attributes are those of a membership's record.
type attributes struct {
	TenantCode string `json:"tenantCode"`
	UserCode   string `json:"userCode"`
	Role       string `json:"role"`
	IsDefault  bool   `json:"isDefault"`
	UserID     string `json:"userId,omitempty"`
	Issuer     string `json:"issuer,omitempty"` // whose subject userId is, where that is known
	Epoch      string `json:"epoch,omitempty"`  // names this life of the membership
}

// read returns what a membership's record says, the zero attributes for none. Its key says whose it is: another framework may
// have written the rest.
func read(rec *record.Record) (a attributes, err error) {
	if rec == nil {
		return a, nil
	}
	if err := rec.Attributes.Decode(&a); err != nil {
		return a, fault.Wrap(err, fault.Internal, "members", "a membership's record has attributes of another form; run tenantry verify")
	}
	a.TenantCode, a.UserCode, _ = strings.Cut(rec.SK, record.Separator)
	return a, nil
}

func membershipOf(rec *record.Record) (Membership, error) {
	a, err := read(rec)
	return Membership{TenantCode: a.TenantCode, UserCode: a.UserCode, Role: a.Role, IsDefault: a.IsDefault, UserID: a.UserID,
		Version: rec.Version, CreatedAt: rec.CreatedAt, UpdatedAt: rec.UpdatedAt, issuer: a.Issuer}, err
}

// common returns the Scope in which memberships stand, for who acts in sc.
func common(sc scope.Scope) (scope.Scope, error) {
	if err := sc.Check(); err != nil {
		return scope.Scope{}, err
	}
	actor := sc.Actor()
	return scope.New(tenant.Common(), scope.Full, time.Time{}, &actor), nil
}

// keyOf returns the key of a membership. It fails with fault.ValidationFailed for what is no user code.
func keyOf(in scope.Scope, code tenant.Code, userCode string) (record.Key, error) {
	problem := ""
	if err := record.CheckText(userCode, maxUserCode); err != nil {
		problem = err.Error() + "; it is 1 to 255 bytes of printable UTF-8"
	}
	key, err := record.NewKey(in, EntityType(), code.String()+record.Separator+userCode)
	switch {
	case problem != "":
	case err != nil:
		problem = "can't be part of a key: it doesn't end in @ and digits"
	case !route.Nameable(userCode):
		problem = "is . or .., which no path can name"
	}
	if problem != "" {
		return record.Key{}, fault.Invalid("members", fault.Field{Field: "userCode", Problem: problem})
	}
	return key, nil
}

// hash names a user code in the keys of what the system keeps.
func hash(userCode string) string {
	sum := sha256.Sum256([]byte(userCode))
	return hex.EncodeToString(sum[:])
}

// inverseOwner owns the rows of the tenants of a user code.
func inverseOwner(userCode string) string {
	return tenant.Common().String() + record.Separator + hash(userCode)
}

// Companion keeps the inverse of every membership, with a copy of it, in its own commit, so that a user's tenants are one ordered read
// that looks at nobody else's.
func Companion(inverse storage.Keeper) command.Companion {
	return func(_, after *record.Record) ([]storage.SystemWrite, error) {
		code, userCode, _ := strings.Cut(after.SK, record.Separator)
		row := storage.CopyOf(inverseOwner(userCode), code, after)
		if after.IsDeleted {
			return []storage.SystemWrite{inverse.Delete(row)}, nil
		}
		return []storage.SystemWrite{inverse.Set(row)}, nil
	}
}

// checkRole returns a role as it is stored. It fails with fault.ValidationFailed for one that no membership can give.
func (s *Service) checkRole(text string) (string, error) {
	role, err := auth.ParseRole(text)
	switch {
	case err != nil:
		return "", fault.Invalid("members", fault.Field{Field: "role", Problem: "is not a letter and up to 62 of a-z, 0-9 and _"})
	case s.cfg.CrossTenant(role):
		return "", fault.Invalid("members", fault.Field{Field: "role", Problem: "is a cross-tenant role, which no tenant can give"})
	}
	return role, nil
}

// isSubject reports whether text can be the sub of a token.
func isSubject(text string) bool {
	return len(text) <= 255 && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '#' })
}

// exists fails with fault.NotFound unless the scope's tenant exists.
func (s *Service) exists(ctx context.Context, code tenant.Code) error {
	if code.IsCommon() {
		return fault.New(fault.NotFound, "members", "the common tenant has no members")
	}
	state, err := s.cfg.Tenants.Lookup(ctx, code)
	if err == nil && !state.Exists {
		err = fault.New(fault.NotFound, "members", "there is no such tenant")
	}
	return err
}

func noMember() error { return fault.New(fault.NotFound, "members", "there is no such member") }

// Add makes a user a member.
type Add struct {
	UserCode  string // 1 to 255 bytes of printable UTF-8
	Role      string // any but a cross-tenant one
	IsDefault bool   // the user's former default is one no longer
	UserID    string // the only sub that the membership serves; "" for any that has the user code

	issuer string // whose subject UserID is
}

// Add makes a user a member of the scope's tenant. It fails with fault.AlreadyExists for a member, fault.NotFound for a tenant
// that doesn't exist, and fault.ValidationFailed.
func (s *Service) Add(ctx context.Context, sc scope.Scope, in Add, opts ...command.Option) (Membership, command.Result, error) {
	if err := s.exists(ctx, sc.Tenant()); err != nil {
		return Membership{}, command.Result{}, err
	}
	var err error
	if in.Role, err = s.checkRole(in.Role); err != nil {
		return Membership{}, command.Result{}, err
	}
	if in.UserID != "" && !isSubject(in.UserID) {
		return Membership{}, command.Result{}, fault.Invalid("members.Add", fault.Field{Field: "userId", Problem: "is not 1 to 255 printable ASCII characters without #"})
	}
	return s.change(ctx, sc, in.UserCode, func(before attributes, live bool) (attributes, error) {
		if live {
			return before, fault.New(fault.AlreadyExists, "members.Add", "the user is a member already; change the membership instead")
		}
		return attributes{TenantCode: sc.Tenant().String(), UserCode: in.UserCode, Role: in.Role, IsDefault: in.IsDefault,
			UserID: in.UserID, Issuer: in.issuer, Epoch: record.NewID()}, nil
	}, opts)
}

// Update changes a membership. Nil fields stay.
type Update struct {
	Role      *string
	IsDefault *bool
}

// Update changes a membership of the scope's tenant. It fails with fault.NotFound for nobody's, fault.LastAdmin where the tenant would have no
// admin left, fault.VersionConflict where command.AtVersion asks for another version, and fault.ValidationFailed.
func (s *Service) Update(ctx context.Context, sc scope.Scope, userCode string, in Update, opts ...command.Option) (Membership, command.Result, error) {
	role := ""
	if in.Role != nil {
		var err error
		if role, err = s.checkRole(*in.Role); err != nil {
			return Membership{}, command.Result{}, err
		}
	}
	return s.change(ctx, sc, userCode, func(before attributes, live bool) (attributes, error) {
		if !live {
			return before, noMember()
		}
		after := before
		if in.Role != nil {
			after.Role = role
		}
		if in.IsDefault != nil {
			after.IsDefault = *in.IsDefault
		}
		return after, nil
	}, opts)
}

// Remove ends a membership of the scope's tenant: at once on this node, within 1 second on every other, for tokens already
// issued too. It fails as Update does.
func (s *Service) Remove(ctx context.Context, sc scope.Scope, userCode string, opts ...command.Option) (Membership, command.Result, error) {
	return s.change(ctx, sc, userCode, func(before attributes, live bool) (attributes, error) {
		if !live {
			return before, noMember()
		}
		return attributes{}, nil
	}, opts)
}

// List returns members of the scope's tenant by user code, with the cursor of the next page. Limit and cursor are as for
// data.Service.List.
func (s *Service) List(ctx context.Context, sc scope.Scope, limit int, cursor string) ([]Membership, string, error) {
	if err := s.exists(ctx, sc.Tenant()); err != nil {
		return nil, "", err
	}
	in, err := common(sc)
	if err != nil {
		return nil, "", err
	}
	partition, err := record.NewPartition(in, EntityType())
	if err != nil {
		return nil, "", err
	}
	page, err := s.cfg.Data.List(ctx, in, data.Query{Partition: partition, Prefix: sc.Tenant().String() + record.Separator, Limit: limit, Cursor: cursor})
	if err != nil {
		return nil, "", err
	}
	all := make([]Membership, len(page.Items))
	for i, rec := range page.Items {
		if all[i], err = membershipOf(rec); err != nil {
			return nil, "", err
		}
	}
	return all, page.Cursor, nil
}

// maxTenants bounds how many tenants of one user are listed.
const maxTenants = 1000

// TenantsOf returns the memberships of a user code by tenant, in tenants that exist. It reads as much as there are of them.
func (s *Service) TenantsOf(ctx context.Context, userCode string) ([]Membership, error) {
	rows, err := s.cfg.Inverse.List(ctx, inverseOwner(userCode), "", "", maxTenants)
	if err != nil {
		return nil, err
	}
	out := make([]Membership, 0, len(rows))
	for _, row := range rows {
		rec, err := s.inverted(ctx, row, userCode)
		if err != nil {
			return nil, err
		}
		if rec == nil || rec.IsDeleted {
			continue
		}
		m, err := membershipOf(rec)
		if err != nil {
			return nil, err
		}
		if there, err := s.inUse(ctx, m.TenantCode); err != nil {
			return nil, err
		} else if there {
			out = append(out, m)
		}
	}
	return out, nil
}

// inverted returns the record of the membership that a row of inverses stands for, nil where there is none.
func (s *Service) inverted(ctx context.Context, row storage.Row, userCode string) (*record.Record, error) {
	sk := row.SK + record.Separator + userCode
	rec, err := row.Copied()
	if err != nil {
		return nil, err
	}
	if rec != nil {
		rec.PK, rec.SK = EntityType().String()+record.Separator+tenant.Common().String(), sk
		return rec, nil
	}
	in := scope.New(tenant.Common(), scope.Full, time.Time{}, &scope.Actor{UserID: "system", Source: "members"})
	key, err := record.NewKey(in, EntityType(), sk)
	if err != nil {
		return nil, err
	}
	rec, err = s.cfg.Data.Get(ctx, in, key)
	if errors.Is(err, fault.NotFound) {
		return nil, nil
	}
	return rec, err
}

// inUse reports whether a tenant exists.
func (s *Service) inUse(ctx context.Context, text string) (bool, error) {
	code, err := tenant.Parse(text)
	if err != nil {
		return false, nil
	}
	state, err := s.cfg.Tenants.Lookup(ctx, code)
	return state.Exists, err
}

// Left reports whether anything is kept of a tenant: memberships or invitations, former ones too.
func (s *Service) Left(ctx context.Context, code tenant.Code) (bool, error) {
	in := scope.New(tenant.Common(), scope.Full, time.Time{}, &scope.Actor{UserID: "system", Source: "members"})
	for _, t := range []record.EntityType{EntityType(), invitationType()} {
		partition, err := record.NewPartition(in, t)
		if err != nil {
			return false, err
		}
		page, err := s.cfg.Data.List(ctx, in, data.Query{Partition: partition, Prefix: code.String() + record.Separator, IncludeDeleted: true, Limit: 1})
		if err != nil || len(page.Items) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}
