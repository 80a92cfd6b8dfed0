package tenantry_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// Processes that share a store but not their keys would refuse each other's tokens: such a store isn't opened.
func TestSharedStoreNeedsKeys(t *testing.T) {
	opened := false
	src := driver.NewSource("shelf", func(context.Context) (driver.Engine, error) {
		opened = true
		return nil, errors.New("opened")
	})
	if _, err := tenantry.Open(t.Context(), tenantry.Config{Store: src.Shared(), Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, fault.InvalidRequest) || opened {
		t.Errorf("a shared store without keys: opened %v, %v", opened, err)
	}
	if _, err := tenantry.Open(t.Context(), tenantry.Config{Store: src, Log: slog.New(slog.DiscardHandler)}); !opened {
		t.Errorf("a store of one process: %v", err)
	}
	if memory.New().IsShared() {
		t.Error("a store in memory is shared")
	}
}
