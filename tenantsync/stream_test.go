package tenantsync_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/tenantsync"
)

// TestAReaderLooksNowAndThen has a reader of where a sync stands come again and again, as one whose rights are checked meanwhile does: where the sync stands is looked at no
// more often for that, nor because it changes.
func TestAReaderLooksNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, sk := range []string{"1", "2", "3", "4", "5"} {
			w.put(w.acme, sk, `{"n":1}`)
		}
		w.put(w.bravo, "1", `{"n":1}`)
		w.put(w.bravo, "2", `{"n":2}`)
		id, err := w.Plan(t.Context(), w.sys(), w.request("bravo"), tenantsync.Order{})
		w.must(err)
		task, sc, _ := w.next()
		if more, err := w.Step(t.Context(), sc, task.Sync); err != nil || !more { // of several, and nobody goes on with it
			t.Fatal(more, err)
		}
		p := tenantsync.Progress(w.Service, id)
		defer p.Close()
		if text, err := p.Next(t.Context()); err != nil || !strings.HasPrefix(string(text), "event: progress\n") {
			t.Fatalf("it begins with %s, %v", text, err)
		}
		before := w.asked
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if text, err := p.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("nothing changed, but: %s, %v", text, err)
			}
			cancel()
		}
		if looks := w.asked - before; looks < 1 || looks > 5 {
			t.Errorf("%d looks in a second", looks)
		}
	})
}
