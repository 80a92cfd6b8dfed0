package tenantry_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/storage/driver"
)

// Processes that start at once on a shared store take each other's tokens; one with another master key does not start.
func TestKeysInASharedStore(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		key := make([]byte, 32)
		rand.Read(key)
		open := func(key []byte) (*tenantry.App, error) {
			master, err := auth.ParseMasterKey(hex.EncodeToString(key))
			if err != nil {
				t.Fatal(err)
			}
			return tenantry.Open(context.Background(), tenantry.Config{Store: src, MasterKey: master, Log: slog.New(slog.DiscardHandler)})
		}
		apps := make([]*tenantry.App, 3)
		var starting sync.WaitGroup
		for i := range apps {
			starting.Go(func() {
				var err error
				if apps[i], err = open(key); err != nil {
					t.Error(err)
				}
			})
		}
		starting.Wait()
		if t.Failed() {
			return
		}
		for _, app := range apps {
			t.Cleanup(func() {
				if err := app.Close(); err != nil {
					t.Error(err)
				}
			})
			token, err := app.Keyring().Issue(auth.Claims{Subject: "ann"})
			if err != nil {
				t.Fatal(err)
			}
			for _, other := range apps {
				if _, err := other.Verifier().Verify(t.Context(), token); err != nil {
					t.Error(err)
				}
			}
		}
		key[0]++
		if app, err := open(key); !errors.Is(err, fault.InvalidRequest) || !strings.Contains(err.Error(), "another master key") {
			t.Errorf("with another master key: %v, %v", app, err)
		}
	})
}
