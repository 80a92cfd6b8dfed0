// Package changelog makes one total order of what DynamoDB Streams tells in many partial ones: the change feed of the DynamoDB engine.
//
// Streams are ordered within a shard, remember 24 hours, bear two readers for each shard, and no reader comes back to a place that it can
// compare with another's. Every process that follows the feed needs all of what is missing there. So one process, the
// sequencer, reads the streams of all data tables and appends what it sees to a log in the system table, with the numbers 1, 2, 3, …; everybody
// else reads the log, with consistent reads. The stream of a data table is read and not the command table's: a record's data row is one
// item, so its versions come in order, where each command is an item of its own.
//
// Every process that uses the store runs [Log.Run], and one of them holds the lease. What the sequencer appends, how far it has
// read each shard, and its right to do both stand in one transaction: each stream record is appended exactly once, whatever dies, and a
// sequencer that was replaced while it was paused appends nothing.
//
// Nobody has to be on time for that. Being on time matters for what processes keep in memory, and there [Log.Follow] says whether the log
// holds everything that was committed until just now.
//
// The log's rows stand in the system table, in partitions of their own; see [Owns].
package changelog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"

	"github.com/tenantry/tenantry/fault"
)

// Streams is what the sequencer needs of DynamoDB Streams; a *dynamodbstreams.Client is one.
type Streams interface {
	DescribeStream(context.Context, *dynamodbstreams.DescribeStreamInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error)
	GetShardIterator(context.Context, *dynamodbstreams.GetShardIteratorInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error)
	GetRecords(context.Context, *dynamodbstreams.GetRecordsInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error)
}

// Config is what a Log is made of. DB, Streams, SystemTable, DataTables and Owner are required.
type Config struct {
	DB      *dynamodb.Client
	Streams Streams

	// SystemTable has the log's rows. Its keys are pk and sk, texts.
	SystemTable string

	// DataTables returns the names of the tables whose records are followed. It is called every TablesEvery. Each has a stream with new
	// images; where it has old images too, a record that is put again at its version is no change.
	DataTables func(context.Context) ([]string, error)

	// Owner names this process in the lease, for those who look for the sequencer. No two processes need to differ by it.
	Owner string

	// Log defaults to slog.Default.
	Log *slog.Logger

	// Poll is the time between two readings of a shard in the long run, a quarter more while nobody pokes; five can be had at once. Defaults to
	// 200 ms: a shard bears two readers at that pace.
	Poll time.Duration

	// Takeover is how long a lease stands still before another process takes it. Defaults to 4 s.
	Takeover time.Duration

	// TablesEvery is the time between two calls of DataTables. Defaults to 1 s.
	TablesEvery time.Duration

	// StreamLag is how long a commit may take until a stream shows it, which matters while a table is scanned. Defaults to 2 s.
	StreamLag time.Duration

	// Settle is how long after a table's scan a stream may still bring what the scan has found. Defaults to 5 min.
	Settle time.Duration
}

// Entry is one change: the record with this key got this version. The number is its place in the log.
type Entry struct {
	Number  uint64
	PK, SK  string
	Version int64
}

// Log is the log of one store. Its methods may be called concurrently. There is nothing to close: Run ends with its context.
type Log struct {
	cfg  Config
	poke chan struct{}

	mu    sync.Mutex
	looks []look // of the last seconds, oldest first
	began time.Time
}

// New returns a Log that nobody sequences in this process until Run.
func New(cfg Config) *Log {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{{&cfg.Poll, 200 * time.Millisecond}, {&cfg.Takeover, 4 * time.Second}, {&cfg.TablesEvery, time.Second}, {&cfg.StreamLag, 2 * time.Second}, {&cfg.Settle, 5 * time.Minute}} {
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	return &Log{cfg: cfg, poke: make(chan struct{}, 1), began: time.Now()}
}

// Read returns at most limit entries behind a number, in their order. Those of one record come in the order of their
// versions. What it returns once, every reader gets at the same place for ever; it does not say whether the log is being advanced. It fails
// with fault.Unavailable or the context's error, and with fault.Internal where the log has a hole.
func (l *Log) Read(ctx context.Context, after uint64, limit int) ([]Entry, error) {
	return l.read(ctx, after, limit)
}

// End returns the number of the newest entry, 0 where there is none. Like Read it does not say whether the log is being advanced: whoever
// begins at the end, with nothing in memory, has nothing that could be stale.
func (l *Log) End(ctx context.Context) (uint64, error) {
	lease, err := l.look(ctx)
	return lease.end, err
}

// tolerated is how much older than a call of Follow a commit may be that its answer lacks. A Tail (package feed) trusts what it
// remembers for 700 ms after a look, so nothing that is remembered outlives a change by more than a second.
const tolerated = 300 * time.Millisecond

// patience is how long Follow waits for the sequencer.
const patience = 500 * time.Millisecond

// Follow is Read for those who keep things in memory: it returns fewer entries than limit only where the log holds every change that the
// streams showed 300 ms before the call. Where nobody advances the log, because the sequencer died, is paused, is cut off or can't keep up, it
// fails with fault.Unavailable after half a second, and the caller reads the store instead.
//
// The call that caches rest on is the one that fails, and no other: handlers, which read with Read, lose nothing by a log that stands
// still, and a process has to start without a sequencer to become one.
//
// No clocks are compared, and no process is trusted to be on time. The sequencer marks in its lease that a round of reading begins, reads every
// shard to its tip, appends, and marks that the round is done. Whoever looks at the lease, finds a round not begun, and later finds it done, knows
// that its reading began after the first look. So a paused sequencer's belated mark proves nothing but what was read before the pause.
func (l *Log) Follow(ctx context.Context, after uint64, limit int) ([]Entry, error) {
	called := time.Since(l.began)
	if err := l.await(ctx, called-tolerated, patience); err != nil {
		if limit > 0 { // a full page is on its way to the tip and claims nothing about it
			if entries, readErr := l.read(ctx, after, limit); readErr == nil && len(entries) == limit {
				return entries, nil
			}
		}
		return nil, err
	}
	return l.read(ctx, after, limit)
}

// Advance returns the log's end once it holds everything that the streams held when it was called. It waits for the
// sequencer, this process's own or another's, until ctx ends.
func (l *Log) Advance(ctx context.Context) (uint64, error) {
	if err := l.await(ctx, time.Since(l.began), 0); err != nil {
		return 0, err
	}
	return l.End(ctx)
}

// Poke has the sequencer look at once where it is in this process. It is called after commits.
func (l *Log) Poke() {
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// look is a glance at the lease: rounds after began had not begun at this time.
type look struct {
	at    time.Duration // since Log.began, on the monotonic clock, before the lease was read
	began uint64
}

// look reads the lease and remembers when.
func (l *Log) look(ctx context.Context) (lease, error) {
	at := time.Since(l.began)
	found, err := l.lease(ctx)
	if err != nil {
		return lease{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.looks[:0]
	for _, old := range l.looks {
		if at-old.at < 10*time.Second {
			kept = append(kept, old)
		}
	}
	l.looks = append(kept, look{at: at, began: found.began})
	return found, nil
}

// covered returns the time from which on commits may be missing in the log, given that round done is done; false where that isn't known.
func (l *Log) covered(done uint64) (at time.Duration, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seen := range l.looks {
		if seen.began < done && (!known || seen.at > at) {
			at, known = seen.at, true
		}
	}
	return at, known
}

// lookAgain is the time between two looks of one who waits for a round.
const lookAgain = 40 * time.Millisecond

// await returns when the log holds all that was committed before a time. It fails after limit, 0 for none.
func (l *Log) await(ctx context.Context, until, limit time.Duration) error {
	asked := time.Now()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		lease, err := l.look(ctx)
		if err != nil {
			return err
		}
		if at, known := l.covered(lease.done); known && at >= until {
			return nil
		}
		l.Poke()
		if limit > 0 && time.Since(asked) >= limit {
			return fault.New(fault.Unavailable, "changelog.Follow", "nobody advances the change feed at the moment; what the store holds has to be read from it")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
