package dynamodb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

// blobSize is the length of attributes, in bytes of JSON, above which they stand in a blob.
const blobSize = 32 << 10

// pointerScheme begins what an item has instead of attributes that stand in a blob, "s3://bucket/key", as mbc-cqrs-serverless writes it.
const pointerScheme = "s3://"

// BlobStore keeps attributes that are too large for an item: an S3 bucket ([S3]) or a directory ([Directory]).
// Methods may be called concurrently. Errors are *fault.Error with Unavailable, or the context's own.
type BlobStore interface {
	// Bucket returns the name that pointers to blobs of this store have.
	Bucket() string

	// Put makes content the blob at key. When it returns nil, content survives the death of the process.
	Put(ctx context.Context, key string, content []byte) error

	// Get returns the blob at key. It fails with fault.NotFound where there is none.
	Get(ctx context.Context, key string) ([]byte, error)

	// List returns the blobs whose keys begin with prefix, in any order.
	List(ctx context.Context, prefix string) iter.Seq2[Blob, error]

	// Delete removes the blob at key, if there is one.
	Delete(ctx context.Context, key string) error
}

// Blob is a blob of a BlobStore, without its content.
type Blob struct {
	Key     string
	Written time.Time // last
}

// blobPrefix begins the keys of the blobs that this engine writes: ddb, as those of mbc-cqrs-serverless, then the prefix of the
// tables, then the tenant. They end in the SHA-256 of their content, so command, data and history of one state share one.
func (s server) blobPrefix() string { return "ddb/" + s.cfg.Prefix + "/" }

func (s server) blobKey(pk string, content []byte) string {
	_, rest, _ := strings.Cut(pk, record.Separator)
	owner, _, _ := strings.Cut(rest, record.Separator)
	sum := sha256.Sum256(content)
	return s.blobPrefix() + owner + "/" + hex.EncodeToString(sum[:]) + ".json"
}

// storeBlob writes the attributes of r to a blob where they are large, and returns the pointer to it; "" where they stay in the item.
func (s server) storeBlob(ctx context.Context, r *record.Record) (pointer string, err error) {
	if s.cfg.Blobs == nil || len(r.Attributes) <= blobSize {
		return "", nil
	}
	key := s.blobKey(r.PK, r.Attributes)
	if err := s.cfg.Blobs.Put(ctx, key, r.Attributes); err != nil {
		return "", err
	}
	return pointerScheme + s.cfg.Blobs.Bucket() + "/" + key, nil
}

// loadBlob returns the attributes of r, which a pointer names. Its bucket is not looked at: blobs move between buckets as a whole, and
// mbc-cqrs-serverless reads its own, too. Where they can't be read the cause, which is for the log, names record and place.
func (s server) loadBlob(ctx context.Context, r *record.Record, pointer string) (record.Attributes, error) {
	cause := fmt.Errorf("the attributes of %q stand in %q", r.ID(), pointer)
	if s.cfg.Blobs == nil {
		return nil, fault.Wrap(cause, fault.Unavailable, "dynamodb", "attributes of a record stand in a bucket, which the log names, and no blob store is configured; start with --blobs, or set dynamodb.Config.Blobs")
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(pointer, pointerScheme), "/")
	content, err := s.cfg.Blobs.Get(ctx, key)
	if errors.Is(err, fault.NotFound) {
		if bucket != s.cfg.Blobs.Bucket() {
			return nil, fault.Wrap(cause, fault.Unavailable, "dynamodb", "attributes of a record stand in another bucket than the blob store that is configured, and not in this one; the log names record and bucket: configure that one, or move its blobs here")
		}
		return nil, fault.Wrap(cause, fault.Internal, "dynamodb", "the blob that holds a record's attributes, which the log names, is missing from the blob store; restore it from a backup of the bucket")
	}
	if err != nil {
		return nil, err
	}
	a, err := record.ParseAttributes(content)
	if err != nil {
		return nil, fault.Wrap(fmt.Errorf("%w: %w", cause, err), fault.Internal, "dynamodb", "the blob that holds a record's attributes, which the log names, is not a JSON object")
	}
	return a, nil
}
