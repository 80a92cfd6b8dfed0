package settings

import (
	"context"
	"strings"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// Level says for whom a master setting is kept.
type Level string

// The levels, in the order in which a setting is looked for.
const (
	LevelUser   Level = "user"
	LevelGroup  Level = "group"
	LevelTenant Level = "tenant"
	LevelCommon Level = "common" // every tenant; kept by the tenant common
)

// MaxCode is the length of the longest code of a master setting, in bytes.
const MaxCode = 200

// maxOwner is the length of the longest group and user, in bytes.
const maxOwner = 255

// Ref names a master setting of a tenant.
type Ref struct {
	Level   Level  // LevelCommon in the tenant common only, where LevelTenant is the same
	GroupID string // with LevelGroup: 1 to 255 bytes, may hold #
	UserID  string // with LevelUser: the sub, 1 to 255 bytes without #
	Code    string // 1 to MaxCode bytes of printable UTF-8 without #, not ending in @ and digits
}

const (
	plainPrefix = "MASTER_SETTING#"
	groupPrefix = plainPrefix + "GROUP#"
	userPrefix  = plainPrefix + "USER#"
)

// sk returns the sort key: the last segment is the code.
func (r Ref) sk() string {
	switch r.Level {
	case LevelGroup:
		return groupPrefix + r.GroupID + record.Separator + r.Code
	case LevelUser:
		return userPrefix + r.UserID + record.Separator + r.Code
	}
	return plainPrefix + r.Code
}

// parseSK returns what a sort key names, LevelTenant for what is kept for a whole tenant. Ok is false for a key that is none of a
// master setting.
func parseSK(sk string) (r Ref, ok bool) {
	rest, ok := strings.CutPrefix(sk, plainPrefix)
	if !ok || rest == "" {
		return Ref{}, false
	}
	last := strings.LastIndex(rest, record.Separator)
	if last < 0 {
		return Ref{Level: LevelTenant, Code: rest}, true
	}
	kind, owner, ok := strings.Cut(rest[:last], record.Separator)
	switch code := rest[last+1:]; {
	case !ok || owner == "" || code == "":
	case kind == "GROUP":
		return Ref{Level: LevelGroup, GroupID: owner, Code: code}, true
	case kind == "USER":
		return Ref{Level: LevelUser, UserID: owner, Code: code}, true
	}
	return Ref{}, false
}

// check returns what is wrong with r, none for a name that can be one.
func (r Ref) check() (problems []fault.Field) {
	if problem := checkCode(r.Code); problem != "" {
		problems = append(problems, fault.Field{Field: "code", Problem: problem})
	}
	group, user := r.Level == LevelGroup, r.Level == LevelUser
	switch r.Level {
	case LevelUser, LevelGroup, LevelTenant, LevelCommon:
	default:
		problems = append(problems, fault.Field{Field: "level", Problem: "is common, tenant, group or user"})
	}
	if group != (r.GroupID != "") || group && (record.CheckText(r.GroupID, maxOwner) != nil || !route.Nameable(r.GroupID)) {
		problems = append(problems, fault.Field{Field: "groupId", Problem: "is 1 to 255 bytes of printable UTF-8, not . or .., with the level group, and left out with others"})
	}
	if user != (r.UserID != "") || user && !validUser(r.UserID) {
		problems = append(problems, fault.Field{Field: "userId", Problem: "is 1 to 255 bytes of printable UTF-8 without #, not . or .., with the level user, and left out with others"})
	}
	return problems
}

func validUser(id string) bool {
	return record.CheckText(id, maxOwner) == nil && !strings.Contains(id, record.Separator) && route.Nameable(id)
}

const codeForm = "is 1 to 200 bytes of printable UTF-8 without #, not . or .., and doesn't end in @ and digits"

func checkCode(code string) string {
	if len(code) > MaxCode || strings.Contains(code, record.Separator) || record.CheckSortKey(code) != nil || !route.Nameable(code) {
		return codeForm
	}
	return ""
}

// key returns the key of the setting in sc's tenant. It fails with fault.ValidationFailed.
func (r Ref) key(sc scope.Scope) (record.Key, error) {
	problems := r.check()
	if r.Level == LevelCommon && problems == nil && !sc.Tenant().IsCommon() {
		problems = []fault.Field{{Field: "level", Problem: "common is for settings of the tenant common"}}
	}
	if problems != nil {
		return record.Key{}, fault.Invalid("settings", problems...)
	}
	return record.NewKey(sc, masterType, r.sk())
}

// in returns what the setting is remembered by in a tenant.
func (r Ref) in(code tenant.Code) masterKey {
	k := masterKey{tenant: code, level: r.Level, owner: r.GroupID, code: r.Code}
	switch r.Level {
	case LevelUser:
		k.owner = r.UserID
	case LevelCommon:
		k.level = LevelTenant
	}
	return k
}

// masterKey names what is remembered of a master setting.
type masterKey struct {
	tenant tenant.Code
	level  Level // never LevelCommon
	owner  string
	code   string
}

// Owner implements cache.Key.
func (k masterKey) Owner() tenant.Code { return k.tenant }

func (k masterKey) ref() Ref {
	r := Ref{Level: k.level, Code: k.code}
	switch k.level {
	case LevelGroup:
		r.GroupID = k.owner
	case LevelUser:
		r.UserID = k.owner
	}
	return r
}

// stored is what the store holds of a master setting.
type stored struct {
	name    string
	value   record.Attributes
	version int64 // 0 where there never was one
	deleted bool
}

func (st *stored) found() bool { return st.version > 0 && !st.deleted }

// loadMaster reads a master setting. A group that other programs named in a way that no key can hold has none.
func (s *Service) loadMaster(ctx context.Context, k masterKey) (*stored, error) {
	if k.ref().check() != nil {
		return &stored{}, nil
	}
	rec, err := s.read(ctx, k.tenant, masterType, k.ref().sk())
	if err != nil || rec == nil {
		return &stored{}, err
	}
	return storedOf(rec), nil
}

func storedOf(rec *record.Record) *stored {
	st := &stored{name: rec.Name, value: rec.Attributes, version: rec.Version, deleted: rec.IsDeleted}
	if len(st.value) == 0 {
		st.value = record.Attributes("{}") // a value is an object
	}
	return st
}

// Setting is a master setting.
type Setting struct {
	Code    string            `json:"code"`
	Name    string            `json:"name"`
	Value   record.Attributes `json:"settingValue"` // an object
	Level   Level             `json:"level"`
	GroupID string            `json:"groupId,omitzero"`
	UserID  string            `json:"userId,omitzero"`
	Version int64             `json:"version"`
}

func settingOf(r Ref, st *stored) Setting {
	return Setting{Code: r.Code, Name: st.name, Value: st.value, Level: r.Level, GroupID: r.GroupID, UserID: r.UserID, Version: st.version}
}

// levelIn returns r with the level that callers know it by: what the tenant common keeps is common.
func (r Ref) levelIn(code tenant.Code) Ref {
	if r.Level == LevelTenant && code.IsCommon() {
		r.Level = LevelCommon
	}
	return r
}

// Value is what a master setting says.
type Value struct {
	Name  string            // required
	Value record.Attributes // required: an object
}

func (v Value) check() (problems []fault.Field) {
	if v.Name == "" || len(v.Name) > command.MaxName {
		problems = append(problems, fault.Field{Field: "name", Problem: "is 1 to 1024 bytes of UTF-8"})
	}
	if v.Value == nil {
		problems = append(problems, fault.Field{Field: "settingValue", Problem: "is a JSON object"})
	}
	return problems
}

// Put creates or replaces a master setting of sc's tenant. Whether the caller may is for whoever issued sc. It fails with
// fault.ValidationFailed, and with fault.VersionConflict where command.AtVersion asks for another version.
func (s *Service) Put(ctx context.Context, sc scope.Scope, ref Ref, v Value, opts ...command.Option) (Setting, command.Result, error) {
	return s.put(ctx, sc, ref, v, record.VersionLatest, opts)
}

// Create is Put of a setting that there is none of. Else it fails with fault.AlreadyExists.
func (s *Service) Create(ctx context.Context, sc scope.Scope, ref Ref, v Value, opts ...command.Option) (Setting, command.Result, error) {
	setting, res, err := s.put(ctx, sc, ref, v, record.VersionFirst, opts)
	if fault.CodeOf(err) == fault.VersionConflict {
		err = fault.New(fault.AlreadyExists, "settings.Create", "there is such a setting already; change it with PUT")
	}
	return setting, res, err
}

func (s *Service) put(ctx context.Context, sc scope.Scope, ref Ref, v Value, version int64, opts []command.Option) (Setting, command.Result, error) {
	key, err := ref.key(sc)
	if problems := v.check(); err == nil && problems != nil {
		err = fault.Invalid("settings.Put", problems...)
	}
	if err != nil {
		return Setting{}, command.Result{}, err
	}
	return changed(sc, ref)(s.cfg.Commands.PublishSync(ctx, sc, command.Input{Key: key, Version: version, Code: ref.Code, Name: v.Name, Attributes: v.Value}, opts...))
}

// Delete deletes a master setting of sc's tenant; the next level answers from then on. It fails with fault.NotFound, and as Put does.
func (s *Service) Delete(ctx context.Context, sc scope.Scope, ref Ref, opts ...command.Option) (Setting, command.Result, error) {
	key, err := ref.key(sc)
	if err != nil {
		return Setting{}, command.Result{}, err
	}
	deleted := true
	return changed(sc, ref)(s.cfg.Commands.PublishPartialUpdateSync(ctx, sc, command.Partial{Key: key, Version: record.VersionLatest, IsDeleted: &deleted}, append(opts, command.Live())...))
}

func changed(sc scope.Scope, ref Ref) func(command.Result, error) (Setting, command.Result, error) {
	return func(res command.Result, err error) (Setting, command.Result, error) {
		if err != nil {
			return Setting{}, res, err
		}
		return settingOf(ref.levelIn(sc.Tenant()), storedOf(res.Record)), res, nil
	}
}
