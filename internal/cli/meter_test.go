package cli

import (
	"strings"
	"testing"

	"github.com/tenantry/tenantry/client"
)

// A sync is told of by what it is about: in planning by its targets, in applying by its records.
func TestProgressOfSync(t *testing.T) {
	target := func(status string) client.SyncTarget { return client.SyncTarget{Status: status} }
	for _, c := range []struct {
		sync client.Sync
		want progress
	}{
		{client.Sync{Status: "planning"}, progress{phase: "planning", text: "0 records"}},
		{client.Sync{Status: "planning", SyncCounts: client.SyncCounts{Total: 7, Unchanged: 3}, PerTenant: []client.SyncTarget{target("planned"), target("planning"), target("failed"), target("planning")}},
			progress{phase: "planning", share: 0.5, text: "7 records"}},
		{client.Sync{Status: "planned", SyncCounts: client.SyncCounts{Total: 7, Unchanged: 3}, PerTenant: []client.SyncTarget{target("planned"), target("failed")}}, progress{phase: "planned", share: 1, text: "7 records", over: true}},
		{client.Sync{Status: "applying", SyncCounts: client.SyncCounts{Total: 8, Synced: 1, Unchanged: 1, Skipped: 1, Failed: 1}}, progress{phase: "applying", share: 0.5, text: "4 of 8 records"}},
		{client.Sync{Status: "applied", SyncCounts: client.SyncCounts{Total: 8, Synced: 8}}, progress{phase: "applied", share: 1, text: "8 of 8 records", over: true}},
	} {
		if got := progressOf(c.sync); got != c.want {
			t.Errorf("%+v is %+v, want %+v", c.sync, got, c.want)
		}
	}
}

// Where there is no terminal there is a line for each phase.
func TestMeterWithoutTerminal(t *testing.T) {
	var out strings.Builder
	tell, end := newMeter(&out, false)
	for _, p := range []progress{{phase: "planning", text: "1 record"}, {phase: "planning", text: "2 records"}, {phase: "applied", text: "2 of 2 records", over: true}} {
		tell(p)
	}
	end()
	if want := "planning: 1 record\napplied: 2 of 2 records\n"; out.String() != want {
		t.Errorf("it says %q, want %q", out.String(), want)
	}
}
