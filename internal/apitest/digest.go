package apitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Digests are the digests of everything in a store, by the tenant that it is keyed to.
type Digests map[string]string

// left are the words of what belongs to no tenant, or may grow by a refused request: the log of crossings, what is kept of requests
// and readers, users' defaults and sessions.
var left = []string{"AUDIT", "ANSWER", "RECEIPT", "CHECKPOINT", "LEASE", "WORKER", "JOBS", "SYNC_FEED", "SYNC_FENCE", "DEFAULT_TENANT", "REFRESH"}

// bySK are the words of what stands in the common tenant and is keyed, by the sort key, to the tenant that it is about.
var bySK = []string{"TENANTS", "USER_TENANT", "INVITATION", "MEMBER_OF"}

// Digest returns the digests of everything that is keyed to each tenant: data, command and history rows, and what the system
// keeps; the log of crossings is left out. Handlers have seen everything by then.
func (s *Server) Digest(t testing.TB) Digests {
	t.Helper()
	s.Settle(t)
	across, _ := s.across(t)
	sums := map[string]hash.Hash{}
	for _, c := range driver.Collections() {
		var after driver.Ref
		for {
			rows, err := across.Scan(t.Context(), c, after, 500)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range rows {
				after = driver.RefOf(c, row)
				owner, ok := ownerOf(c, row)
				if !ok {
					continue
				}
				if sums[owner] == nil {
					sums[owner] = sha256.New()
				}
				sums[owner].Write(record.AppendDoc([]byte(c.String()+"\x00"+row.PK+"\x00"+record.VersionedSK(row.SK, row.Version)+"\x00"), row))
			}
			if len(rows) < 500 {
				break
			}
		}
	}
	digests := Digests{}
	for owner, sum := range sums {
		digests[owner] = hex.EncodeToString(sum.Sum(nil))
	}
	return digests
}

// ownerOf returns the tenant that a row is keyed to, not ok for rows that are left out.
func ownerOf(c driver.Collection, row *record.Record) (owner string, ok bool) {
	word, owner, _ := strings.Cut(row.PK, record.Separator)
	owner, _, _ = strings.Cut(owner, record.Separator)
	if slices.Contains(left, word) || c == driver.System && strings.HasPrefix(row.SK, "AUDIT#") {
		return "", false
	}
	if slices.Contains(bySK, word) {
		owner, _, _ = strings.Cut(row.SK, record.Separator)
	}
	return strings.ToLower(owner), true
}

// Changed returns the tenants whose digests differ, ordered.
func (d Digests) Changed(after Digests) []string {
	var changed []string
	for owner := range d {
		if d[owner] != after[owner] {
			changed = append(changed, owner)
		}
	}
	for owner := range after {
		if _, ok := d[owner]; !ok {
			changed = append(changed, owner)
		}
	}
	return sorted(changed)
}

// across returns access across tenants, and the capability that it took.
func (s *Server) across(t testing.TB) (storage.Across, guard.System) {
	t.Helper()
	sys := s.App.System("digest")
	across, err := s.App.Store().Across(t.Context(), sys)
	if err != nil {
		t.Fatal(err)
	}
	return across, sys
}

// Show waits until the feed shows what was committed before the call. Where an engine's feed follows commits, a stream of events that begins
// earlier tells of them.
func (s *Server) Show(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	across, _ := s.across(t)
	if _, err := across.Advance(ctx); err != nil {
		t.Fatalf("the feed does not show what was committed: %v", err)
	}
}

// Settle waits until every handler has seen every command that was committed before the call.
func (s *Server) Settle(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	across, sys := s.across(t)
	standing := func() []projection.Status {
		handlers, err := s.App.Handlers().Status(ctx, sys)
		if err != nil {
			t.Fatal(err)
		}
		return handlers
	}
	if len(standing()) == 0 {
		return
	}
	s.Show(t)
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for {
		handlers := standing()
		behind := slices.ContainsFunc(handlers, func(h projection.Status) bool {
			rest, err := across.Changes(ctx, driver.Position(h.Position), 1)
			return err != nil || len(rest) > 0
		})
		if !behind {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("handlers are still behind: %v", handlers)
		}
	}
}
