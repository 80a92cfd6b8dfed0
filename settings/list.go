package settings

import (
	"context"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
)

// Query asks for a page of the master settings of a tenant, ordered by the bytes of their sort keys.
type Query struct {
	Level   Level  // "" for all of the tenant; LevelCommon for those of common
	GroupID string // with LevelGroup: of one group; "" for all
	UserID  string // with LevelUser: of one user; "" for all
	Prefix  string // codes that begin with it
	Limit   int    // 1 to data.MaxLimit; 0 is data.DefaultLimit
	Cursor  string // of the page before; "" begins
}

// Page is a part of a list.
type Page struct {
	Items  []Setting
	Cursor string // for the next page, which may follow a page that is shorter than the limit; "" where there is none
}

// reads bounds how many pages of records are read for one page of settings.
const reads = 16

// List returns a page of the master settings that sc's tenant has, or with LevelCommon of those that common shares. It fails with
// fault.ValidationFailed for a query that can't be, and with fault.InvalidCursor.
func (s *Service) List(ctx context.Context, sc scope.Scope, q Query) (Page, error) {
	if err := own(sc); err != nil {
		return Page{}, err
	}
	limit, err := data.CheckLimit(q.Limit)
	if err != nil {
		return Page{}, err
	}
	if err := q.check(); err != nil {
		return Page{}, err
	}
	if q.Level == LevelCommon {
		sc = sc.Shared()
	}
	partition, err := record.NewPartition(sc, masterType)
	if err != nil {
		return Page{}, err
	}
	ranges := q.ranges()
	at, cursor, err := s.openCursor(sc, q)
	if err != nil {
		return Page{}, err
	}
	page := Page{Items: []Setting{}}
	for range reads {
		asked := ranges[at]
		asked.Partition, asked.Cursor, asked.Limit = partition, cursor, limit-len(page.Items)
		recs, err := s.cfg.Data.List(ctx, sc, asked)
		if err != nil {
			return Page{}, err
		}
		for _, rec := range recs.Items {
			if r, ok := parseSK(rec.SK); ok && q.holds(r) {
				page.Items = append(page.Items, settingOf(r.levelIn(sc.Tenant()), storedOf(rec)))
			}
		}
		if cursor = recs.Cursor; cursor == "" {
			at++
		}
		if at == len(ranges) {
			return page, nil
		}
		if len(page.Items) == limit {
			break
		}
	}
	page.Cursor = s.cfg.Cursors.Seal(sc, strconv.Itoa(at)+"."+cursor, q.bound()...)
	return page, nil
}

func (q Query) check() error {
	var problems []fault.Field
	if q.GroupID != "" && q.Level != LevelGroup {
		problems = append(problems, fault.Field{Field: "group", Problem: "goes with level=group"})
	}
	if q.UserID != "" && q.Level != LevelUser {
		problems = append(problems, fault.Field{Field: "user", Problem: "goes with level=user"})
	}
	if len(q.Prefix) > MaxCode || strings.Contains(q.Prefix, record.Separator) {
		problems = append(problems, fault.Field{Field: "prefix", Problem: "is the beginning of a code: at most 200 bytes without #"})
	}
	if problems != nil {
		return fault.Invalid("settings.List", problems...)
	}
	return nil
}

// ranges returns where the settings stand. What is kept for the whole tenant stands around the groups and the users; '$' follows '#'.
func (q Query) ranges() []data.Query {
	switch {
	case q.Level == LevelGroup && q.GroupID != "":
		return []data.Query{{Prefix: groupPrefix + q.GroupID + record.Separator + q.Prefix}}
	case q.Level == LevelGroup:
		return []data.Query{{Prefix: groupPrefix}}
	case q.Level == LevelUser && q.UserID != "":
		return []data.Query{{Prefix: userPrefix + q.UserID + record.Separator + q.Prefix}}
	case q.Level == LevelUser:
		return []data.Query{{Prefix: userPrefix}}
	case q.Level == "":
		return []data.Query{{Prefix: plainPrefix}}
	}
	prefix := plainPrefix + q.Prefix
	return []data.Query{{Prefix: prefix, To: groupPrefix}, {Prefix: prefix, From: plainPrefix + "GROUP$", To: userPrefix}, {Prefix: prefix, From: plainPrefix + "USER$"}}
}

// holds reports whether a setting in the ranges is one that was asked for.
func (q Query) holds(r Ref) bool {
	level := q.Level
	if level == LevelCommon {
		level = LevelTenant
	}
	return (level == "" || r.Level == level) && (q.GroupID == "" || r.GroupID == q.GroupID) && (q.UserID == "" || r.UserID == q.UserID) && strings.HasPrefix(r.Code, q.Prefix)
}

// openCursor returns the place in the ranges of q where its cursor begins, and the cursor there, "" for the beginning of the range.
func (s *Service) openCursor(sc scope.Scope, q Query) (at int, inside string, err error) {
	place, err := s.cfg.Cursors.Open(sc, q.Cursor, q.bound()...)
	if err != nil || place == "" {
		return 0, "", err
	}
	text, inside, _ := strings.Cut(place, ".")
	at, err = strconv.Atoi(text)
	return at, inside, err
}

// bound is what a cursor of q is for.
func (q Query) bound() []string {
	return []string{"master settings", string(q.Level), q.GroupID, q.UserID, q.Prefix}
}
