package proof_test

import (
	"testing"

	"github.com/tenantry/tenantry/internal/proof"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/settings"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenants"
)

// trees is a twentieth of the long run's.
const trees = 100_000 / 20

func TestSettings(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{Entities: append(settings.Declarations(), tenants.Declaration())})
	hits := 0
	service, err := settings.New(settings.Config{Commands: w.Commands, Data: w.Data, Groups: tenants.GroupsFor, Feed: w.Tail, Observe: func(_ string, hit bool) {
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
