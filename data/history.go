package data

import (
	"context"
	"strconv"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Entry is one change of a record: who, when, from where, by which operation, and what changed.
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
	place, err := s.cursors.Open(sc, cursor, "history", key.ID())
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
	down := max(1, from-int64(limit)+1)
	states := make([]*record.Record, 0, from-down+2)
	for at := from; at >= max(1, down-1); { // one more than shown: the oldest entry is compared with what it replaced
		if at == current.Version {
			states = append(states, current)
			at--
			continue
		}
		to := max(1, down-1, at-driver.MaxBatch+1)
		past, err := view.Versions(ctx, driver.History, current, at, to)
		if err != nil {
			return HistoryPage{}, err
		}
		states = append(states, past...)
		at = to - 1
	}
	page := HistoryPage{Items: []Entry{}}
	for i := range int(from - down + 1) {
		if states[i] == nil {
			continue // a hole that another framework's crash left; verify reports it
		}
		var before *record.Record
		if i+1 < len(states) {
			before = states[i+1]
		}
		page.Items = append(page.Items, entryOf(before, states[i]))
	}
	if down > 1 {
		page.Cursor = s.cursors.Seal(sc, strconv.FormatInt(down-1, 10), "history", key.ID())
	}
	return page, nil
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
