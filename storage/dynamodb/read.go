package dynamodb

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

func (e *engine) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	if err := e.enter(ctx, "dynamodb.Get"); err != nil {
		return nil, err
	}
	defer e.leave()
	return e.get(ctx, ref)
}

func (e *engine) get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	table, err := e.table(ref.Collection, ref.PK)
	if err != nil {
		return nil, err
	}
	out, err := e.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: keyOf(ref), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, translate(ctx, err, "dynamodb.Get")
	}
	if len(out.Item) == 0 {
		return nil, nil
	}
	return e.read(ctx, ref.Collection, out.Item, time.Now())
}

// expired reports whether a row counts as absent: only what the system keeps expires by itself.
func expired(c driver.Collection, r *record.Record, now time.Time) bool {
	return c == driver.System && r.TTL != 0 && r.TTL < now.Unix()
}

// read returns the record of an item, nil for one that has expired.
func (e *engine) read(ctx context.Context, c driver.Collection, it item, now time.Time) (*record.Record, error) {
	rec, pointer, err := decode(c, it)
	if err != nil || expired(c, rec, now) {
		return nil, err
	}
	if pointer != "" {
		rec.Attributes, err = e.loadBlob(ctx, pointer)
	}
	return rec, err
}

func (e *engine) BatchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	if err := e.enter(ctx, "dynamodb.BatchGet"); err != nil {
		return nil, err
	}
	defer e.leave()
	return e.batchGet(ctx, refs)
}

// row names an item: no two refs of one table share it.
type row struct{ table, pk, sk string }

func (e *engine) batchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	rows := make([]row, len(refs))
	for i, ref := range refs {
		table, err := e.table(ref.Collection, ref.PK)
		if err != nil {
			return nil, err
		}
		rows[i] = row{table, ref.PK, sortKey(ref)}
	}
	found, err := e.items(ctx, rows)
	if err != nil {
		return nil, err
	}
	recs, now := make([]*record.Record, len(refs)), time.Now()
	for i, ref := range refs {
		if it, ok := found[rows[i]]; ok {
			if recs[i], err = e.read(ctx, ref.Collection, it, now); err != nil {
				return nil, err
			}
		}
	}
	return recs, nil
}

// items reads at most driver.MaxBatch rows, and asks again for those that the server had no capacity for.
func (s server) items(ctx context.Context, rows []row) (map[row]item, error) {
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
		out, err := s.db.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: request})
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

func (e *engine) Range(ctx context.Context, r driver.Range) ([]*record.Record, error) {
	if err := e.enter(ctx, "dynamodb.Range"); err != nil {
		return nil, err
	}
	defer e.leave()
	table, err := e.table(r.Collection, r.PK)
	if err != nil {
		return nil, err
	}
	in, any := query(table, r)
	if !any {
		return nil, nil
	}
	return e.rows(ctx, r.Collection, in, r.Limit, upper(r))
}

// rows reads pages of a query until there are limit rows or no more. A row at the sort key behind, which BETWEEN can't leave out,
// is none of them.
func (e *engine) rows(ctx context.Context, c driver.Collection, in *dynamodb.QueryInput, limit int, behind string) ([]*record.Record, error) {
	var recs []*record.Record
	now := time.Now()
	for {
		in.Limit = aws.Int32(int32(min(limit-len(recs)+1, 10_000)))
		out, err := e.db.Query(ctx, in)
		if err != nil {
			return nil, translate(ctx, err, "dynamodb.Range")
		}
		for _, it := range out.Items {
			rec, err := e.read(ctx, c, it, now)
			if err != nil {
				return nil, err
			}
			if rec == nil || behind != "" && rec.SK == behind {
				continue
			}
			if recs = append(recs, rec); len(recs) == limit {
				return recs, nil
			}
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return recs, nil
		}
	}
}

// query returns the query for what r asks for, but for its limit; any is false where that is nothing.
func query(table string, r driver.Range) (in *dynamodb.QueryInput, any bool) {
	from, to := lower(r), upper(r)
	if to != "" && from >= to {
		return nil, false
	}
	in = &dynamodb.QueryInput{TableName: &table, ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(!r.Descending),
		ExpressionAttributeValues: item{":pk": text(r.PK)}}
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
	return in, true
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
