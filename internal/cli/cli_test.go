package cli_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/tenantry/tenantry/internal/cli"
)

// TestInterrupted expects of a verb whose caller gives up that it says so, and doesn't blame anybody.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	code := cli.Run(ctx, []string{"tenant", "list", "--server", "http://127.0.0.1:1", "--token", "x"}, cli.IO{Out: io.Discard, Err: &stderr})
	if code != 130 || stderr.String() != "tenantry: interrupted\n" {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}
