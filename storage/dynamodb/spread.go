package dynamodb

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb/changelog"
	"github.com/tenantry/tenantry/tenant"
)

// Shards says over how many partition keys the partitions of an entity type are spread.
type Shards struct {
	Type   record.EntityType
	Tenant tenant.Code // the one tenant that it is said of. Defaults to all of which nothing of their own is said.
	Count  int         // 2 to 100
}

// MaxShards bounds how many queries a list is made of.
const MaxShards = 100

// Spread spreads partitions over several partition keys, each of which takes what DynamoDB gives one, 1,000 write units a second. A list of
// such a partition is a query for each key. It is said once, in the store, to all processes; they need not know of it, nor be
// stopped: for a minute they learn of it and refuse commits to these partitions with fault.Unavailable. A store that nobody has opened yet has its
// shards after five seconds.
// Words of what the system keeps can be spread too: RECEIPT, where a tenant's publishes with receipts are so many. Other services
// on the same tables don't find what is spread.
//
// What was said before is said again without effect, also to end what was interrupted. Spread fails with fault.InvalidRequest for a count
// that is none and for the change feed's own words; with fault.AlreadyExists where the partitions have rows, or are spread over another number: copy such a
// store into another; and with fault.Unavailable where somebody else spreads at the same time, or the server can't be reached.
func Spread(ctx context.Context, cfg Config, shards ...Shards) error {
	asked := make(map[string]int, len(shards))
	for _, s := range shards {
		name, err := s.name()
		if err != nil {
			return err
		}
		asked[name] = s.Count
	}
	if len(asked) == 0 {
		return nil
	}
	s, err := connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.close()
	l, err := s.look(ctx, "dynamodb.Spread")
	if err != nil {
		return err
	}
	for name, n := range asked {
		if have, ok := l.spread[name]; ok && have != n {
			return spreadAlready(name, have)
		}
	}
	maps.DeleteFunc(asked, func(name string, _ int) bool { return l.spread[name] > 0 })
	if len(asked) == 0 {
		return nil
	}
	return s.spread(ctx, l, asked)
}

// spread makes what is asked part of the layout l.
func (s server) spread(ctx context.Context, l *layout, asked map[string]int) error {
	spread := maps.Clone(l.spread)
	maps.Copy(spread, asked)
	if err := s.unused(ctx, l, spread); err != nil {
		return err
	}
	maps.Copy(l.coming, asked)
	if err := s.keep(ctx, l); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	err := s.unused(ctx, l, spread) // a commit that was under way may have come
	if err == nil {
		l.spread = spread
	}
	maps.DeleteFunc(l.coming, func(name string, _ int) bool { return asked[name] > 0 })
	return errors.Join(err, s.keep(ctx, l))
}

// settle waits until every process that has the store open has seen what is coming, and what it sent before has arrived or never will.
func (s server) settle(ctx context.Context) error {
	if err := rested(ctx, s.cfg.layoutTerm()); err != nil {
		return err
	}
	if opened, err := s.opened(ctx); err != nil || !opened {
		return err
	}
	return rested(ctx, (terms-1)*s.cfg.layoutTerm())
}

// name is that of the layout's entry.
func (s Shards) name() (string, error) {
	switch {
	case s.Type.IsZero():
		return "", fault.New(fault.InvalidRequest, "dynamodb.Spread", "name the entity type whose partitions are to be spread")
	case s.Count < 2 || s.Count > MaxShards:
		return "", fault.New(fault.InvalidRequest, "dynamodb.Spread", "partitions are spread over 2 to %d keys", MaxShards)
	case changelog.Owns(s.Type.String() + record.Separator + "common"), layoutPK == s.Type.String()+record.Separator+"common":
		return "", fault.New(fault.InvalidRequest, "dynamodb.Spread", "%s is the change feed's own; it can't be spread", s.Type)
	case s.Tenant.IsZero():
		return s.Type.String(), nil
	}
	return s.Type.String() + record.Separator + s.Tenant.String(), nil
}

func spreadAlready(name string, n int) error {
	return fault.New(fault.AlreadyExists, "dynamodb.Spread", "%s is spread over %d keys already; copy the store into one whose tables are spread otherwise", name, n)
}

// opened reports whether the system's table has a row beside the layout: whoever opens the store leaves one in its first moments.
func (s server) opened(ctx context.Context) (bool, error) {
	keys, err := s.partitionKeys(ctx, s.systemTable())
	return slices.ContainsFunc(keys, func(pk string) bool { return pk != layoutPK }), err
}

// unused fails where a partition has rows that would stand elsewhere if partitions were spread otherwise than in l.
func (s server) unused(ctx context.Context, l *layout, spread map[string]int) error {
	var types []string
	for name := range spread {
		kind, _, _ := strings.Cut(name, record.Separator)
		types = append(types, kind)
	}
	wanted, err := s.wanted(types)
	if err != nil {
		return err
	}
	for _, c := range driver.Collections() {
		tables, err := s.tables(ctx, c)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if !slices.Contains(wanted, wantedTable{table, c}) {
				continue
			}
			keys, err := s.partitionKeys(ctx, table)
			if err != nil {
				return err
			}
			for _, key := range keys {
				if pk := l.pk(key); shardsOf(l.spread, pk) != shardsOf(spread, pk) {
					return fault.New(fault.AlreadyExists, "dynamodb.Spread", "a partition that is to be spread has rows in %s; copy the store into one whose tables are spread before", table)
				}
			}
		}
	}
	return nil
}

// keep writes l, if nobody has written it since it was read.
func (s server) keep(ctx context.Context, l *layout) error {
	table := s.systemTable()
	it := item{"pk": text(layoutPK), "sk": text(layoutSK), "version": number(strconv.FormatInt(l.version+1, 10)), "spread": countsItem(l.spread), "coming": countsItem(l.coming)}
	in := &dynamodb.PutItemInput{TableName: &table, Item: it, ConditionExpression: aws.String("attribute_not_exists(pk)")}
	if l.version > 0 {
		in.ConditionExpression, in.ExpressionAttributeNames = aws.String("#version = :version"), map[string]string{"#version": "version"}
		in.ExpressionAttributeValues = item{":version": number(strconv.FormatInt(l.version, 10))}
	}
	_, err := s.db.PutItem(ctx, in)
	if _, failed := errors.AsType[*types.ConditionalCheckFailedException](err); failed {
		return fault.Wrap(err, fault.Unavailable, "dynamodb.Spread", "somebody else spreads partitions of this store; try again when that has ended")
	}
	l.version++
	return translate(ctx, err, "dynamodb.Spread")
}

// rested waits.
func rested(ctx context.Context, wait time.Duration) error {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
