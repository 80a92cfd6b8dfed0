package dynamodb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// wire is what stands between the engine and the server in a test: it sees each call before it is sent, and may answer itself.
type wire struct {
	next  http.RoundTripper
	serve func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error)
}

func through(serve func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error)) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper { return &wire{next: next, serve: serve} }
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	_, op, _ := strings.Cut(req.Header.Get("X-Amz-Target"), ".")
	return w.serve(w, req, op, body)
}

// send passes a call on to the server.
func (w *wire) send(req *http.Request, body []byte) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return w.next.RoundTrip(req)
}

// lose passes a call on to the server and loses its answer.
func (w *wire) lose(req *http.Request, body []byte) error {
	resp, err := w.send(req, body)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(syscall.ECONNRESET, err, resp.Body.Close())
}

// answer is the server's in its place.
func answer(req *http.Request, status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}, nil
}

func refusal(req *http.Request, status int, code, more string) (*http.Response, error) {
	return answer(req, status, `{"__type":"com.amazonaws.dynamodb.v20120810#`+code+`","message":"injected"`+more+`}`)
}

// breaking breaks one call of three in every way that DynamoDB and a network have.
func breaking(seed uint64, broken *atomic.Int64) func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	forgotten := make(map[string]int) // tokens that the server knows nothing of any more, and what it says instead
	return func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
		var in struct {
			ClientRequestToken string
			RequestItems       json.RawMessage
		}
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		mu.Lock()
		how := random.IntN(24)
		switch forgotten[in.ClientRequestToken] {
		case 1:
			body = bytes.ReplaceAll(body, []byte(in.ClientRequestToken), []byte(strings.ToLower(in.ClientRequestToken)))
		case 2:
			how = 25
		}
		if how == 7 && op == "TransactWriteItems" {
			forgotten[in.ClientRequestToken] = 1 + random.IntN(2)
		}
		mu.Unlock()
		mine := op == "TransactWriteItems" && bytes.Contains(body, []byte("-command")) || op == "GetItem" || op == "BatchGetItem" || op == "Query"
		if !mine && how < 8 {
			how = 24
		}
		if how < 8 {
			broken.Add(1)
		}
		switch {
		case how == 0:
			return nil, syscall.ECONNRESET
		case how == 1:
			return nil, w.lose(req, body)
		case how == 2:
			return refusal(req, 500, "InternalServerError", "")
		case how == 3:
			_ = w.lose(req, body) // whatever became of it
			return refusal(req, 500, "InternalServerError", "")
		case how == 4:
			return refusal(req, 400, "ProvisionedThroughputExceededException", "")
		case how == 5:
			return refusal(req, 400, "ThrottlingException", "")
		case how == 6 && op == "TransactWriteItems":
			return refusal(req, 400, "TransactionCanceledException", `,"CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict","Message":"injected"}]`)
		case how == 6 && op == "BatchGetItem":
			return answer(req, 200, `{"Responses":{},"UnprocessedKeys":`+string(in.RequestItems)+`}`)
		case how == 7 && op == "TransactWriteItems": // the answer is lost, and the server forgets that it made the writes
			return nil, w.lose(req, body)
		case how == 25:
			return refusal(req, 400, "IdempotentParameterMismatchException", "")
		default:
			return w.send(req, body)
		}
	}
}

// TestFaults makes random publishes while calls break, and looks at the end for what became of each. With TENANTRY_LONG_RUN set it
// makes 300,000 of them. A new store takes the place of another after some thousands, for the server gets slower with all that it was told.
func TestFaults(t *testing.T) {
	const atOnce = 3_000
	calls := 300_000 / 20
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		calls = 300_000
	}
	seed := rand.Uint64()
	counts := make(map[string]int)
	var broken atomic.Int64
	for done := 0; done < calls; done += atOnce {
		t.Run(fmt.Sprint(done), func(t *testing.T) {
			for _, o := range faultyStore(t, seed+uint64(done), atOnce, &broken) {
				counts[o]++
			}
		})
	}
	t.Logf("measured: %d calls with the seed %d: %v; %d calls to the server were broken", calls, seed, counts, broken.Load())
	if counts["made"] == 0 || counts["refused"] == 0 || counts["unknown"] == 0 || broken.Load() == 0 {
		t.Error("not every outcome came up")
	}
}

// faultyStore makes publishes in a new store and returns what became of each: "made", "refused", "unknown".
func faultyStore(t *testing.T, seed uint64, calls int, broken *atomic.Int64) []string {
	cfg := empty(t)
	cfg.transport = through(breaking(seed, broken))
	e := opened(t, cfg)
	const writers = 8
	var next atomic.Int64
	outcomes := make([]string, calls)
	var wg sync.WaitGroup
	for n := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(n)+2))
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < calls; i = int(next.Add(1)) - 1 {
				outcomes[i] = faultyPublish(t, e, random, i)
			}
		})
	}
	wg.Wait()
	if !t.Failed() {
		checkOutcomes(t, cfg, outcomes)
	}
	return outcomes
}

// faultyPublish makes the next version of one of a few records. One call of twenty is given up after a moment and then made again.
func faultyPublish(t *testing.T, e *engine, random *rand.Rand, i int) string {
	sk := fmt.Sprint("r", random.IntN(4))
	current, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: sk})
	if err != nil {
		t.Errorf("get: %v", err)
		return ""
	}
	next := &record.Record{PK: "A#acme", SK: sk, Version: 1, RequestID: fmt.Sprint("request-", i), Attributes: record.Attributes(fmt.Sprintf(`{"i":%d}`, i))}
	unchanged := driver.Condition{Kind: driver.IfAbsent}
	if current != nil {
		next.Version = current.Version + 1
		unchanged = driver.Condition{Kind: driver.IfVersion, Version: current.Version}
	}
	absent := driver.Condition{Kind: driver.IfAbsent}
	b := driver.Batch{Writes: []driver.Write{
		{Collection: driver.Command, Record: next, If: absent},
		{Collection: driver.Data, Record: next, If: unchanged, Was: current}}}
	if current != nil {
		b.Writes = append(b.Writes, driver.Write{Collection: driver.History, Record: current, If: absent})
	}
	ctx, cancel := t.Context(), func() {}
	hasty := random.IntN(20) == 0
	if hasty {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(random.IntN(8_000))*time.Microsecond)
	}
	_, err = e.Commit(ctx, b)
	cancel()
	if hasty && err != nil && !isConflict(err) {
		_, _ = e.Commit(t.Context(), b) // a retry, whose effect and the first one's are one
		return "unknown"
	}
	switch {
	case err == nil:
		return "made"
	case isConflict(err):
		return "refused"
	case errors.Is(err, fault.Unavailable):
		return "unknown"
	default:
		t.Errorf("a commit: %v", err)
		return ""
	}
}

// TestSilentServer has the server make a commit and never answer, as behind a connection that died unnoticed.
func TestSilentServer(t *testing.T) {
	cfg := empty(t)
	behind, err := url.Parse(cfg.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	ended := make(chan struct{})
	var silent atomic.Int32
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("a request: %v", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte("-a-command")) && silent.Add(1) == 1 {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			<-ended
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	defer close(ended)
	cfg.Endpoint, cfg.patience = front.URL, 300*time.Millisecond
	e := opened(t, cfg)
	rec := &record.Record{PK: "A#acme", SK: "1", Version: 1, RequestID: "request"}
	if _, err := e.Commit(t.Context(), creates(rec)); err != nil {
		t.Errorf("a commit whose first answer never came: %v", err)
	}
	if got, err := e.Get(t.Context(), driver.RefOf(driver.Command, rec)); err != nil || got == nil {
		t.Errorf("its command: %v, %v", got, err)
	}
	if silent.Load() == 0 {
		t.Error("every call was answered")
	}
}

// TestFaultsWithoutEnd has calls refused for ever: the engine gives up, says that trying again may help, and has written nothing.
func TestFaultsWithoutEnd(t *testing.T) {
	cfg := empty(t)
	var sent atomic.Int32
	cfg.transport = through(func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
		switch {
		case bytes.Contains(body, []byte("-a-command")) && op == "TransactWriteItems":
			sent.Add(1)
			return refusal(req, 400, "TransactionCanceledException", `,"CancellationReasons":[{"Code":"TransactionConflict"},{"Code":"ConditionalCheckFailed"}]`)
		case bytes.Contains(body, []byte("-b-data")) && op == "GetItem":
			return refusal(req, 400, "AccessDeniedException", "")
		}
		return w.send(req, body)
	})
	e := opened(t, cfg)
	rec := &record.Record{PK: "A#acme", SK: "1", Version: 1}
	_, err := e.Commit(t.Context(), creates(rec))
	says(t, err, fault.Unavailable, "try again")
	if n := sent.Load(); n != maxAttempts {
		t.Errorf("the commit was sent %d times, want %d", n, maxAttempts)
	}
	if got, err := e.Get(t.Context(), driver.RefOf(driver.Data, rec)); got != nil || err != nil {
		t.Errorf("a row of a commit that was never made: %v, %v", got, err)
	}
	_, err = e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "B#acme", SK: "1"})
	says(t, err, fault.Unavailable, "credentials")
}

// TestCloseEndsWhatWaitsForTheFeed has streams that can't be read while somebody waits for the feed, without a limit.
func TestCloseEndsWhatWaitsForTheFeed(t *testing.T) {
	cfg := empty(t)
	cfg.transport = through(func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
		if op == "DescribeStream" {
			return refusal(req, 500, "InternalServerError", "")
		}
		return w.send(req, body)
	})
	e := opened(t, cfg)
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	waiting := make(chan error, 1)
	go func() {
		_, err := e.Advance(ctx)
		waiting <- err
	}()
	for e.mu.TryLock() { // until it waits
		e.mu.Unlock()
		runtime.Gosched()
	}
	closing := make(chan error, 1)
	go func() { closing <- e.Close() }()
	select {
	case err := <-waiting:
		says(t, err, fault.Unavailable, "closed")
	case <-time.After(20 * time.Second):
		t.Error("Close waits for who waits for the feed")
		giveUp()
	}
	if err := <-closing; err != nil {
		t.Error(err)
	}
}

// TestNoCredentials has the credentials of an open store run out: a call says so, at once.
func TestNoCredentials(t *testing.T) {
	cfg := empty(t)
	good := cfg.Credentials
	var gone atomic.Bool
	var asked atomic.Int32
	cfg.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		if gone.Load() {
			asked.Add(1)
			return aws.Credentials{}, errors.New("the role is gone")
		}
		c, err := good.Retrieve(ctx)
		c.CanExpire, c.Expires = true, time.Now()
		return c, err
	})
	e := opened(t, cfg)
	rec := &record.Record{PK: "A#acme", SK: "1", Version: 1}
	e.feed.close() // nobody else asks
	gone.Store(true)
	_, err := e.Commit(t.Context(), creates(rec))
	says(t, err, fault.Unavailable, "credentials")
	if n := asked.Load(); n != 1 {
		t.Errorf("the commit asked for credentials %d times, want once", n)
	}
	_, err = e.Get(t.Context(), driver.RefOf(driver.Data, rec))
	says(t, err, fault.Unavailable, "credentials")
}

func isConflict(err error) bool {
	_, ok := errors.AsType[*driver.Conflict](err)
	return ok
}

// checkOutcomes reads everything without faults.
func checkOutcomes(t *testing.T, cfg Config, outcomes []string) {
	cfg.transport = nil
	e := opened(t, cfg)
	all := func(c driver.Collection) map[string][]*record.Record {
		out := make(map[string][]*record.Record)
		for after := (driver.Ref{}); ; {
			page, err := e.Scan(t.Context(), c, after, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range page {
				out[rec.SK] = append(out[rec.SK], rec)
				after = driver.RefOf(c, rec)
			}
			if len(page) < 1000 {
				return out
			}
		}
	}
	found := make(map[string]int)
	history, data := all(driver.History), all(driver.Data)
	for sk, commands := range all(driver.Command) {
		for i, command := range commands {
			found[command.RequestID]++
			if command.Version != int64(i)+1 {
				t.Errorf("%s has no command %d", sk, i+1)
			}
			if i < len(commands)-1 && (i >= len(history[sk]) || history[sk][i].RequestID != command.RequestID) {
				t.Errorf("the history of %s lacks version %d", sk, i+1)
			}
		}
		last := commands[len(commands)-1]
		if len(data[sk]) != 1 || data[sk][0].RequestID != last.RequestID || len(history[sk]) != len(commands)-1 {
			t.Errorf("the state of %s is not what its newest command says", sk)
		}
	}
	for i, outcome := range outcomes {
		n := found[fmt.Sprint("request-", i)]
		if outcome == "made" && n != 1 || outcome == "refused" && n != 0 || n > 1 {
			t.Errorf("request %d, which was %s, has %d commands", i, outcome, n)
		}
	}
}

// TestWithoutCredentials says so at once, instead of trying again.
func TestWithoutCredentials(t *testing.T) {
	asked := 0
	none := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		asked++
		return aws.Credentials{}, errors.New("there are none")
	})
	_, err := CreateTables(t.Context(), Config{Prefix: "local-none", Endpoint: "http://127.0.0.1:1", Region: "eu-central-1", Credentials: none}, "PRODUCT")
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.As(err).Msg, "no AWS credentials are found") || asked != 1 {
		t.Errorf("asked %d times for credentials: %v", asked, err)
	}
}
