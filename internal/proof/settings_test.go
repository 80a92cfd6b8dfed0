package proof_test

import (
	"os"
	"testing"

	"github.com/tenantry/tenantry/internal/proof"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/settings"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenants"
)

// allTrees is what the long run resolves; the test does a twentieth.
const allTrees = 100_000

func TestSettings(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{Entities: append(settings.Declarations(), tenants.Declaration())})
	hits, trees := 0, allTrees/20
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		trees = allTrees
	}
	service, err := settings.New(settings.Config{Commands: w.Commands, Data: w.Data, Cursors: w.Cursors, Groups: tenants.GroupsFor, Feed: w.Tail, Observe: func(_ string, hit bool) {
		if hit {
			hits++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.Follow()
	subject := proof.SettingsSubject{Subject: proof.Subject{Commands: w.Commands, Data: w.Data, Scope: worldtest.Scope("acme")}, Settings: service, Common: worldtest.Scope("common")}
	if err := proof.Settings(t.Context(), subject, trees, seed(t)); err != nil {
		t.Error(err)
	}
	if hits < trees {
		t.Errorf("only %d reads were answered by a cache", hits)
	}
}
