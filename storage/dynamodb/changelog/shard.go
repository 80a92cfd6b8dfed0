package changelog

import (
	"context"
	"errors"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// shard is a part of a stream, in order. What it held is followed by what its children hold.
type shard struct {
	table    *table
	id       string
	parent   string // "" for none
	at       string // sequence number of the last record that was read; "" before the first
	done     bool   // read to its end
	iterator string // "" where it has to be fetched
	short    int    // pages that were not cut off, in a row since the iterator was fetched
	tip      bool   // the last page came to what the stream showed
	limit    *rate.Limiter
}

func (s *sequencer) newShard(t *table, id, parent string) *shard {
	return &shard{table: t, id: id, parent: parent, limit: rate.NewLimiter(rate.Every(s.cfg.Poll), 5)}
}

// row returns the shard's row in the system table.
func (sh *shard) row(t *table) item {
	it := key(state, shardKind+t.name+"#"+strconv.FormatUint(t.epoch, 10)+"#"+sh.id)
	it["table"], it["epoch"], it["shard"], it["parent"], it["at"], it["done"] =
		text(t.name), number(t.epoch), text(sh.id), text(sh.parent), text(sh.at), flag(sh.done)
	return it
}

// ready reports whether a shard may be read: its parent was, to the end.
func (sh *shard) ready() bool {
	parent := sh.table.shards[sh.parent]
	return !sh.done && (parent == nil || parent.done)
}

// page is what one reading of a shard brought.
type page struct {
	shard    *shard
	records  []streamed
	next     string
	tip      bool
	finished bool
	gap      string // why records are missing for ever; "" where none are
	err      error
}

// streamed is a stream record.
type streamed struct {
	sequence string
	entry    Entry
	counts   bool // is a version that the record did not have
	removed  bool
}

// readers is how many shards are read at a time.
const readers = 16

// readShards reads one page of every shard that may be read, and returns them in the order of tables and shards.
func (s *sequencer) readShards(ctx context.Context) []page {
	var ready []*shard
	for _, t := range s.ordered() {
		if !t.absent {
			ready = append(ready, t.ready()...)
		}
	}
	pages := make([]page, len(ready))
	var reading errgroup.Group
	reading.SetLimit(readers)
	for i, sh := range ready {
		reading.Go(func() error {
			pages[i] = s.readShard(ctx, sh)
			return nil
		})
	}
	_ = reading.Wait() // none fails: each page has its error
	return pages
}

// A page that is shorter than these was not cut off by DynamoDB's limits, 1000 records and 1 MiB. It came to the tip, unless it is one of the first: Streams may
// need several calls to come from a place to the next record behind it, and answers with empty pages until then.
const (
	fewRecords = 500
	fewBytes   = 512 << 10
	shortPages = 3
)

func (s *sequencer) readShard(ctx context.Context, sh *shard) page {
	p := page{shard: sh}
	sh.tip = false
	var out *dynamodbstreams.GetRecordsOutput
	for attempt := 0; ; attempt++ {
		if p.err = sh.limit.Wait(ctx); p.err != nil {
			return p
		}
		if sh.iterator == "" {
			sh.short = 0
			if sh.iterator, p.err = s.iterate(ctx, sh); p.err != nil {
				break
			}
		}
		out, p.err = s.cfg.Streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: &sh.iterator})
		var expired *types.ExpiredIteratorException
		if p.err == nil || attempt > 0 || !errors.As(p.err, &expired) {
			break
		}
		sh.iterator = "" // it lived for 15 minutes; the place is known without it
	}
	var trimmed *types.TrimmedDataAccessException
	var absent *types.ResourceNotFoundException
	switch {
	case errors.As(p.err, &trimmed):
		p.gap = "the stream has forgotten what was not read yet"
		return p
	case errors.As(p.err, &absent):
		p.gap = "the stream has forgotten a shard that was not read to its end"
		return p
	case p.err != nil:
		sh.iterator = ""
		return p
	}
	bytes := int64(0)
	for _, r := range out.Records {
		bytes += aws.ToInt64(r.Dynamodb.SizeBytes)
		p.records = append(p.records, streamedOf(r))
	}
	p.next = aws.ToString(out.NextShardIterator)
	p.finished = p.next == ""
	if sh.short++; len(p.records) >= fewRecords || bytes >= fewBytes {
		sh.short = 0
	}
	p.tip = sh.short >= shortPages
	return p
}

// iterate returns an iterator at the place that the shard was read to.
func (s *sequencer) iterate(ctx context.Context, sh *shard) (string, error) {
	in := &dynamodbstreams.GetShardIteratorInput{StreamArn: &sh.table.arn, ShardId: &sh.id, ShardIteratorType: types.ShardIteratorTypeTrimHorizon}
	if sh.at != "" {
		in.ShardIteratorType, in.SequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, &sh.at
	}
	out, err := s.cfg.Streams.GetShardIterator(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ShardIterator), nil
}

// streamedOf says what a stream record means: an item that got a version it did not have. Items without a version are no records.
func streamedOf(r types.Record) streamed {
	d := r.Dynamodb
	out := streamed{sequence: aws.ToString(d.SequenceNumber), removed: r.EventName == types.OperationTypeRemove}
	out.entry = Entry{PK: streamText(d.Keys["pk"]), SK: streamText(d.Keys["sk"]), Version: streamNumber(d.NewImage["version"])}
	out.counts = !out.removed && out.entry.Version > 0 && (d.OldImage == nil || streamNumber(d.OldImage["version"]) != out.entry.Version)
	return out
}

func streamText(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func streamNumber(v types.AttributeValue) int64 {
	n, ok := v.(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	parsed, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil {
		return 0
	}
	return parsed
}
