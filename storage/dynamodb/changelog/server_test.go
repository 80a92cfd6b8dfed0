package changelog

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"go.uber.org/goleak"
)

var server struct {
	url    string
	stores atomic.Int64 // that tests have made on it
}

func TestMain(m *testing.M) {
	stop, err := startServer()
	if err != nil {
		fmt.Fprintln(os.Stderr, "the DynamoDB server for tests can't be started:", err)
		os.Exit(1)
	}
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

const serverPackage = "@dynoxide/linux-x64@1.2.1"

// startServer starts the server on a free port; it keeps the program in the user's cache.
func startServer() (stop func(), err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(cache, "tenantry", "dynoxide-1.2.1")
	if _, err := os.Stat(binary); err != nil {
		if err := fetch(binary); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		return nil, err
	}
	server.url = "http://127.0.0.1:" + port
	cmd := exec.Command(binary, "serve", "--host", "127.0.0.1", "-p", port)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() { _, _ = cmd.Process.Kill(), cmd.Wait() }
	for began := time.Now(); ; <-time.After(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			return stop, c.Close()
		} else if time.Since(began) > 10*time.Second {
			stop()
			return nil, err
		}
	}
}

// fetch takes the program out of its npm package.
func fetch(binary string) error {
	dir, err := os.MkdirTemp("", "dynoxide")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	pack := exec.Command("npm", "pack", "--silent", serverPackage)
	pack.Dir = dir
	name, err := pack.Output()
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, strings.TrimSpace(string(name))))
	if err != nil {
		return err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	files := tar.NewReader(unzipped)
	for {
		switch h, err := files.Next(); {
		case err != nil:
			return err
		case h.Name != "package/dynoxide":
			continue
		}
		part := filepath.Join(dir, "program")
		out, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, files); err != nil {
			return err
		}
		return errors.Join(out.Close(), os.MkdirAll(filepath.Dir(binary), 0o755), os.Rename(part, binary))
	}
}

// store is a set of tables of a test's own.
type store struct {
	*testing.T
	db     *dynamodb.Client
	prefix string
	tables atomic.Pointer[[]string]
}

func newStore(t *testing.T, modules ...string) *store {
	s := &store{T: t, db: database(http.DefaultClient), prefix: fmt.Sprintf("t%d-", server.stores.Add(1))}
	s.tables.Store(&[]string{})
	s.create(s.prefix+"system", "")
	for _, m := range modules {
		s.addTable(m)
	}
	return s
}

func database(client aws.HTTPClient) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &server.url, HTTPClient: client, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
}

func streamsOf(client aws.HTTPClient) *dynamodbstreams.Client {
	return dynamodbstreams.New(dynamodbstreams.Options{Region: "us-east-1", BaseEndpoint: &server.url, HTTPClient: client, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
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

// table returns the name of a module's table.
func (s *store) table(module string) string { return s.prefix + module + "-data" }

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
	return Config{DB: database(client), Streams: streamsOf(client), SystemTable: s.prefix + "system", Owner: owner,
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
