package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

func largeRecord(sk string, kib int) *record.Record {
	return &record.Record{PK: "A#acme", SK: sk, Version: 1, Attributes: record.Attributes(`{"text":"` + strings.Repeat("x", kib<<10) + `"}`)}
}

// creates returns the batch that creates rec.
func creates(rec *record.Record) driver.Batch {
	absent := driver.Condition{Kind: driver.IfAbsent}
	return driver.Batch{Writes: []driver.Write{{Collection: driver.Command, Record: rec, If: absent}, {Collection: driver.Data, Record: rec, If: absent}}}
}

func keysOf(t testing.TB, blobs BlobStore, prefix string) (keys []string) {
	t.Helper()
	for blob, err := range blobs.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, blob.Key)
	}
	slices.Sort(keys)
	return keys
}

func TestLargeAttributesStandInABlob(t *testing.T) {
	cfg := empty(t)
	e := opened(t, cfg)
	for _, kib := range []int{31, 33, 3000} {
		rec := largeRecord("large", kib)
		if _, err := e.Commit(t.Context(), driver.Batch{Writes: []driver.Write{{Collection: driver.Data, Record: rec}, {Collection: driver.Command, Record: rec}}}); err != nil {
			t.Fatal(err)
		}
		table := cfg.Prefix + "-a-data"
		out, err := e.items(t.Context(), []row{{table, "A#acme", "large"}})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := plain(out[row{table, "A#acme", "large"}]["attributes"]).(string)
		if want := "S s3://" + cfg.Blobs.Bucket() + "/ddb/" + cfg.Prefix + "/acme/"; strings.HasPrefix(got, want) != (kib > 32) {
			t.Errorf("attributes of %d KiB are %.90s", kib, got)
		}
		for _, c := range []driver.Collection{driver.Data, driver.Command} {
			back, err := e.Get(t.Context(), driver.RefOf(c, rec))
			if err != nil || string(back.Attributes) != string(rec.Attributes) {
				t.Errorf("attributes of %d KiB don't come back from %v: %v", kib, c, err)
			}
		}
	}
	if keys := keysOf(t, cfg.Blobs, ""); len(keys) != 2 {
		t.Errorf("two states that differ have the blobs %v", keys)
	}
}

func TestWithoutABlobStore(t *testing.T) {
	cfg := empty(t)
	with := opened(t, cfg)
	if _, err := with.Commit(t.Context(), creates(largeRecord("elsewhere", 40))); err != nil {
		t.Fatal(err)
	}
	cfg.Blobs = nil
	e := opened(t, cfg)
	if _, err := e.Commit(t.Context(), creates(largeRecord("fits", 390))); err != nil {
		t.Errorf("attributes that an item takes: %v", err)
	}
	_, err := e.Commit(t.Context(), creates(largeRecord("too large", 400)))
	says(t, err, fault.TooLarge, "400 KB", "blob store")
	// What can't be read is in no list as if it weren't there; the log says where it is.
	for what, blobs := range map[string]BlobStore{"no blob store": nil, "another bucket": Directory(filepath.Join(t.TempDir(), "other"))} {
		e.cfg.Blobs = blobs
		_, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "elsewhere"})
		says(t, err, fault.Unavailable, what)
		_, listed := e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 10})
		says(t, listed, fault.Unavailable, what)
		for _, where := range []string{`"A#acme#elsewhere"`, pointerScheme + with.cfg.Blobs.Bucket() + "/ddb/"} {
			if strings.Contains(fault.As(err).Msg, where) || !strings.Contains(err.Error(), where) {
				t.Errorf("%s: shown is %q, in the log stands %q; want %s in the log only", what, fault.As(err).Msg, err, where)
			}
		}
	}
	e.cfg.Blobs = nil

	var many driver.Batch
	for i := range 12 {
		many.Writes = append(many.Writes, driver.Write{Collection: driver.Data, Record: largeRecord(string(rune('a'+i)), 380)})
	}
	_, err = e.Commit(t.Context(), many)
	says(t, err, fault.TooLarge, "4 MB")
	for i := range driver.MaxBatch {
		many.Writes = append(many.Writes, driver.Write{Collection: driver.Data, Record: &record.Record{PK: "A#acme", SK: fmt.Sprint(i), Version: 1}})
	}
	_, err = e.Commit(t.Context(), driver.Batch{Writes: many.Writes[11:]})
	says(t, err, fault.TooLarge, "100")
	if got, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "a"}); got != nil || err != nil {
		t.Errorf("a batch that is too large was written in part: %v", err)
	}
}

// TestBlobIsThereFirst has the blob store fail: nothing is written. And a lost blob is not taken for a lost record.
func TestBlobIsThereFirst(t *testing.T) {
	cfg := empty(t)
	blobs := cfg.Blobs
	cfg.Blobs = failing{blobs}
	e := opened(t, cfg)
	rec := largeRecord("1", 40)
	_, err := e.Commit(t.Context(), creates(rec))
	says(t, err, fault.Unavailable)
	if got, err := e.Get(t.Context(), driver.RefOf(driver.Data, rec)); got != nil || err != nil {
		t.Errorf("a row without its blob: %v, %v", got, err)
	}
	e.cfg.Blobs = blobs
	if _, err := e.Commit(t.Context(), creates(rec)); err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOf(t, blobs, "") {
		if err := blobs.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	_, err = e.Get(t.Context(), driver.RefOf(driver.Data, rec))
	says(t, err, fault.Internal, "missing")
	if errors.Is(err, fault.NotFound) {
		t.Errorf("a lost blob is told as a lost record: %v", err)
	}
}

type failing struct{ BlobStore }

func (failing) Put(context.Context, string, []byte) error {
	return fault.New(fault.Unavailable, "test", "the disk is full")
}

func TestCollect(t *testing.T) {
	cfg := empty(t)
	e := opened(t, cfg)
	kept, refused, gone := largeRecord("kept", 40), largeRecord("kept", 50), largeRecord("gone", 60)
	for _, rec := range []*record.Record{kept, gone} {
		if _, err := e.Commit(t.Context(), creates(rec)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Commit(t.Context(), creates(refused)); !isConflict(err) {
		t.Fatal(err)
	}
	if _, err := e.Commit(t.Context(), driver.Batch{Writes: []driver.Write{{Collection: driver.Data, Record: gone, Delete: true}, {Collection: driver.Command, Record: gone, Delete: true}}}); err != nil {
		t.Fatal(err)
	}
	const foreign = "ddb/other-product-data/PRODUCT#acme/1/01KF0E6KV390Q7XFGHGSM1CTCS.json"
	if err := cfg.Blobs.Put(t.Context(), foreign, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if n, err := Collect(t.Context(), cfg); n != 0 || err != nil {
		t.Errorf("blobs of today: %d deleted, %v", n, err)
	}
	if n, err := collect(t.Context(), cfg, time.Now().Add(time.Hour)); n != 2 || err != nil {
		t.Errorf("old blobs: %d deleted, %v; want 2", n, err)
	}
	keys := keysOf(t, cfg.Blobs, "")
	if len(keys) != 2 || !slices.Contains(keys, foreign) {
		t.Errorf("what is left is %v", keys)
	}
	if got, err := e.Get(t.Context(), driver.RefOf(driver.Data, kept)); err != nil || string(got.Attributes) != string(kept.Attributes) {
		t.Errorf("the record that stays: %v", err)
	}
	cfg.Blobs = nil
	_, err := Collect(t.Context(), cfg)
	says(t, err, fault.Unavailable, "blob store")
}

// bucket is as much of S3's protocol as a BlobStore needs: objects in memory, by path.
type bucket struct {
	mu      sync.Mutex
	objects map[string]string
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/bucket/")
	content, ok := b.objects[key]
	switch {
	case r.Method == http.MethodPut:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		b.objects[key] = string(body)
	case r.Method == http.MethodDelete:
		delete(b.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Query().Get("list-type") == "2":
		out := `<ListBucketResult><IsTruncated>false</IsTruncated>`
		for key := range b.objects {
			if strings.HasPrefix(key, r.URL.Query().Get("prefix")) {
				out += "<Contents><Key>" + key + "</Key><LastModified>2026-11-23T10:00:00.000Z</LastModified></Contents>"
			}
		}
		io.WriteString(w, out+`</ListBucketResult>`)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `<Error><Code>NoSuchKey</Code></Error>`)
	default:
		io.WriteString(w, content)
	}
}

func TestBlobStores(t *testing.T) {
	srv := httptest.NewServer(&bucket{objects: make(map[string]string)})
	defer srv.Close()
	client := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &srv.URL, UsePathStyle: true, HTTPClient: srv.Client(), Retryer: aws.NopRetryer{},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
	for name, blobs := range map[string]BlobStore{"directory": Directory(t.TempDir() + "/blobs"), "s3": S3(client, "bucket")} {
		t.Run(name, func(t *testing.T) {
			if keys := keysOf(t, blobs, ""); len(keys) != 0 {
				t.Errorf("an empty store has %v", keys)
			}
			const a, b = "ddb/x/../acme/1 #é%2F.json", "ddb/x/b"
			for _, content := range []string{"1", "2"} {
				if err := errors.Join(blobs.Put(t.Context(), a, []byte(content)), blobs.Put(t.Context(), b, nil)); err != nil {
					t.Fatal(err)
				}
				if got, err := blobs.Get(t.Context(), a); err != nil || string(got) != content {
					t.Errorf("got %q, %v; want %q", got, err, content)
				}
			}
			if keys := keysOf(t, blobs, "ddb/x/"); !slices.Equal(keys, []string{a, b}) {
				t.Errorf("keys are %q", keys)
			}
			if err := errors.Join(blobs.Delete(t.Context(), a), blobs.Delete(t.Context(), a)); err != nil {
				t.Error(err)
			}
			if _, err := blobs.Get(t.Context(), a); !errors.Is(err, fault.NotFound) {
				t.Errorf("a blob that was deleted: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := blobs.Put(ctx, a, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("a context that is done: %v", err)
			}
		})
	}
}
