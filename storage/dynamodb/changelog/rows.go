package changelog

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/fault"
)

// The partitions of the log in the system table, and the kinds of rows in the second.
const (
	blocks     = "FEED#common"       // the log: under the number of its last entry, 1 to 100 entries
	state      = "FEED_STATE#common" // the sequencer's
	leaseKey   = "LEASE"
	tableKind  = "TABLE#" // and the table's name
	shardKind  = "SHARD#" // and the table's name, #, and the shard's
	blockSize  = 100
	numberForm = "%020d"
)

// Owns reports whether the rows of a partition of the system table are the log's own, which are no records.
func Owns(pk string) bool { return pk == blocks || pk == state }

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func flag(b bool) types.AttributeValue { return &types.AttributeValueMemberBOOL{Value: b} }

func number[N ~int64 | ~uint64](n N) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: fmt.Sprint(n)}
}

func key(pk, sk string) item { return item{"pk": text(pk), "sk": text(sk)} }

func textOf(it item, name string) string {
	if v, ok := it[name].(*types.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

func flagOf(it item, name string) bool {
	v, ok := it[name].(*types.AttributeValueMemberBOOL)
	return ok && v.Value
}

func numberOf(v types.AttributeValue) uint64 {
	n, ok := v.(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	parsed, err := strconv.ParseUint(n.Value, 10, 64)
	if err != nil {
		return 0
	}
	return parsed
}

// block returns the item that holds entries, the last of which has number last.
func block(entries []Entry, last uint64) item {
	list := make([]types.AttributeValue, len(entries))
	for i, e := range entries {
		list[i] = &types.AttributeValueMemberL{Value: []types.AttributeValue{text(e.PK), text(e.SK), number(e.Version)}}
	}
	it := key(blocks, fmt.Sprintf(numberForm, last))
	it["entries"] = &types.AttributeValueMemberL{Value: list}
	return it
}

func entriesOf(it item) ([]Entry, error) {
	last, err := strconv.ParseUint(textOf(it, "sk"), 10, 64)
	list, ok := it["entries"].(*types.AttributeValueMemberL)
	if err != nil || !ok || uint64(len(list.Value)) > last {
		return nil, corrupt(textOf(it, "sk"))
	}
	entries := make([]Entry, len(list.Value))
	for i, v := range list.Value {
		row, ok := v.(*types.AttributeValueMemberL)
		if !ok || len(row.Value) != 3 {
			return nil, corrupt(textOf(it, "sk"))
		}
		pk, isText := row.Value[0].(*types.AttributeValueMemberS)
		sk, isTextToo := row.Value[1].(*types.AttributeValueMemberS)
		if !isText || !isTextToo {
			return nil, corrupt(textOf(it, "sk"))
		}
		entries[i] = Entry{Number: last - uint64(len(list.Value)) + 1 + uint64(i), PK: pk.Value, SK: sk.Value, Version: int64(numberOf(row.Value[2]))}
	}
	return entries, nil
}

func corrupt(sk string) error {
	return fault.New(fault.Internal, "changelog.Read", "the block %s of the change log is not what the sequencer writes", sk)
}

func (l *Log) read(ctx context.Context, after uint64, limit int) ([]Entry, error) {
	var out []Entry
	next := after + 1
	size := limit/blockSize + 8 // blocks, which are full where there is much to read
	q := &dynamodb.QueryInput{TableName: &l.cfg.SystemTable, ConsistentRead: aws.Bool(true),
		KeyConditionExpression:    aws.String("pk = :pk AND sk > :after"),
		ExpressionAttributeValues: item{":pk": text(blocks), ":after": text(fmt.Sprintf(numberForm, after))}}
	for ; len(out) < limit; size *= 4 {
		q.Limit = aws.Int32(int32(min(size, 1000)))
		page, err := l.cfg.DB.Query(ctx, q)
		if err != nil {
			return nil, unavailable(ctx, err, "changelog.Read")
		}
		for _, it := range page.Items {
			entries, err := entriesOf(it)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if e.Number < next {
					continue
				}
				if e.Number > next {
					return nil, fault.New(fault.Internal, "changelog.Read", "entry %d of the change log is missing", next)
				}
				if next++; len(out) < limit {
					out = append(out, e)
				}
			}
		}
		if q.ExclusiveStartKey = page.LastEvaluatedKey; q.ExclusiveStartKey == nil {
			break
		}
	}
	return out, nil
}

// stateRows returns the sequencer's rows of one kind.
func (l *Log) stateRows(ctx context.Context, kind string) ([]item, error) {
	var rows []item
	q := &dynamodb.QueryInput{TableName: &l.cfg.SystemTable, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("pk = :pk AND begins_with(sk, :kind)"),
		ExpressionAttributeValues: item{":pk": text(state), ":kind": text(kind)}}
	for {
		page, err := l.cfg.DB.Query(ctx, q)
		if err != nil {
			return nil, unavailable(ctx, err, "changelog.Run")
		}
		rows = append(rows, page.Items...)
		if q.ExclusiveStartKey = page.LastEvaluatedKey; q.ExclusiveStartKey == nil {
			return rows, nil
		}
	}
}

// unavailable translates an error of a call, whose outcome is then not known where it wrote.
func unavailable(ctx context.Context, err error, op string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var failed *fault.Error
	if errors.As(err, &failed) {
		return failed
	}
	return fault.Wrap(err, fault.Unavailable, op, "the store can't be reached; try again")
}
