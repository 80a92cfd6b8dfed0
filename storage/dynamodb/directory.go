package dynamodb

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenantry/tenantry/fault"
)

// Directory returns a BlobStore in a directory, which processes of one machine may share; it is made when the first blob is written.
// Its pointers name it as the bucket.
func Directory(dir string) BlobStore { return directory(dir) }

type directory string

func (d directory) Bucket() string { return filepath.Base(string(d)) }

// path returns the file of a key: its name is the key's, with everything escaped that leads elsewhere.
func (d directory) path(key string) string { return filepath.Join(string(d), url.QueryEscape(key)) }

func (d directory) Put(ctx context.Context, key string, content []byte) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return unwritten(err)
	}
	f, err := os.CreateTemp(string(d), ".new-*")
	if err != nil {
		return unwritten(err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), d.path(key))
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		return unwritten(errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// sync makes the names in the directory survive a power cut.
func (d directory) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d directory) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(d.path(key))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.Wrap(err, fault.NotFound, "dynamodb.Directory", "there is no such blob")
	case err != nil:
		return nil, fault.Wrap(err, fault.Unavailable, "dynamodb.Directory", "a blob can't be read; check the directory of blobs")
	}
	return content, nil
}

func (d directory) List(ctx context.Context, prefix string) iter.Seq2[Blob, error] {
	return func(yield func(Blob, error) bool) {
		entries, err := os.ReadDir(string(d))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield(Blob{}, fault.Wrap(err, fault.Unavailable, "dynamodb.Directory", "the directory of blobs can't be read"))
			return
		}
		for _, entry := range entries {
			key, err := url.QueryUnescape(entry.Name())
			if err != nil || !strings.HasPrefix(key, prefix) {
				continue
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Blob{}, err)
				return
			}
			if !yield(Blob{Key: key, Written: info.ModTime()}, nil) {
				return
			}
		}
	}
}

func (d directory) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Remove(d.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unwritten(err)
	}
	return nil
}

func unwritten(err error) error {
	return fault.Wrap(err, fault.Unavailable, "dynamodb.Directory", "the directory of blobs can't be written; check its owner and its disk")
}
