package dynamodb

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

func (e caller) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	l, err := e.enter(ctx, "dynamodb.Get")
	if err != nil {
		return nil, err
	}
	defer e.leave()
	return e.get(ctx, l, ref)
}

func (e caller) get(ctx context.Context, l *layout, ref driver.Ref) (*record.Record, error) {
	table, err := e.table(ref.Collection, ref.PK)
	if err != nil {
		return nil, err
	}
	out, err := e.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: l.keyOf(ref), ConsistentRead: aws.Bool(true)}, e.session(ref))
	if err != nil {
		return nil, translate(ctx, err, "dynamodb.Get")
	}
	if len(out.Item) == 0 {
		return nil, nil
	}
	return e.read(ctx, ref.Collection, ref.PK, out.Item, time.Now())
}

// expired reports whether a row counts as absent: only what the system keeps expires by itself.
func expired(c driver.Collection, r *record.Record, now time.Time) bool {
	return c == driver.System && r.TTL != 0 && r.TTL < now.Unix()
}

// read returns the record of an item of the partition pk, nil for one that has expired.
func (e *engine) read(ctx context.Context, c driver.Collection, pk string, it item, now time.Time) (*record.Record, error) {
	rec, pointer, err := decode(c, it)
	if err != nil || expired(c, rec, now) {
		return nil, err
	}
	rec.PK = pk
	if pointer != "" {
		rec.Attributes, err = e.loadBlob(ctx, rec, pointer)
	}
	return rec, err
}

func (e caller) BatchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	l, err := e.enter(ctx, "dynamodb.BatchGet")
	if err != nil {
		return nil, err
	}
	defer e.leave()
	return e.batchGet(ctx, l, refs)
}

// row names an item: no two refs of one table share it.
type row struct{ table, pk, sk string }

func (e caller) batchGet(ctx context.Context, l *layout, refs []driver.Ref) ([]*record.Record, error) {
	rows := make([]row, len(refs))
	for i, ref := range refs {
		table, err := e.table(ref.Collection, ref.PK)
		if err != nil {
			return nil, err
		}
		rows[i] = row{table, l.key(ref.PK, ref.SK), sortKey(ref)}
	}
	found, err := e.items(ctx, rows, e.session(refs...))
	if err != nil {
		return nil, err
	}
	recs, now := make([]*record.Record, len(refs)), time.Now()
	for i, ref := range refs {
		if it, ok := found[rows[i]]; ok {
			if recs[i], err = e.read(ctx, ref.Collection, ref.PK, it, now); err != nil {
				return nil, err
			}
		}
	}
	return recs, nil
}

// items reads at most driver.MaxBatch rows, and asks again for those that the server had no capacity for.
func (s server) items(ctx context.Context, rows []row, how ...func(*dynamodb.Options)) (map[row]item, error) {
	asked := make(map[row]bool, len(rows))
	request := make(map[string]types.KeysAndAttributes)
	for _, r := range rows {
		if asked[r] {
			continue
		}
		asked[r] = true
		keys := request[r.table]
		keys.ConsistentRead = aws.Bool(true)
		keys.Keys = append(keys.Keys, item{"pk": text(r.pk), "sk": text(r.sk)})
		request[r.table] = keys
	}
	found := make(map[row]item, len(asked))
	for attempt := 0; len(request) > 0; {
		out, err := s.db.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: request}, how...)
		if err != nil {
			return nil, translate(ctx, err, "dynamodb.BatchGet")
		}
		got := 0
		for table, items := range out.Responses {
			for _, it := range items {
				d := decoder{it: it}
				found[row{table, d.text("pk"), d.text("sk")}] = it
				got++
			}
		}
		if request = out.UnprocessedKeys; len(request) == 0 {
			break
		}
		if attempt++; got > 0 { // an answer is cut at 16 MB, too; as long as there is progress it is worth waiting for
			attempt = 0
		} else if attempt == maxAttempts {
			return nil, translate(ctx, &types.ProvisionedThroughputExceededException{}, "dynamodb.BatchGet")
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (e caller) Range(ctx context.Context, r driver.Range) ([]*record.Record, error) {
	l, err := e.enter(ctx, "dynamodb.Range")
	if err != nil {
		return nil, err
	}
	defer e.leave()
	table, err := e.table(r.Collection, r.PK)
	if err != nil {
		return nil, err
	}
	return e.rows(ctx, l, table, r)
}

// rows returns what r asks for. Where the partition is spread, its shards are read side by side and merged.
func (e caller) rows(ctx context.Context, l *layout, table string, r driver.Range) ([]*record.Record, error) {
	if to := upper(r); to != "" && lower(r) >= to {
		return nil, nil
	}
	var strands []*strand
	for _, key := range l.keys(r.PK) {
		strands = append(strands, &strand{caller: e, l: l, r: r, key: key, in: query(table, key, r), now: time.Now()})
	}
	var recs []*record.Record
	for len(recs) < r.Limit {
		if err := fill(ctx, strands, r.Limit-len(recs)); err != nil {
			return nil, err
		}
		if strands = slices.DeleteFunc(strands, func(s *strand) bool { return len(s.recs) == 0 }); len(strands) == 0 {
			break
		}
		first := slices.MinFunc(strands, func(a, b *strand) int {
			if r.Descending {
				a, b = b, a
			}
			return strings.Compare(a.recs[0].SK, b.recs[0].SK)
		})
		recs = append(recs, first.recs[0])
		first.recs = first.recs[1:]
	}
	return recs, nil
}

// strand is the rows of a range under one partition key, read as far as they are needed.
type strand struct {
	caller
	l     *layout
	r     driver.Range
	key   string
	in    *dynamodb.QueryInput
	now   time.Time
	recs  []*record.Record // the next ones
	ended bool             // there are no more behind them
}

// fill reads on, at once, where strands have no next row, given how many rows are still needed of all of them. A strand without one afterwards has ended.
func fill(ctx context.Context, strands []*strand, needed int) error {
	if len(strands) == 1 {
		return strands[0].fill(ctx, needed)
	}
	share := float64(needed) / float64(len(strands))
	var reading errgroup.Group
	for _, s := range strands {
		if len(s.recs) == 0 && !s.ended {
			reading.Go(func() error { return s.fill(ctx, int(share+2*math.Sqrt(share))+1) }) // a hash gives hardly any shard more than that
		}
	}
	return reading.Wait()
}

// fill reads pages until the strand has a next row, where there is one. A row at the sort key behind the range, which BETWEEN can't leave out, is
// none, nor is one that another service put under a shard's key that is not its own.
func (s *strand) fill(ctx context.Context, needed int) error {
	behind := upper(s.r)
	for len(s.recs) == 0 && !s.ended {
		s.in.Limit = aws.Int32(int32(min(needed+1, 10_000)))
		out, err := s.db.Query(ctx, s.in, s.session(driver.Ref{Collection: s.r.Collection, PK: s.r.PK}))
		if err != nil {
			return translate(ctx, err, "dynamodb.Range")
		}
		for _, it := range out.Items {
			rec, err := s.read(ctx, s.r.Collection, s.r.PK, it, s.now)
			if err != nil {
				return err
			}
			if rec != nil && (behind == "" || rec.SK != behind) && s.l.key(rec.PK, rec.SK) == s.key {
				s.recs = append(s.recs, rec)
			}
		}
		s.in.ExclusiveStartKey = out.LastEvaluatedKey
		s.ended = len(out.LastEvaluatedKey) == 0
		needed *= 2 // of a page of rows that are left out: there may be many
	}
	return nil
}

// query returns the query for what r asks for under a partition key, but for its limit. The range is not empty.
func query(table, key string, r driver.Range) *dynamodb.QueryInput {
	from, to := lower(r), upper(r)
	in := &dynamodb.QueryInput{TableName: &table, ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(!r.Descending),
		ExpressionAttributeValues: item{":pk": text(key)}}
	where := "pk = :pk"
	switch {
	case from != "" && to != "":
		where += " AND sk BETWEEN :from AND :to"
	case from != "":
		where += " AND sk >= :from"
	case to != "":
		where += " AND sk < :to"
	}
	for name, bound := range map[string]string{":from": from, ":to": to} {
		if bound != "" {
			in.ExpressionAttributeValues[name] = text(bound)
		}
	}
	in.KeyConditionExpression = &where
	if !r.IncludeDeleted {
		in.FilterExpression = aws.String("attribute_not_exists(isDeleted) OR isDeleted <> :deleted")
		in.ExpressionAttributeValues[":deleted"] = boolean(true)
	}
	return in
}

// lower returns the least sort key that r asks for, "" where every one is.
func lower(r driver.Range) string {
	least := max(r.Prefix, r.From)
	if r.After != "" && r.After >= least {
		return r.After + "\x00" // nothing stands between the two
	}
	return least
}

// upper returns the least sort key behind all that r asks for, "" where there is none.
func upper(r driver.Range) string {
	least := successor(r.Prefix)
	for _, bound := range []string{r.To, r.Before} {
		if bound != "" && (least == "" || bound < least) {
			least = bound
		}
	}
	return least
}

// successor returns the least text behind all that begin with prefix, "" where there is none. It is valid UTF-8, as
// every key of DynamoDB: the order of its bytes is the order of its characters.
func successor(prefix string) string {
	for prefix != "" {
		last, n := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-n]
		switch last {
		case utf8.MaxRune:
			continue
		case 0xd7ff: // surrogates follow, which no text holds
			last = 0xe000
		default:
			last++
		}
		return prefix + string(last)
	}
	return ""
}
