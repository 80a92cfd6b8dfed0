package changelog

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// stream stands for the stream of one table, with what the server for tests never does: it splits shards, forgets, and cuts iterators off.
type stream struct {
	mu       sync.Mutex
	shards   []*fakeShard
	expired  bool // the next iterator that is used is expired
	throttle int  // so many calls are refused
	empty    int  // so many pages are empty although there is more
	refuses  int  // so many calls are refused behind those
}

type fakeShard struct {
	id, parent string
	records    []types.Record
	trimmed    int  // so many are forgotten
	silent     bool // reading on after one of those begins at the oldest that is left
	closed     bool
}

func (f *stream) shard(id string) *fakeShard {
	for _, sh := range f.shards {
		if sh.id == id {
			return sh
		}
	}
	return nil
}

func (f *stream) refused() error {
	if f.throttle > 0 {
		f.throttle--
		return &types.LimitExceededException{Message: aws.String("slow down")}
	}
	return nil
}

// DescribeStream returns one shard at a time, the newest first.
func (f *stream) DescribeStream(_ context.Context, in *dynamodbstreams.DescribeStreamInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refused(); err != nil {
		return nil, err
	}
	at := len(f.shards) - 1
	if in.ExclusiveStartShardId != nil {
		at = slices.IndexFunc(f.shards, func(sh *fakeShard) bool { return sh.id == *in.ExclusiveStartShardId }) - 1
	}
	out := &dynamodbstreams.DescribeStreamOutput{StreamDescription: &types.StreamDescription{StreamArn: in.StreamArn}}
	if at >= 0 {
		sh := types.Shard{ShardId: &f.shards[at].id}
		if f.shards[at].parent != "" {
			sh.ParentShardId = &f.shards[at].parent
		}
		out.StreamDescription.Shards = []types.Shard{sh}
	}
	if at > 0 {
		out.StreamDescription.LastEvaluatedShardId = &f.shards[at].id
	}
	return out, nil
}

func (f *stream) GetShardIterator(_ context.Context, in *dynamodbstreams.GetShardIteratorInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sh := f.shard(*in.ShardId)
	if sh == nil {
		return nil, &types.ResourceNotFoundException{}
	}
	at := sh.trimmed
	if in.ShardIteratorType == types.ShardIteratorTypeAfterSequenceNumber {
		at = slices.IndexFunc(sh.records, func(r types.Record) bool { return *r.Dynamodb.SequenceNumber == *in.SequenceNumber }) + 1
		if at < sh.trimmed && !sh.silent {
			return nil, &types.TrimmedDataAccessException{}
		}
		at = max(at, sh.trimmed)
	}
	return &dynamodbstreams.GetShardIteratorOutput{ShardIterator: aws.String(fmt.Sprintf("%s/%d", sh.id, at))}, nil
}

func (f *stream) GetRecords(_ context.Context, in *dynamodbstreams.GetRecordsInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refused(); err != nil {
		return nil, err
	}
	if f.expired {
		f.expired = false
		return nil, &types.ExpiredIteratorException{}
	}
	id, text, _ := strings.Cut(*in.ShardIterator, "/")
	at, err := strconv.Atoi(text)
	sh := f.shard(id)
	if err != nil || sh == nil {
		return nil, &types.ResourceNotFoundException{}
	}
	if at < sh.trimmed {
		return nil, &types.TrimmedDataAccessException{}
	}
	end := min(at+3, len(sh.records))
	if f.empty > 0 {
		if f.empty--; f.empty == 0 {
			f.throttle, f.refuses = f.refuses, 0
		}
		end = at
	}
	out := &dynamodbstreams.GetRecordsOutput{Records: sh.records[at:end]}
	if !sh.closed || end < len(sh.records) {
		out.NextShardIterator = aws.String(fmt.Sprintf("%s/%d", id, end))
	}
	return out, nil
}

// change appends the record that a version makes in a shard.
func (f *stream) change(id, sk string, version int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	image := func(v int64) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"version": &types.AttributeValueMemberN{Value: fmt.Sprint(v)}}
	}
	sh := f.shard(id)
	r := types.Record{EventName: types.OperationTypeInsert, Dynamodb: &types.StreamRecord{NewImage: image(version), SizeBytes: aws.Int64(100),
		SequenceNumber: aws.String(fmt.Sprintf("%s-%d", id, len(sh.records))), Keys: map[string]types.AttributeValue{
			"pk": &types.AttributeValueMemberS{Value: "A#acme"}, "sk": &types.AttributeValueMemberS{Value: sk}}}}
	if version > 1 {
		r.EventName, r.Dynamodb.OldImage = types.OperationTypeModify, image(version-1)
	}
	sh.records = append(sh.records, r)
}

// split closes a shard, which goes on in children.
func (f *stream) split(id string, children ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shard(id).closed = true
	for _, child := range children {
		f.shards = append(f.shards, &fakeShard{id: child, parent: id})
	}
}

func (f *stream) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// faked returns a store of one table with a fake stream of one shard, and a Log that reads it.
func faked(t *testing.T) (*store, *stream, Config) {
	s, f := newStore(t, "order"), &stream{shards: []*fakeShard{{id: "s9"}}}
	c := s.config("a", http.DefaultClient)
	c.Streams = f
	return s, f, c
}

// The children have names that sort before their parents', and more records than one page.
func TestParentsBeforeChildren(t *testing.T) {
	s, f, c := faked(t)
	for v := int64(1); v <= 10; v++ {
		f.change("s9", "1", v)
		f.change("s9", "2", v)
	}
	f.split("s9", "s5", "s4")
	for v := int64(11); v <= 20; v++ {
		f.change("s5", "1", v)
		f.change("s4", "2", v)
	}
	f.split("s5", "s1")
	for v := int64(21); v <= 30; v++ {
		f.change("s1", "1", v)
	}
	stop := s.run(New(c))
	l := New(c)
	s.eventually("all versions, with a split", func() bool { return len(s.advanced(l)) == 50 })
	f.split("s1", "s0") // while it is read
	for v := int64(31); v <= 35; v++ {
		f.change("s0", "1", v)
	}
	s.eventually("the grandchild's", func() bool { return len(s.advanced(l)) == 55 })
	stop()
	f.with(func() { f.shards = f.shards[1:] }) // a day later the first parent is forgotten
	f.split("s4", "s3")
	f.change("s3", "2", 21)
	s.run(New(c))
	s.eventually("what came after another takeover", func() bool { return len(s.advanced(l)) == 56 })
	if got := s.versions(s.advanced(l)); got["A#acme/1"] != 35 || got["A#acme/2"] != 21 {
		t.Errorf("the log has %v", got)
	}
	rows, err := l.stateRows(t.Context(), shardKind)
	if err != nil || slices.ContainsFunc(rows, func(it item) bool { return textOf(it, "shard") == "s9" }) {
		t.Errorf("the row of a shard that is gone is kept: %v", err)
	}
}

// A closed shard whose child isn't listed yet: until it is, nobody knows what it holds.
func TestClosedShardWithoutChild(t *testing.T) {
	s, f, c := faked(t)
	s.run(New(c))
	l := New(c)
	follows(t, l)
	f.split("s9")
	s.eventually("the log is not believed", func() bool {
		_, err := l.Follow(t.Context(), 0, 10)
		return err != nil
	})
	f.with(func() { f.shards = append(f.shards, &fakeShard{id: "s1", parent: "s9"}) })
	f.change("s1", "1", 1)
	s.eventually("the child's record", func() bool { return len(s.advanced(l)) == 1 })
}

func TestIteratorsExpireAndCallsAreRefused(t *testing.T) {
	s, f, c := faked(t)
	s.run(New(c))
	l := New(c)
	for v := int64(1); v <= 30; v++ {
		f.with(func() {
			switch v % 6 {
			case 0:
				f.expired = true
			case 2:
				f.throttle = 3
			case 4:
				f.empty = 2
			}
		})
		f.change("s9", "1", v)
		s.eventually("the version", func() bool { return len(s.advanced(l)) == int(v) })
	}
	s.versions(s.advanced(l))
}

// A new holder begins in the middle of a shard, and what comes first are pages without records; then nothing for a while.
func TestEmptyPagesBeforeTheTip(t *testing.T) {
	s, f, c := faked(t)
	f.change("s9", "1", 1)
	stop := s.run(New(c))
	l := New(c)
	if got := s.advanced(l); len(got) != 1 {
		t.Fatalf("the log has %v", got)
	}
	stop()
	f.change("s9", "1", 2)
	f.with(func() { f.empty, f.refuses = shortPages-1, 3 })
	fresh := New(c)
	end := make(chan uint64, 1)
	go func() {
		n, err := fresh.Advance(t.Context())
		if err != nil {
			t.Error(err)
		}
		end <- n
	}()
	s.eventually("somebody waits for the log", func() bool {
		fresh.mu.Lock()
		defer fresh.mu.Unlock()
		return len(fresh.looks) > 0
	})
	s.run(New(c))
	if n := <-end; n != 2 {
		t.Errorf("the log ends with %d and says that it has both versions", n)
	}
}

// The stream forgets what was not read. The table has what its records became.
func TestTrimmed(t *testing.T) {
	for _, forgets := range []string{"records", "the shard", "the shard and its child", "the table's stream", "time"} {
		s, f, c := faked(t)
		c.Settle = time.Minute
		for v := int64(1); v <= 4; v++ {
			f.change("s9", "1", v)
			f.change("s9", "2", v)
		}
		s.put("order", "A#acme", "1", 4)
		s.put("order", "A#acme", "2", 4)
		stop := s.run(New(c))
		l := New(c)
		s.eventually("all versions", func() bool { return len(s.advanced(l)) == 8 })
		stop()

		for v := int64(5); v <= 9; v++ {
			f.change("s9", "1", v)
		}
		s.put("order", "A#acme", "1", 9)
		s.put("order", "A#acme", "3", 2)
		f.with(func() {
			switch sh := f.shards[0]; forgets {
			case "records":
				sh.trimmed = 11 // 5, 6 and 7 of record 1
			case "the shard":
				f.shards = []*fakeShard{{id: "s1", parent: "s9"}}
			case "the shard and its child":
				f.shards = []*fakeShard{{id: "s0", parent: "s1"}}
			case "the table's stream":
				f.shards = []*fakeShard{{id: "t1"}}
				s.exchange("arn", text("another"))
			case "time":
				sh.trimmed, sh.silent = 11, true
				s.exchange("at", number(time.Now().Add(-24*time.Hour).Unix()))
			}
		})
		s.run(New(c))
		s.eventually("every record's newest version", func() bool {
			newest := map[string]int64{}
			for i, e := range s.advanced(l) {
				if e.Number != uint64(i)+1 || e.Version <= newest[e.SK] {
					t.Fatalf("%s: entry %d is version %d of %s, after version %d", forgets, e.Number, e.Version, e.SK, newest[e.SK])
				}
				newest[e.SK] = e.Version
			}
			return newest["1"] == 9 && newest["2"] == 4 && newest["3"] == 2
		})
	}
}

// What the scan finds and the stream brings too comes from the stream, every version of it.
func TestScanWaitsForStream(t *testing.T) {
	s, f, c := faked(t)
	c.StreamLag = 300 * time.Millisecond
	s.put("order", "A#acme", "1", 3)
	s.put("order", "A#acme", "2", 5)
	s.run(New(c))
	l := New(c)
	follows(t, l) // the table was scanned; the stream shows what was written before
	for v := int64(1); v <= 3; v++ {
		f.change("s9", "1", v)
	}
	s.eventually("both records", func() bool { return len(s.advanced(l)) == 4 })
	want := []Entry{{1, "A#acme", "1", 1}, {2, "A#acme", "1", 2}, {3, "A#acme", "1", 3}, {4, "A#acme", "2", 5}}
	if got := s.advanced(l); !slices.Equal(got, want) {
		t.Errorf("the log has %v", got)
	}
}

// exchange changes an attribute of the lease, or of the table.
func (s *store) exchange(name string, value dynamotypes.AttributeValue) {
	s.Helper()
	k := key(state, leaseKey)
	if name == "arn" {
		k = key(state, tableKind+s.table("order"))
	}
	if _, err := s.db.UpdateItem(context.Background(), &dynamodb.UpdateItemInput{TableName: aws.String(s.systemTable()), Key: k, UpdateExpression: aws.String("SET #name = :value"),
		ExpressionAttributeNames: map[string]string{"#name": name}, ExpressionAttributeValues: item{":value": value}}); err != nil {
		s.Fatal(err)
	}
}
