package changelog

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a set of tables of a test's own.
type store struct {
	testing.TB
	server dynamodbtest.Server
	db     *dynamodb.Client
	tables atomic.Pointer[[]string]
}

func newStore(t testing.TB, modules ...string) *store {
	s := &store{TB: t, server: dynamodbtest.New(t)}
	s.db = s.database(http.DefaultClient)
	s.tables.Store(&[]string{})
	s.create(s.systemTable(), "")
	for _, m := range modules {
		s.addTable(m)
	}
	return s
}

func (s *store) database(client aws.HTTPClient) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: s.server.Region, BaseEndpoint: &s.server.Endpoint, HTTPClient: client, Retryer: aws.NopRetryer{},
		Credentials: s.server.Credentials})
}

func (s *store) streams(client aws.HTTPClient) *dynamodbstreams.Client {
	return dynamodbstreams.New(dynamodbstreams.Options{Region: s.server.Region, BaseEndpoint: &s.server.Endpoint, HTTPClient: client, Retryer: aws.NopRetryer{},
		Credentials: s.server.Credentials})
}

func (s *store) create(name string, view types.StreamViewType) {
	in := &dynamodb.CreateTableInput{TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: "S"}, {AttributeName: aws.String("sk"), AttributeType: "S"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: "HASH"}, {AttributeName: aws.String("sk"), KeyType: "RANGE"}}}
	if view != "" {
		in.StreamSpecification = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: view}
	}
	if _, err := s.db.CreateTable(context.Background(), in); err != nil {
		s.Fatal(err)
	}
}

func (s *store) systemTable() string { return s.server.Prefix + "-system" }

// table returns the name of a module's table.
func (s *store) table(module string) string { return s.server.Prefix + "-" + module + "-data" }

// addTable makes a table with a stream.
func (s *store) addTable(module string) {
	s.create(s.table(module), types.StreamViewTypeNewAndOldImages)
	s.list(module)
}

// list makes a table one of the data tables.
func (s *store) list(module string) {
	listed := append(append([]string{}, *s.tables.Load()...), s.table(module))
	s.tables.Store(&listed)
}

// config returns a Config for which nothing takes long.
func (s *store) config(owner string, client aws.HTTPClient) Config {
	return Config{DB: s.database(client), Streams: s.streams(client), SystemTable: s.systemTable(), Owner: owner,
		DataTables: func(context.Context) ([]string, error) { return *s.tables.Load(), nil },
		Log:        slog.New(slog.NewTextHandler(s.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		Poll:       5 * time.Millisecond, Takeover: 200 * time.Millisecond, TablesEvery: 20 * time.Millisecond, StreamLag: time.Millisecond, Settle: 100 * time.Millisecond}
}

func (s *store) log(owner string) *Log { return New(s.config(owner, http.DefaultClient)) }

// run runs l until the test ends, or stop is called.
func (s *store) run(l *Log) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	s.Cleanup(stop)
	return stop
}

// put makes a version of a record, which carries more than the sequencer needs.
func (s *store) put(module, pk, sk string, version int64) {
	_, err := s.db.PutItem(context.Background(), &dynamodb.PutItemInput{TableName: aws.String(s.table(module)),
		Item: item{"pk": text(pk), "sk": text(sk), "version": number(version), "name": text("a record"), "attributes": &types.AttributeValueMemberM{Value: item{}}}})
	if err != nil {
		s.Error(err)
	}
}

// advanced waits until l has all that was written, and returns it.
func (s *store) advanced(l *Log) []Entry {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	end, err := l.Advance(ctx)
	if err != nil {
		s.Fatalf("the log was not advanced: %v", err)
	}
	entries, err := l.Read(ctx, 0, int(end)+100)
	if err != nil {
		s.Fatal(err)
	}
	if uint64(len(entries)) < end {
		s.Fatalf("the log ends with %d and has %d entries", end, len(entries))
	}
	return entries
}

// versions checks that the numbers are 1, 2, 3, … and those of each record's versions too, and returns how many versions each has.
func (s *store) versions(entries []Entry) map[string]int64 {
	s.Helper()
	newest := map[string]int64{}
	for i, e := range entries {
		if e.Number != uint64(i)+1 {
			s.Fatalf("entry %d has number %d", i+1, e.Number)
		}
		id := e.PK + "/" + e.SK
		if newest[id]++; e.Version != newest[id] {
			s.Fatalf("entry %d is version %d of %s, which should be version %d", e.Number, e.Version, id, newest[id])
		}
	}
	return newest
}

// eventually waits for what comes by itself.
func (s *store) eventually(what string, holds func() bool) {
	s.Helper()
	for began := time.Now(); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			s.Fatalf("%s: not within 10 s", what)
		}
	}
}
