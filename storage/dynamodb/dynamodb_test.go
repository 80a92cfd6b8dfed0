package dynamodb

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/storage/storagetest"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the sequencer's lines would stand between those of benchmarks
	goleak.VerifyTestMain(m)
}

// lateFeed is what this engine lacks.
var lateFeed = storagetest.Gap{Capability: storagetest.ImmediateFeed, Reason: "the feed follows DynamoDB Streams, which show a commit after it was made"}

// empty returns the Config of a new store with its tables. The modules of entity types are "a" and "b", so that partitions
// are spread over several tables whatever their names.
func empty(t testing.TB) Config {
	t.Helper()
	srv := dynamodbtest.New(t)
	cfg := Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint, Region: srv.Region, Credentials: srv.Credentials, Blobs: Directory(t.TempDir()),
		Module: func(entityType string) string {
			if strings.HasPrefix(strings.ToLower(entityType), "a") {
				return "a"
			}
			return "b"
		}}
	created, err := CreateTables(context.Background(), cfg, "A", "B")
	if err != nil || len(created) != 7 {
		t.Fatal(created, err)
	}
	return cfg
}

func fresh(t testing.TB) driver.Source { return At(empty(t)) }

func TestContract(t *testing.T) { storagetest.Run(t, fresh, lateFeed) }

func FuzzKeys(f *testing.F) { storagetest.FuzzKeys(f, fresh) }

func Benchmark(b *testing.B) { storagetest.Bench(b, fresh) }

// opened opens the store of cfg and closes it with the test.
func opened(t testing.TB, cfg Config) *engine {
	t.Helper()
	e, err := open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// says fails the test unless err has a code and its message names the things that the reader needs.
func says(t testing.TB, err error, code fault.Code, words ...string) {
	t.Helper()
	if err == nil || fault.CodeOf(err) != code {
		t.Errorf("got error %v, want one with code %s", err, code)
		return
	}
	for _, word := range words {
		if msg := fault.As(err).Msg; !strings.Contains(msg, word) {
			t.Errorf("the message %q does not say %q", msg, word)
		}
	}
}
