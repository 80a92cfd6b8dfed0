package driver_test

import (
	"slices"
	"testing"

	"github.com/tenantry/tenantry/storage/driver"
)

func TestPositionsCompareAsNumbers(t *testing.T) {
	ordered := []driver.Position{"", "1", "2", "9", "10", "19", "20", "100", "9223372036854775807", "9223372036854775808", "100000000000000000000000000000001"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := a.Compare(b), min(1, max(-1, i-j)); got != want {
				t.Errorf("%q compared with %q: %d, want %d", a, b, got, want)
			}
		}
	}
	if !slices.IsSortedFunc(ordered, driver.Position.Compare) {
		t.Error("the method does not sort")
	}
}
