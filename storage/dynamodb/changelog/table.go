package changelog

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
)

// phase says what of a table the log has. A table begins with its scan.
type phase string

const (
	scanning phase = "scanning" // its stream is read, and what it doesn't bring any more is looked for in the table
	settling phase = "settling" // the scan has ended, and the stream may still bring what it found
	settled  phase = "settled"  // the stream brings everything, once
)

// table is a data table that is followed.
type table struct {
	name  string
	arn   string // of its stream
	epoch uint64 // grows when reading begins anew; rows of shards of former ones don't count
	phase phase
	from  uint64 // the log has nothing of this table up to here that a scan could find again
	next  item   // where the scan goes on, nil at its beginning

	shards    map[string]*shard
	relist    bool // shards may have appeared
	listed    time.Time
	described time.Time
	absent    bool   // is not among the data tables now, or can't be followed
	problem   string // that keeps it from being followed and was logged

	found   *findings
	scanned time.Time // when the scan ended
}

// again is how often tables and shards are listed that give no occasion for it.
const again = 30 * time.Second

func (t *table) row() item {
	it := key(state, tableKind+t.name)
	it["table"], it["arn"], it["epoch"], it["phase"], it["from"] = text(t.name), text(t.arn), number(t.epoch), text(string(t.phase)), number(t.from)
	if t.next != nil {
		it["next"] = &types.AttributeValueMemberM{Value: t.next}
	}
	return it
}

func (s *sequencer) loadTables(ctx context.Context) error {
	rows, err := s.stateRows(ctx, tableKind)
	if err != nil {
		return err
	}
	for _, it := range rows {
		t := &table{name: textOf(it, "table"), arn: textOf(it, "arn"), epoch: numberOf(it["epoch"]), phase: phase(textOf(it, "phase")),
			from: numberOf(it["from"]), shards: map[string]*shard{}, relist: true, absent: true, scanned: time.Now()}
		if next, ok := it["next"].(*types.AttributeValueMemberM); ok {
			t.next = next.Value
		}
		s.tables[t.name] = t
	}
	if rows, err = s.stateRows(ctx, shardKind); err != nil {
		return err
	}
	var stale []types.TransactWriteItem
	for _, it := range rows {
		t := s.tables[textOf(it, "table")]
		if t == nil || t.epoch != numberOf(it["epoch"]) {
			stale = append(stale, s.drop(it))
			continue
		}
		sh := s.newShard(t, textOf(it, "shard"), textOf(it, "parent"))
		sh.at, sh.done = textOf(it, "at"), flagOf(it, "done")
		t.shards[sh.id] = sh
	}
	return s.commitAll(ctx, stale)
}

// commitAll makes writes that don't belong together.
func (s *sequencer) commitAll(ctx context.Context, writes []types.TransactWriteItem) error {
	for part := range slices.Chunk(writes, maxRows) {
		if err := s.commit(ctx, s.held, part...); err != nil {
			return err
		}
	}
	return nil
}

// ready returns the shards that may be read, in the order of their names, which is that of their age.
func (t *table) ready() []*shard {
	var out []*shard
	for _, sh := range t.shards {
		if sh.ready() {
			out = append(out, sh)
		}
	}
	slices.SortFunc(out, func(a, b *shard) int { return cmp.Compare(a.id, b.id) })
	return out
}

// tip reports whether everything that the table's stream showed was read: its open shards to their tips, and every closed one has
// a child, for a stream that is on always has an open shard.
func (t *table) tip() bool {
	parents := map[string]bool{}
	for _, sh := range t.shards {
		parents[sh.parent] = true
	}
	for _, sh := range t.shards {
		if sh.done && !parents[sh.id] || !sh.done && !(sh.ready() && sh.tip) {
			return false
		}
	}
	return len(t.shards) > 0 && !t.relist
}

// discover finds the data tables and the shards of their streams, where there is an occasion. Its errors are those of writes.
func (s *sequencer) discover(ctx context.Context) error {
	if time.Since(s.discovered) >= s.cfg.TablesEvery {
		s.discovered = time.Now()
		if err := s.findTables(ctx); err != nil {
			return err
		}
	}
	for _, t := range s.ordered() {
		pause := again
		if !t.tip() {
			pause = s.cfg.TablesEvery
		}
		if t.absent || !t.relist && time.Since(t.listed) < pause {
			continue
		}
		if err := s.list(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (s *sequencer) findTables(ctx context.Context) error {
	names, err := s.cfg.DataTables(ctx)
	if s.followsAll = err == nil; err != nil {
		if ctx.Err() != nil { // the sequencer's end is no trouble
			return ctx.Err()
		}
		s.log.WarnContext(ctx, "the data tables can't be listed; trying again", "error", err)
		return nil
	}
	for _, t := range s.tables {
		t.absent = !slices.Contains(names, t.name)
	}
	for _, name := range names {
		if s.tables[name] == nil {
			s.tables[name] = &table{name: name}
		}
		ok, err := s.describe(ctx, s.tables[name])
		if err != nil {
			return err
		}
		s.followsAll = s.followsAll && ok
	}
	return nil
}

// describe finds the table's stream. A table that has none can't be followed, and then nobody may believe that the log has everything.
func (s *sequencer) describe(ctx context.Context, t *table) (ok bool, err error) {
	if t.arn != "" && time.Since(t.described) < again {
		return true, nil
	}
	problem := ""
	out, err := s.cfg.DB.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.name})
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		problem = "the table can't be described: " + err.Error()
	case out.Table.LatestStreamArn == nil || out.Table.StreamSpecification == nil || !aws.ToBool(out.Table.StreamSpecification.StreamEnabled):
		problem = "the table has no stream"
	case out.Table.StreamSpecification.StreamViewType != types.StreamViewTypeNewAndOldImages && out.Table.StreamSpecification.StreamViewType != types.StreamViewTypeNewImage:
		problem = "the table's stream has no new images"
	}
	if problem != "" {
		if problem != t.problem {
			s.log.ErrorContext(ctx, "a data table can't be followed, and what its records become is read from the store; give it a stream with new and old images",
				"table", t.name, "problem", problem)
		}
		t.problem, t.absent = problem, true
		return false, nil
	}
	t.problem, t.absent, t.described = "", false, time.Now()
	switch arn := *out.Table.LatestStreamArn; t.arn {
	case arn:
		return true, nil
	case "":
		t.arn, t.from, t.phase = arn, s.held.end, scanning
		return true, s.begin(ctx, t)
	default:
		t.arn = arn
		return true, s.gap(ctx, t, "the table has another stream than before")
	}
}

// begin begins to read a table's stream from where it begins itself.
func (s *sequencer) begin(ctx context.Context, t *table) error {
	t.epoch++
	t.next, t.found, t.shards, t.relist = nil, nil, map[string]*shard{}, true
	if s.known == nil {
		s.known = map[identity]int64{}
	}
	return s.commit(ctx, s.held, s.put(t.row()))
}

// gap begins a table anew after records of its stream were lost: what they said is looked for in the table itself.
func (s *sequencer) gap(ctx context.Context, t *table, reason string) error {
	s.log.ErrorContext(ctx, "records of a stream are lost; the table is scanned for what they said, and versions in between stay out of the change log",
		"table", t.name, "reason", reason)
	t.from, t.phase = 0, scanning
	if err := s.begin(ctx, t); err != nil {
		return err
	}
	return s.loadKnown(ctx)
}

// list finds the shards of a table's stream. It keeps those that are new before anything is read from them, and drops those that the
// stream has forgotten.
func (s *sequencer) list(ctx context.Context, t *table) error {
	t.listed = time.Now()
	listed := map[string]string{} // parents by shard
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &t.arn}
	for {
		out, err := s.cfg.Streams.DescribeStream(ctx, in)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.relist, t.described = true, time.Time{}
			s.log.WarnContext(ctx, "a stream can't be described; trying again", "table", t.name, "error", err)
			return nil
		}
		for _, sh := range out.StreamDescription.Shards {
			listed[*sh.ShardId] = aws.ToString(sh.ParentShardId)
		}
		if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			break
		}
	}
	var writes []types.TransactWriteItem
	var added []*shard
	children := map[string]bool{}
	first := len(t.shards) == 0
	for id, parent := range listed {
		children[parent] = true
		if t.shards[id] != nil {
			continue
		}
		_, parentListed := listed[parent]
		if parent != "" && !first && !parentListed && t.shards[parent] == nil {
			return s.gap(ctx, t, "a shard appeared whose parent was never seen")
		}
		sh := s.newShard(t, id, parent)
		added = append(added, sh)
		writes = append(writes, s.put(sh.row(t)))
	}
	for id, sh := range t.shards {
		if _, ok := listed[id]; !ok && sh.done && children[id] {
			writes = append(writes, s.drop(sh.row(t)))
			delete(t.shards, id)
		}
	}
	if err := s.commitAll(ctx, writes); err != nil {
		return err
	}
	for _, sh := range added {
		t.shards[sh.id] = sh
	}
	t.relist = false
	return nil
}

// findings are records that the scan found, until the stream was read past the moment when it did.
type findings struct {
	entries []Entry
	at      time.Time
	next    item // where the scan goes on; nil at its end
}

// scanAtOnce is how many pages of the scan, of up to 1 MiB, are held at a time.
const scanAtOnce = 8

// bootstrap takes the next step towards a table of which the log has everything. Each finding is appended after the stream was read past it: so
// a version that the stream brings too comes from there, and only records that did not change lately come from the scan. Tip says that the
// stream was read to its tip in the round that began at began.
func (s *sequencer) bootstrap(ctx context.Context, t *table, tip bool, began time.Time) (busy bool, err error) {
	switch {
	case t.phase == settled || !tip:
		return false, nil
	case t.phase == settling:
		if time.Since(t.scanned) < s.cfg.Settle {
			return false, nil
		}
		t.phase = settled
		if err := s.commit(ctx, s.held, s.put(t.row())); err != nil {
			return false, err
		}
		if !slices.ContainsFunc(s.ordered(), func(t *table) bool { return t.phase != settled }) {
			s.known = nil
		}
		return false, nil
	case t.found == nil:
		t.found = s.scan(ctx, t)
		return t.found != nil && s.cfg.StreamLag < s.cfg.Poll, nil
	case began.Sub(t.found.at) < s.cfg.StreamLag:
		return false, nil
	}
	return true, s.appendFindings(ctx, t)
}

// scan looks for records behind t.next. It returns nil where the table can't be read now.
func (s *sequencer) scan(ctx context.Context, t *table) *findings {
	f := &findings{next: t.next}
	for range scanAtOnce {
		out, err := s.cfg.DB.Scan(ctx, &dynamodb.ScanInput{TableName: &t.name, ConsistentRead: aws.Bool(true), ExclusiveStartKey: f.next,
			ProjectionExpression: aws.String("pk, sk, #v"), ExpressionAttributeNames: map[string]string{"#v": "version"}})
		if err != nil {
			if ctx.Err() == nil {
				s.log.WarnContext(ctx, "a table can't be scanned; trying again", "table", t.name, "error", err)
			}
			return nil
		}
		for _, it := range out.Items {
			if version := int64(numberOf(it["version"])); version > 0 {
				f.entries = append(f.entries, Entry{PK: textOf(it, "pk"), SK: textOf(it, "sk"), Version: version})
			}
		}
		if f.next = out.LastEvaluatedKey; f.next == nil {
			break
		}
	}
	f.at = time.Now()
	return f
}

// appendFindings appends what the streams did not bring. How far the scan came moves with the last of it.
func (s *sequencer) appendFindings(ctx context.Context, t *table) error {
	w := s.write()
	for _, e := range t.found.entries {
		if w.full() {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
		w.entry(e)
	}
	if t.next = t.found.next; t.next == nil {
		t.phase, t.scanned = settling, time.Now()
		s.log.InfoContext(ctx, "a data table was scanned for the change log", "table", t.name)
	}
	t.found, w.row = nil, t.row()
	return w.flush(ctx)
}
