package command_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var equalTimes = cmp.Comparer(func(a, b record.Time) bool { return a == b })

// noon is where the clocks of these tests begin.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// refused fails the test unless err has the code.
func refused(t testing.TB, what string, err error, want fault.Code) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %s", what, err, want)
	}
}

// unchanged fails the test where do changes a row of the store.
func unchanged(t testing.TB, w *worldtest.World, what string, do func()) {
	t.Helper()
	rows := func() map[driver.Collection][]*record.Record {
		all := map[driver.Collection][]*record.Record{}
		for _, c := range driver.Collections() {
			all[c] = w.Rows(c)
		}
		return all
	}
	before := rows()
	do()
	if diff := cmp.Diff(before, rows(), equalTimes); diff != "" {
		t.Errorf("%s changed the store: %s", what, diff)
	}
}

func pointer[T any](v T) *T { return &v }
