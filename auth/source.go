package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxDocument is the size of the largest key set, or discovery document, that is read, in bytes.
const maxDocument = 1 << 20

// KeySource says where an issuer's public keys are: a [KeyFile], a [KeyURL], [Discovery], a [KeySet], or a [*Keyring].
type KeySource interface {
	// open returns the keys at work. It fails for what can't become right by waiting.
	open(env environment) (keys, error)
}

// environment is what a source of keys works with.
type environment struct {
	issuer    string
	now       func() time.Time
	log       *slog.Logger
	transport http.RoundTripper
}

// keys are an issuer's keys at work. They may be used concurrently.
type keys interface {
	// current returns the keys in force. It costs a few nanoseconds, but where they are due to be looked at again. It
	// fails with fault.Unavailable as long as there never were any.
	current(ctx context.Context, now time.Time) (*keySet, error)

	// missed looks for keys newer than current, because a token names one that isn't among them, and returns the keys
	// then in force.
	missed(ctx context.Context, now time.Time) (*keySet, error)

	// close ends what runs in the background, and returns when it has ended.
	close()
}

// KeySet is the text of a JWK set, which never changes. NewVerifier fails where it holds no usable key.
type KeySet string

func (s KeySet) open(env environment) (keys, error) {
	set, err := loadKeySet([]byte(s), env.log.With("issuer", env.issuer))
	if err == nil && set.isEmpty() {
		err = errors.New("the key set holds no key that can be used")
	}
	if err != nil {
		return nil, err
	}
	return heldKeys{set}, nil
}

type heldKeys struct{ set *keySet }

func (k heldKeys) current(context.Context, time.Time) (*keySet, error) { return k.set, nil }

func (k heldKeys) missed(context.Context, time.Time) (*keySet, error) { return k.set, nil }

func (k heldKeys) close() {}

// KeyFile is the path of a JWK set in a file. NewVerifier fails where it can't be read or holds no usable key. A change
// of the file counts within a second, by the first token after it; a file that went bad, or away, is logged, and the
// keys read last stay in force. Replace the file by renaming another over it.
type KeyFile string

func (f KeyFile) open(env environment) (keys, error) {
	k := &fileKeys{path: string(f), log: env.log.With("issuer", env.issuer, "jwks", string(f))}
	if err := k.reload(); err != nil {
		return nil, err
	}
	if k.set.Load().isEmpty() {
		return nil, fmt.Errorf("%s holds no key that can be used", k.path)
	}
	k.looked.Store(env.now().UnixNano())
	return k, nil
}

// fileEvery is how often a file of keys is looked at.
const fileEvery = time.Second

type fileKeys struct {
	path string
	log  *slog.Logger
	set  atomic.Pointer[keySet]

	looked atomic.Int64 // when it was looked at last, in Unix nanoseconds

	mu   sync.Mutex // held while looking
	read os.FileInfo
	last string // what was logged last, so that it isn't logged every second
}

func (k *fileKeys) current(_ context.Context, now time.Time) (*keySet, error) {
	since := time.Duration(now.UnixNano() - k.looked.Load())
	if (since >= fileEvery || since < 0) && k.mu.TryLock() { // below 0 the clock was set back
		k.looked.Store(now.UnixNano())
		problem := ""
		if err := k.reload(); err != nil {
			problem = err.Error()
		}
		if problem != "" && problem != k.last {
			k.log.Warn("the file of keys is bad; the keys read last stay in force", "error", problem)
		}
		k.last = problem
		k.mu.Unlock()
	}
	return k.set.Load(), nil
}

func (k *fileKeys) missed(ctx context.Context, now time.Time) (*keySet, error) {
	return k.current(ctx, now)
}

func (k *fileKeys) close() {}

// reload reads the file if it is another one than the one read last.
func (k *fileKeys) reload() error {
	f, err := os.Open(k.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if isSame(info, k.read) {
		return nil
	}
	text, err := readDocument(f)
	if err != nil {
		return err
	}
	set, err := loadKeySet(text, k.log)
	if err != nil {
		return err
	}
	k.set.Store(set)
	k.read = info
	return nil
}

// isSame reports whether a file is the one that was read, which is nil for none, and unchanged since.
func isSame(info, read os.FileInfo) bool {
	return read != nil && os.SameFile(info, read) && info.Size() == read.Size() && info.Mode() == read.Mode() && info.ModTime().Equal(read.ModTime())
}

// readDocument returns all that r holds. It fails beyond maxDocument.
func readDocument(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(text) > maxDocument {
		err = fmt.Errorf("it is larger than %d bytes", maxDocument)
	}
	return text, err
}

// loadKeySet parses a key set and logs the keys that are left out.
func loadKeySet(text []byte, log *slog.Logger) (*keySet, error) {
	set, ignored, err := parseKeySet(text)
	for _, reason := range ignored {
		log.Warn("a key can't be used and is left out", "reason", reason.Error())
	}
	if err == nil && set.isEmpty() {
		log.Warn("the key set holds no key that can be used; no token of the issuer can be verified")
	}
	return set, err
}
