package dynamodb

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
)

// orphanAge is how old a blob is before it is looked at: a commit writes its blobs first, and is made long before.
const orphanAge = 24 * time.Hour

// Collect deletes the blobs that this engine wrote and no item points to, a day after they were last written, and returns how many:
// what is left of commits that were refused, and of rows that were deleted or have expired. Blobs of other services stay. It scans
// all tables, and may run while the store is used: writing a blob again makes it new. It fails with fault.Unavailable.
func Collect(ctx context.Context, cfg Config) (deleted int, err error) {
	return collect(ctx, cfg, time.Now().Add(-orphanAge))
}

func collect(ctx context.Context, cfg Config, before time.Time) (deleted int, err error) {
	if cfg.Blobs == nil {
		return 0, fault.New(fault.Unavailable, "dynamodb.Collect", "no blob store is configured; name the one whose orphans are to be deleted")
	}
	s, err := connect(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer s.close()
	old, err := s.blobs(ctx, s.blobPrefix(), before)
	if err != nil || len(old) == 0 {
		return 0, err
	}
	for _, c := range driver.Collections() {
		if err := s.strike(ctx, c, old); err != nil {
			return 0, err
		}
	}
	for key := range old {
		still, err := s.blobs(ctx, key, before) // unless a commit has written it since
		if err == nil && still[key] {
			if err = s.cfg.Blobs.Delete(ctx, key); err == nil {
				deleted++
			}
		}
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// blobs returns the keys that begin with a prefix of the blobs last written before a time.
func (s server) blobs(ctx context.Context, prefix string, before time.Time) (map[string]bool, error) {
	keys := make(map[string]bool)
	for blob, err := range s.cfg.Blobs.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if blob.Written.Before(before) {
			keys[blob.Key] = true
		}
	}
	return keys, nil
}

// strike removes from keys those that items of a collection point to.
func (s server) strike(ctx context.Context, c driver.Collection, keys map[string]bool) error {
	tables, err := s.tables(ctx, c)
	if err != nil {
		return err
	}
	for _, table := range tables {
		in := &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true), ProjectionExpression: aws.String("attributes"),
			FilterExpression: aws.String("begins_with(attributes, :scheme)"), ExpressionAttributeValues: item{":scheme": text(pointerScheme)}}
		for pages := dynamodb.NewScanPaginator(s.db, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return translate(ctx, err, "dynamodb.Collect")
			}
			for _, it := range page.Items {
				if p, ok := it["attributes"].(*types.AttributeValueMemberS); ok {
					_, key, _ := strings.Cut(strings.TrimPrefix(p.Value, pointerScheme), "/")
					delete(keys, key)
				}
			}
		}
	}
	return nil
}
