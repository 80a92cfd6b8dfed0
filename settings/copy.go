package settings

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// Limits of one copy.
const (
	MaxTargets = 100
	MaxCopied  = 1000 // settings of the source
)

// Copy asks for the copying of master settings of one tenant to others. What users set for themselves is not copied.
type Copy struct {
	Source  tenant.Code
	Targets []tenant.Code // 1 to MaxTargets, the source not among them
	Level   Level         // LevelTenant, LevelGroup; "" for both
	GroupID string        // with LevelGroup: of one group; "" for all
	Codes   []string      // only these; none for all
	Skip    bool          // leaves what a target has as it is. Defaults to replacing it
}

// Copied says what became of one setting in one tenant.
type Copied struct {
	TenantCode tenant.Code `json:"tenantCode"`
	Code       string      `json:"code"`
	Level      Level       `json:"level"`
	GroupID    string      `json:"groupId,omitzero"`
	Status     string      `json:"status"` // copied, unchanged, skipped, failed
	Error      fault.Code  `json:"error,omitzero"`
}

// Copy copies master settings to other tenants, each in its own commit; the audit logs of all of them name the crossing. It fails
// with fault.ValidationFailed before anything is copied, for a tenant that doesn't exist and for more settings than MaxCopied. A setting that
// can't be written is failed in the answer, with its code, and keeps no other back. Options makes the options of a publish, of
// which part names the setting; nil for none.
func (s *Service) Copy(ctx context.Context, sys scope.System, c Copy, options func(part string) []command.Option) ([]Copied, error) {
	if err := sys.Check(); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	born := map[tenant.Code]time.Time{}
	for i, code := range append([]tenant.Code{c.Source}, c.Targets...) {
		state, err := s.cfg.State(ctx, code)
		if err != nil {
			return nil, err
		}
		if born[code] = state.Born; !state.Exists {
			field := "sourceTenantCode"
			if i > 0 {
				field = "targetTenantCodes[" + strconv.Itoa(i-1) + "]"
			}
			return nil, fault.Invalid("settings.Copy", fault.Field{Field: field, Problem: "is no tenant that exists"})
		}
	}
	from, err := sys.Enter(ctx, c.Source, born[c.Source])
	if err != nil {
		return nil, err
	}
	recs, err := s.chosen(ctx, from, c)
	if err != nil {
		return nil, err
	}
	out := make([]Copied, 0, len(recs)*len(c.Targets))
	for _, target := range c.Targets {
		to, err := sys.Enter(ctx, target, born[target])
		if err != nil {
			return nil, err
		}
		for _, rec := range recs {
			done, err := s.copy(ctx, to, rec, c.Skip, options)
			if ctx.Err() != nil {
				return nil, err
			}
			out = append(out, done)
		}
	}
	return out, nil
}

func (c Copy) check() error {
	var problems []fault.Field
	if c.Level != "" && c.Level != LevelTenant && c.Level != LevelGroup {
		problems = append(problems, fault.Field{Field: "level", Problem: "is tenant, group, or left out for both"})
	}
	if c.GroupID != "" && c.Level != LevelGroup {
		problems = append(problems, fault.Field{Field: "groupId", Problem: "goes with the level group"})
	}
	if len(c.Targets) == 0 || len(c.Targets) > MaxTargets {
		problems = append(problems, fault.Field{Field: "targetTenantCodes", Problem: "are 1 to 100 tenant codes"})
	}
	seen := map[tenant.Code]bool{c.Source: true}
	for i, code := range c.Targets {
		if seen[code] {
			problems = append(problems, fault.Field{Field: "targetTenantCodes[" + strconv.Itoa(i) + "]", Problem: "is the source, or there twice"})
		}
		seen[code] = true
	}
	if problems != nil {
		return fault.Invalid("settings.Copy", problems...)
	}
	return nil
}

// chosen returns the records of the source that are to be copied.
func (s *Service) chosen(ctx context.Context, from scope.Scope, c Copy) ([]*record.Record, error) {
	partition, err := record.NewPartition(from, masterType)
	if err != nil {
		return nil, err
	}
	var recs []*record.Record
	for q := (data.Query{Partition: partition, Prefix: plainPrefix, To: userPrefix, Limit: data.MaxLimit}); ; {
		page, err := s.cfg.Data.List(ctx, from, q)
		if err != nil {
			return nil, err
		}
		for _, rec := range page.Items {
			if r, ok := parseSK(rec.SK); ok && c.holds(r) {
				recs = append(recs, rec)
			}
		}
		if len(recs) > MaxCopied {
			return nil, fault.Invalid("settings.Copy", fault.Field{Field: "codes", Problem: "there are more than 1000 settings to copy; name their codes, or a level"})
		}
		switch q.Cursor = page.Cursor; {
		case q.Cursor != "":
		case q.To != "": // codes that come after the users
			q.From, q.To = plainPrefix+"USER$", ""
		default:
			return recs, nil
		}
	}
}

func (c Copy) holds(r Ref) bool {
	level := r.Level == c.Level || c.Level == "" && r.Level != LevelUser
	return level && (c.GroupID == "" || r.GroupID == c.GroupID) && (len(c.Codes) == 0 || slices.Contains(c.Codes, r.Code))
}

// copy makes rec the setting of to's tenant, if that is to be.
func (s *Service) copy(ctx context.Context, to scope.Scope, rec *record.Record, skip bool, options func(part string) []command.Option) (Copied, error) {
	ref, _ := parseSK(rec.SK)
	ref = ref.levelIn(to.Tenant())
	done := Copied{TenantCode: to.Tenant(), Code: ref.Code, Level: ref.Level, GroupID: ref.GroupID, Status: "copied"}
	var opts []command.Option
	if options != nil {
		opts = options(to.Tenant().String() + record.Separator + rec.SK)
	}
	put := s.Put
	if skip {
		put = s.Create
	}
	_, res, err := put(ctx, to, ref, Value{Name: rec.Name, Value: storedOf(rec).value}, opts...)
	switch {
	case skip && errors.Is(err, fault.AlreadyExists):
		done.Status, err = "skipped", nil
	case err != nil:
		done.Status, done.Error = "failed", fault.CodeOf(err)
	case !res.Changed:
		done.Status = "unchanged"
	}
	return done, err
}
