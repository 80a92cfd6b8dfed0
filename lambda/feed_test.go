package lambda_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/lambda"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// feed handles some versions and then fails.
type feed struct {
	handled  int
	err      error
	commands []driver.Ref
	left     time.Duration
}

func (f *feed) Advance(ctx context.Context, commands []driver.Ref) (int, error) {
	f.commands = commands
	if deadline, ok := ctx.Deadline(); ok {
		f.left = time.Until(deadline)
	}
	return f.handled, f.err
}

func ref(sk string, version int64) driver.Ref {
	return driver.Ref{Collection: driver.Command, PK: "PRODUCT#acme", SK: sk, Version: version}
}

func TestBatches(t *testing.T) {
	failed := errors.New("the store is away")
	for name, c := range map[string]struct {
		handled int
		err     error
		want    []string
	}{
		"all":                   {3, nil, nil},
		"none":                  {0, failed, []string{"111300000000012345678901"}},
		"the first":             {1, failed, []string{"111300000000012345678902"}},
		"all but the end":       {2, failed, []string{"111300000000012345678903"}},
		"all, and then a fault": {3, failed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := &feed{handled: c.handled, err: c.err}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			text, err := lambda.New(lambda.Config{Feed: f}).Invoke(ctx, recorded(t, "stream.json"))
			if err != nil {
				t.Fatal(err)
			}
			var out events.DynamoDBEventResponse
			if err := json.Unmarshal(text, &out); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, failure := range out.BatchItemFailures {
				got = append(got, failure.ItemIdentifier)
			}
			if !cmp.Equal(got, c.want) {
				t.Errorf("failures %v, want %v", got, c.want)
			}
			want := []driver.Ref{ref("chair", 1), ref("chair", 2), ref("stool", 0)}
			if diff := cmp.Diff(want, f.commands); diff != "" {
				t.Error(diff)
			}
			if f.left > time.Minute-400*time.Millisecond {
				t.Errorf("no time is left for the answer: %v of a minute", f.left)
			}
		})
	}
}

// A partition that is spread over several keys comes under one of these; its commands are those of the partition.
func TestBatchOfASpreadPartition(t *testing.T) {
	f := &feed{handled: 3}
	if _, err := lambda.New(lambda.Config{Feed: f}).Invoke(t.Context(), recorded(t, "stream.json", `"PRODUCT#acme"`, `"PRODUCT#acme##3"`)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]driver.Ref{ref("chair", 1), ref("chair", 2), ref("stool", 0)}, f.commands); diff != "" {
		t.Error(diff)
	}
}

// gate lets a handler pass commands of all records but one.
type gate struct{ open chan struct{} }

func (g gate) Up(ctx context.Context, _ guard.Scope, cmd *record.Record) error {
	if cmd.SK != "held" {
		return nil
	}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (gate) Down(context.Context, guard.Scope, *record.Record) error { return nil }

func TestFeedOfAnApp(t *testing.T) {
	g := gate{make(chan struct{})}
	w := newWorld(t, tenantry.Config{Handlers: []projection.Registration{{Name: "gate", Module: "product", Handler: g}}}, nil)
	f, err := lambda.NewFeed(t.Context(), w.App.App)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(sk string) driver.Ref {
		sc := w.Scope("acme")
		key, err := record.NewKey(sc, record.MustEntityType("PRODUCT"), sk)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commands().PublishAsync(t.Context(), sc, command.Input{Key: key, Name: sk}); err != nil {
			t.Fatal(err)
		}
		return ref(sk, 1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	free := publish("free")
	if handled, err := f.Advance(ctx, []driver.Ref{free}); handled != 1 || err != nil {
		t.Fatalf("handled %d, %v", handled, err)
	}
	batch := []driver.Ref{free, ref("gone", 0), publish("held"), publish("after")}
	short, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if handled, err := f.Advance(short, batch); handled != 2 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a handler that hangs: handled %d, %v", handled, err)
	}
	close(g.open)
	if handled, err := f.Advance(ctx, batch); handled != 4 || err != nil {
		t.Errorf("when it goes on: handled %d, %v", handled, err)
	}
}
