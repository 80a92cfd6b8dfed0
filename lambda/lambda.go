// Package lambda runs an application as an AWS Lambda function. One function serves both kinds of events:
//
//   - requests of an API Gateway HTTP API (payload format 2.0), or of a function URL, with the handler that a server uses: the same routes,
//     the same checks, the same answers, but for event streams, which it has not;
//   - batches of a data table's DynamoDB stream, which bring the change log and the application's handlers up to date.
//
// Who is calling is decided as on a server: by the bearer token, which the application verifies. An [Authorizer] takes the claims
// instead that API Gateway's JWT authorizer has verified, where the operator says so and for one issuer. They come from the event's
// requestContext, which API Gateway writes and no client can; nothing that a client sends stands in for them.
//
// Program cmd/tenantry-lambda is this package over the DynamoDB engine; its configuration is that of tenantry serve, in the environment.
package lambda

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Config is what a Function is made of. API is required.
type Config struct {
	// API answers requests: an *httpapi.Handler.
	API http.Handler

	// Authorizer takes the claims that API Gateway's JWT authorizer verified. Defaults to nil: they don't count, and the bearer token does.
	Authorizer *Authorizer

	// Feed is what batches of streams bring up to date. Defaults to nil: batches fail.
	Feed Feed

	// Log defaults to slog.Default.
	Log *slog.Logger
}

// Feed brings the change feed, and what follows it, up to date.
type Feed interface {
	// Advance returns when the feed has all that was committed before the call, and the application's handlers came to its end. Where it fails,
	// handled is how many of the commands, from the first, are behind all handlers all the same. A ref with version 0 names none.
	Advance(ctx context.Context, commands []driver.Ref) (handled int, err error)
}

// Function is the handler of Lambda's events. It may be used concurrently.
type Function struct{ cfg Config }

// New returns a Function.
func New(cfg Config) *Function {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Function{cfg: cfg}
}

// Invoke implements lambda.Handler of aws-lambda-go. It fails with fault.InvalidRequest for an event that is neither of the two, and then
// nothing has happened.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var kind struct {
		Version string `json:"version"`
		Context *struct {
			HTTP *struct{} `json:"http"`
		} `json:"requestContext"`
		Records []struct {
			Source string `json:"eventSource"`
		} `json:"Records"`
	}
	if err := json.Unmarshal(payload, &kind); err != nil {
		return nil, fault.Wrap(err, fault.InvalidRequest, "lambda.Invoke", "the event is not well-formed JSON")
	}
	switch {
	case kind.Version == "2.0" && kind.Context != nil && kind.Context.HTTP != nil:
		return answer(ctx, payload, f.serve)
	case len(kind.Records) > 0 && kind.Records[0].Source == "aws:dynamodb":
		return answer(ctx, payload, f.follow)
	}
	return nil, fault.New(fault.InvalidRequest, "lambda.Invoke", "the event is neither a request of an HTTP API with payload format 2.0 nor a batch of a DynamoDB stream")
}

// answer decodes an event, has it answered and encodes the answer.
func answer[In, Out any](ctx context.Context, payload []byte, do func(context.Context, *In) (*Out, error)) ([]byte, error) {
	event := new(In)
	if err := json.Unmarshal(payload, event); err != nil {
		return nil, fault.Wrap(err, fault.InvalidRequest, "lambda.Invoke", "the event has another form than Lambda's")
	}
	out, err := do(ctx, event)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

// lastMoment is kept of an invocation's time for its answer.
const lastMoment = 500 * time.Millisecond

// follow brings the feed up to date. A batch that could not be handled to its end is given back from the first record on that was not: Lambda
// brings it again, and nothing is handled out of order. The records themselves are no more than the news that there is something: which
// of a stream's shards a batch is of, and so what was read of it, only the sequencer knows.
func (f *Function) follow(ctx context.Context, batch *events.DynamoDBEvent) (*events.DynamoDBEventResponse, error) {
	if f.cfg.Feed == nil {
		return nil, fault.New(fault.InvalidRequest, "lambda.Invoke", "this function does not follow streams")
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-lastMoment))
		defer cancel()
	}
	commands := make([]driver.Ref, len(batch.Records))
	for i, r := range batch.Records {
		commands[i] = commandOf(&r)
	}
	out := &events.DynamoDBEventResponse{BatchItemFailures: []events.DynamoDBBatchItemFailure{}}
	handled, err := f.cfg.Feed.Advance(ctx, commands)
	if err == nil || handled >= len(commands) {
		return out, nil
	}
	failed := batch.Records[max(0, handled)].Change.SequenceNumber
	f.cfg.Log.WarnContext(ctx, "a batch of a stream comes again", "records", len(commands), "handled", handled, "from", failed, "error", err)
	out.BatchItemFailures = append(out.BatchItemFailures, events.DynamoDBBatchItemFailure{ItemIdentifier: failed})
	return out, nil
}

// spreadMark stands between a PK and the number of one of the keys that its partition is spread over; no PK holds it.
const spreadMark = record.Separator + record.Separator

// commandOf returns the command that a stream record follows from, as the sequencer takes it: an item got a version that it did not have.
func commandOf(r *events.DynamoDBEventRecord) driver.Ref {
	pk, _, _ := strings.Cut(text(r.Change.Keys["pk"]), spreadMark)
	ref := driver.Ref{Collection: driver.Command, PK: pk, SK: text(r.Change.Keys["sk"])}
	if now, before := integer(r.Change.NewImage["version"]), integer(r.Change.OldImage["version"]); r.EventName != string(events.DynamoDBOperationTypeRemove) && now != before {
		ref.Version = now
	}
	return ref
}

func text(v events.DynamoDBAttributeValue) string {
	if v.DataType() != events.DataTypeString {
		return ""
	}
	return v.String()
}

func integer(v events.DynamoDBAttributeValue) int64 {
	if v.DataType() != events.DataTypeNumber {
		return 0
	}
	n, err := v.Integer()
	if err != nil {
		return 0
	}
	return n
}
