package data

import (
	"context"
	"strconv"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Entry is one change of a record: who, when, from where, by which operation, and what changed since the state before it.
type Entry struct {
	Version   int64          `json:"version"`
	UpdatedAt record.Time    `json:"updatedAt"`
	UpdatedBy string         `json:"updatedBy"`
	UpdatedIP string         `json:"updatedIp"`
	RequestID string         `json:"requestId"`
	Source    string         `json:"source"`
	IsDeleted bool           `json:"isDeleted"`
	Changes   []record.Delta `json:"changes"`
}

// HistoryPage is a part of a record's history, newest first.
type HistoryPage struct {
	Items  []Entry `json:"items"`
	Cursor string  `json:"cursor,omitempty"`
}

// History returns the changes of a record, newest first, limit as for List. A deleted record has its history. It fails with
// fault.NotFound where there never was such a record.
func (s *Service) History(ctx context.Context, sc scope.Scope, key record.Key, limit int, cursor string) (HistoryPage, error) {
	limit, err := CheckLimit(limit)
	if err != nil {
		return HistoryPage{}, err
	}
	place, err := s.cursors.Open(sc, cursor, "history", key.PK(), key.SK())
	if err != nil {
		return HistoryPage{}, err
	}
	view, current, err := s.current(ctx, sc, key)
	if err != nil {
		return HistoryPage{}, err
	}
	from := current.Version
	if place != "" {
		if from, err = strconv.ParseInt(place, 10, 64); err != nil {
			return HistoryPage{}, fault.Wrap(err, fault.Internal, "data.History", "a cursor of this server holds no version")
		}
	}
	states, err := statesFrom(ctx, view, current, from, limit+1) // the last is what the oldest entry is compared with
	if err != nil {
		return HistoryPage{}, err
	}
	page := HistoryPage{Items: make([]Entry, min(limit, len(states)))}
	for i := range page.Items {
		var before *record.Record
		if i+1 < len(states) {
			before = states[i+1]
		}
		page.Items[i] = entryOf(before, states[i])
	}
	if len(states) > limit {
		page.Cursor = s.cursors.Seal(sc, strconv.FormatInt(states[limit].Version, 10), "history", key.PK(), key.SK())
	}
	return page, nil
}

// statesFrom returns at most n states of a record from a version down. Versions that another framework's crash left out are
// passed over; verify reports them.
func statesFrom(ctx context.Context, view storage.View, current *record.Record, from int64, n int) ([]*record.Record, error) {
	states := make([]*record.Record, 0, n)
	for from >= 1 && len(states) < n {
		if from == current.Version {
			states = append(states, current)
			from--
			continue
		}
		to := max(1, from-int64(min(driver.MaxBatch, n-len(states)))+1)
		past, err := view.Versions(ctx, driver.History, current, from, to)
		if err != nil {
			return nil, err
		}
		for _, r := range past {
			if r != nil {
				states = append(states, r)
			}
		}
		from = to - 1
	}
	return states, nil
}

func entryOf(before, after *record.Record) Entry {
	return Entry{Version: after.Version, UpdatedAt: after.UpdatedAt, UpdatedBy: after.UpdatedBy, UpdatedIP: after.UpdatedIP,
		RequestID: after.RequestID, Source: after.Source, IsDeleted: after.IsDeleted, Changes: record.Diff(before, after)}
}

// Diff returns what changed between two versions of a record, field by field. It fails with fault.NotFound where
// one of them does not exist.
func (s *Service) Diff(ctx context.Context, sc scope.Scope, key record.Key, from, to int64) ([]record.Delta, error) {
	before, err := s.GetVersion(ctx, sc, key, from)
	if err != nil {
		return nil, err
	}
	after, err := s.GetVersion(ctx, sc, key, to)
	if err != nil {
		return nil, err
	}
	return record.Diff(before, after), nil
}
