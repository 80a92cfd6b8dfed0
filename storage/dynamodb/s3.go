package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/tenantry/tenantry/fault"
)

// S3 returns a BlobStore in an S3 bucket, which is there already: the bucket of mbc-cqrs-serverless, where its tables are
// shared. The client is the caller's, with its region, credentials and, for a local server, endpoint and path style.
func S3(client *s3.Client, bucket string) BlobStore { return bucketStore{client, bucket} }

type bucketStore struct {
	client *s3.Client
	bucket string
}

func (b bucketStore) Bucket() string { return b.bucket }

func (b bucketStore) Put(ctx context.Context, key string, content []byte) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.bucket, Key: &key, Body: bytes.NewReader(content), ContentType: aws.String("application/json")})
	return b.translate(ctx, err)
}

func (b bucketStore) Get(ctx context.Context, key string) (content []byte, err error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: &key})
	if _, missing := errors.AsType[*types.NoSuchKey](err); missing {
		return nil, fault.Wrap(err, fault.NotFound, "dynamodb.S3", "there is no such blob")
	}
	if err != nil {
		return nil, b.translate(ctx, err)
	}
	content, err = io.ReadAll(out.Body)
	return content, b.translate(ctx, errors.Join(err, out.Body.Close()))
}

func (b bucketStore) List(ctx context.Context, prefix string) iter.Seq2[Blob, error] {
	return func(yield func(Blob, error) bool) {
		for pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: &prefix}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(Blob{}, b.translate(ctx, err))
				return
			}
			for _, o := range page.Contents {
				if !yield(Blob{Key: aws.ToString(o.Key), Written: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

func (b bucketStore) Delete(ctx context.Context, key string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: &key})
	return b.translate(ctx, err)
}

func (b bucketStore) translate(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "dynamodb.S3", "the bucket of blobs can't be used; check its name, its region and the credentials, then try again")
	}
	return nil
}
