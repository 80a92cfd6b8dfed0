package command_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

func receipt(sc scope.Scope, key, content string) command.Receipt {
	return command.NewReceipt(sc.Tenant(), sc.Born(), sc.Actor(), "POST /api/data/{entityType}", key, "", []byte(content))
}

func TestAReceiptAnswersARepeatedPublish(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		acme := worldtest.Scope("acme")
		in := command.Input{Key: w.Key(acme, "PRODUCT", "1"), Name: "Chair"}
		once := command.WithReceipt(receipt(acme, "k1", "body"))
		first := w.Publish(acme, in, once)
		// Later changes of the record are not what the first publish answered.
		w.Publish(acme, command.Input{Key: in.Key, Version: 1, Name: "Table", IsDeleted: true})
		unchanged(t, w, "a replay", func() {
			again := w.Publish(acme, in, once)
			if !again.Replayed || !again.Changed || !again.Created || cmp.Diff(first.Command, again.Command, equalTimes) != "" || cmp.Diff(first.Record, again.Record, equalTimes) != "" {
				t.Errorf("replayed %+v; first %+v", again, first)
			}
			_, err := w.Commands.PublishSync(t.Context(), acme, in, command.WithReceipt(receipt(acme, "k1", "another body")))
			refused(t, "another body", err, fault.IdempotencyConflict)
		})
		update := command.WithReceipt(receipt(acme, "k2", "body"))
		change := command.Input{Key: in.Key, Version: -1, Name: "Desk"}
		if res := w.Publish(acme, change, update); !res.Created {
			t.Errorf("created over a deleted record: %+v", res)
		}
		change.Name = "Shelf"
		rename := command.WithReceipt(receipt(acme, "k3", "body"))
		w.Publish(acme, change, rename)
		if res := w.Publish(acme, change, rename); !res.Replayed || res.Created {
			t.Errorf("an update replayed within its millisecond: %+v", res)
		}
	})
}

func TestReceiptsAreOfATenantAUserAndAnOperation(t *testing.T) {
	acme := worldtest.Scope("acme")
	seen := map[string]string{}
	add := func(name string, r command.Receipt) {
		if other, twice := seen[r.ID]; twice {
			t.Errorf("%s and %s share a receipt", name, other)
		}
		seen[r.ID] = name
	}
	actor := worldtest.Actor()
	with := func(edit func(*scope.Actor), tenantCode string, born int64, op, key, part string) command.Receipt {
		a := actor
		edit(&a)
		return command.NewReceipt(worldtest.Code(tenantCode), born, a, op, key, part, []byte("content"))
	}
	same := func(*scope.Actor) {}
	add("plain", with(same, "acme", 1, "op", "key", "part"))
	add("tenant", with(same, "bravo", 1, "op", "key", "part"))
	add("born", with(same, "acme", 2, "op", "key", "part"))
	add("operation", with(same, "acme", 1, "opk", "ey", "part"))
	add("key", with(same, "acme", 1, "op", "key2", "part"))
	add("part", with(same, "acme", 1, "op", "keypart", ""))
	add("user", with(func(a *scope.Actor) { a.UserID = "other" }, "acme", 1, "op", "key", "part"))
	add("issuer", with(func(a *scope.Actor) { a.Issuer = "other" }, "acme", 1, "op", "key", "part"))
	add("issuer and user", with(func(a *scope.Actor) { a.Issuer, a.UserID = actor.Issuer+actor.UserID, "" }, "acme", 1, "op", "key", "part"))
	if got := with(func(a *scope.Actor) { a.RequestID, a.SourceIP = "r", "i" }, "acme", 1, "op", "key", "part"); seen[got.ID] != "plain" {
		t.Error("another request of the same user has another receipt")
	}
	if receipt(acme, "k", "a").Digest == receipt(acme, "k", "b").Digest {
		t.Error("two contents have one digest")
	}
}

func TestAReceiptExpires(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		clock := worldtest.NewClock(time.Now().Add(-command.ReceiptLife - time.Minute))
		w := worldtest.New(t, src, worldtest.Options{Now: clock.Now})
		acme := worldtest.Scope("acme")
		publish := func(name string) command.Result {
			return w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "1"), Version: -1, Name: name}, command.WithReceipt(receipt(acme, "k", "body")))
		}
		publish("a")
		if res := publish("b"); res.Replayed || res.Record.Version != 2 {
			t.Errorf("a receipt of yesterday answers: %+v", res)
		}
		clock.Advance(2 * time.Minute)
		publish("c")
		if res := publish("d"); !res.Replayed || res.Record.Name != "c" {
			t.Errorf("a receipt of today doesn't answer: %+v", res)
		}
	})
}

// Publishes under one receipt that meet have one effect, and every one of them is answered with it.
func TestOneReceiptHasOneEffect(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		acme := worldtest.Scope("acme")
		for round := range 20 {
			for name, in := range map[string]command.Input{
				"create": {Key: w.Key(acme, "PRODUCT", fmt.Sprint("create", round)), Version: 0, Name: "Chair"},
				"latest": {Key: w.Key(acme, "PRODUCT", fmt.Sprint("latest", round)), Version: -1, Name: "Chair"},
			} {
				once := command.WithReceipt(receipt(acme, in.Key.SK(), "body"))
				results := make([]command.Result, 8)
				errs := make([]error, len(results))
				var publishing sync.WaitGroup
				for i := range results {
					publishing.Go(func() { results[i], errs[i] = w.Commands.PublishSync(t.Context(), acme, in, once) })
				}
				publishing.Wait()
				first := 0
				for i, res := range results {
					if errs[i] != nil {
						t.Fatalf("%s: %v", name, errs[i])
					}
					if !res.Replayed {
						first++
					}
					if res.Record.Version != 1 || !res.Created {
						t.Errorf("%s: %+v", name, res)
					}
				}
				if first != 1 {
					t.Errorf("%s: %d had an effect", name, first)
				}
				folded(t, w, acme, in.Key)
			}
		}
	})
}

// lost is an engine whose commits are made and whose answers get lost.
type lost struct {
	driver.Engine
	drop func() bool
}

func (l lost) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	at, err := l.Engine.Commit(ctx, b)
	if err == nil && l.drop() {
		return "", fault.New(fault.Unavailable, "lost", "the connection was lost")
	}
	return at, err
}

// A caller whose answer was lost repeats the publish: its receipt says that it was made.
func TestARepeatAfterALostAnswer(t *testing.T) {
	var first sync.Once
	drop := func() (now bool) {
		first.Do(func() { now = true })
		return now
	}
	src := worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return lost{e, drop} })
	w := worldtest.New(t, src, worldtest.Options{})
	acme := worldtest.Scope("acme")
	in := command.Input{Key: w.Key(acme, "PRODUCT", "1"), Version: -1, Name: "Chair"}
	once := command.WithReceipt(receipt(acme, "k", "body"))
	if _, err := w.Commands.PublishSync(t.Context(), acme, in, once); !errors.Is(err, fault.Unavailable) {
		t.Fatalf("the answer wasn't lost: %v", err)
	}
	if res := w.Publish(acme, in, once); !res.Replayed || res.Record.Version != 1 {
		t.Errorf("repeated: %+v", res)
	}
	if rows := w.Rows(driver.Command); len(rows) != 1 || rows[0].Status != record.StatusFinished {
		t.Errorf("%d commands", len(rows))
	}
}
