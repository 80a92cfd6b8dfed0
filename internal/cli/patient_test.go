package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/fault"
)

// TestPatiently waits for a read model as long as it comes nearer, and no longer.
func TestPatiently(t *testing.T) {
	behind := fault.New(fault.Behind, "test", "not yet")
	for name, test := range map[string]struct {
		places []int64 // behind, after each time; the last for ever
		ready  int     // the time that catching up ends well; 0 for never
		want   error
		lines  int
	}{
		"at once":              {places: []int64{0}, ready: 1},
		"slowly":               {places: []int64{40, 30, 30, 30, 20, 20, 10}, ready: 19, lines: 18},
		"never":                {places: []int64{40, 30}, want: fault.Behind, lines: 1 + stands},
		"others write as fast": {places: []int64{5, 9, 9, 7}, want: fault.Behind, lines: stands},
	} {
		t.Run(name, func(t *testing.T) {
			times := 0
			var out strings.Builder
			err := patiently(t.Context(), &out, func(context.Context) error {
				if times++; times == test.ready {
					return nil
				}
				return behind
			}, func(context.Context) (int64, error) {
				return test.places[min(times, len(test.places))-1], nil
			})
			if !errors.Is(err, test.want) {
				t.Errorf("it ends with %v, want %v", err, test.want)
			}
			if n := strings.Count(out.String(), "places to go"); n != test.lines {
				t.Errorf("%d lines, want %d:\n%s", n, test.lines, out.String())
			}
		})
	}
}
