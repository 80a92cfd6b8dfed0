package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// How often keys are fetched. All of it follows from the clock and the configuration: a token can bring a fetch forward,
// once in missEvery, and change nothing else about it.
const (
	refreshEvery = 5 * time.Minute  // while fetching succeeds
	retryEvery   = 10 * time.Second // after it failed
	missEvery    = 10 * time.Second // because of tokens that name keys that aren't there
	fetchTimeout = 5 * time.Second  // for one fetch, discovery included
)

// KeyURL is the URL of a JWK set: https, or http on a loopback address. The keys are fetched when the first token comes,
// again every five minutes while tokens come, beside the requests and not inside them, and when a token names a key
// that isn't among them, at most every ten seconds. One fetch runs at a time; it takes five seconds and a mebibyte at most,
// and follows no redirect. While fetching fails, the keys fetched last stay in force.
type KeyURL string

func (u KeyURL) open(env environment) (keys, error) {
	if _, err := checkURL(string(u)); err != nil {
		return nil, err
	}
	return newRemoteKeys(env, func(ctx context.Context, c *http.Client) ([]byte, error) {
		return fetch(ctx, c, string(u))
	}), nil
}

// Discovery finds the key set by OpenID Connect Discovery 1.0, for an issuer whose name is a URL: the document at
// NAME/.well-known/openid-configuration must name the issuer itself, byte for byte, and the URL of its key set, which
// is then fetched as KeyURL says.
type Discovery struct{}

func (Discovery) open(env environment) (keys, error) {
	base, err := checkURL(env.issuer)
	if err != nil {
		return nil, fmt.Errorf("the issuer has no jwks and is no URL to discover it from: %w", err)
	}
	return newRemoteKeys(env, func(ctx context.Context, c *http.Client) ([]byte, error) {
		text, err := fetch(ctx, c, strings.TrimSuffix(env.issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, err
		}
		var found struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(text, &found); err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
		if found.Issuer != env.issuer {
			return nil, errors.New("discovery: the document is that of another issuer")
		}
		at, err := checkURL(found.Keys)
		if err != nil {
			return nil, fmt.Errorf("discovery: jwks_uri: %w", err)
		}
		if base.Scheme == "https" && at.Scheme != "https" {
			return nil, errors.New("discovery: jwks_uri: an https issuer has its keys at https")
		}
		return fetch(ctx, c, found.Keys)
	}), nil
}

// checkURL returns the URL that text spells: https, or http on a loopback address, with a host and without user or fragment.
func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("%q is not a plain URL with a host", text)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%q is neither https nor http on a loopback address", text)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// fetch returns the body of a 200 answer.
func fetch(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return readDocument(resp.Body)
}

// remoteKeys are keys that are fetched.
type remoteKeys struct {
	load  func(context.Context, *http.Client) ([]byte, error)
	http  *http.Client
	now   func() time.Time
	log   *slog.Logger
	state atomic.Pointer[fetched]

	mu     sync.Mutex
	flight chan struct{} // closed when the running fetch has ended; nil while none runs
	missAt time.Time     // when tokens that name unknown keys may bring a fetch forward again

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// fetched is what the last fetch left.
type fetched struct {
	set  *keySet           // nil until one succeeded
	text [sha256.Size]byte // what set was parsed from
	due  time.Time
}

func newRemoteKeys(env environment, load func(context.Context, *http.Client) ([]byte, error)) *remoteKeys {
	r := &remoteKeys{load: load, now: env.now, log: env.log.With("issuer", env.issuer)}
	r.http = &http.Client{
		Transport:     env.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r.state.Store(&fetched{})
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// current returns the keys fetched last. Where they are due it has them fetched in the background. It waits for that
// only if there are none yet, or if they are so old, because no token came, that a key removed since might still be
// among them.
func (r *remoteKeys) current(ctx context.Context, now time.Time) (*keySet, error) {
	s := r.state.Load()
	if now.Before(s.due) {
		return s.keys()
	}
	r.mu.Lock()
	flight := r.start()
	r.mu.Unlock()
	if s.set != nil && now.Sub(s.due) < refreshEvery {
		return s.set, nil
	}
	return r.wait(ctx, flight)
}

func (r *remoteKeys) missed(ctx context.Context, now time.Time) (*keySet, error) {
	r.mu.Lock()
	if r.flight == nil && now.Before(r.missAt) {
		r.mu.Unlock()
		return r.state.Load().keys()
	}
	r.missAt = now.Add(missEvery)
	flight := r.start()
	r.mu.Unlock()
	return r.wait(ctx, flight)
}

// start begins a fetch unless one runs, and returns what is closed when it has ended. r.mu is held.
func (r *remoteKeys) start() <-chan struct{} {
	if r.flight != nil {
		return r.flight
	}
	flight := make(chan struct{})
	if r.ctx.Err() != nil {
		close(flight)
		return flight
	}
	r.flight = flight
	r.wg.Go(func() {
		r.refresh()
		r.mu.Lock()
		r.flight = nil
		r.mu.Unlock()
		close(flight)
	})
	return flight
}

func (r *remoteKeys) refresh() {
	ctx, cancel := context.WithTimeout(r.ctx, fetchTimeout)
	defer cancel()
	next := *r.state.Load()
	text, err := r.load(ctx, r.http)
	if sum := sha256.Sum256(text); err == nil && (next.set == nil || sum != next.text) { // else what was verified stays so
		var set *keySet
		if set, err = loadKeySet(text, r.log); err == nil {
			next.set, next.text = set, sum
		}
	}
	next.due = r.now().Add(refreshEvery)
	if err != nil {
		r.log.Warn("the keys can't be fetched; those fetched last stay in force", "error", err.Error())
		next.due = r.now().Add(retryEvery)
	}
	r.state.Store(&next)
}

func (r *remoteKeys) wait(ctx context.Context, flight <-chan struct{}) (*keySet, error) {
	select {
	case <-flight:
		return r.state.Load().keys()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
}

func (r *remoteKeys) close() {
	r.cancel()
	r.mu.Lock() // a fetch that began before the end of ctx is counted in wg from here on
	r.mu.Unlock()
	r.wg.Wait()
}

// keys returns the keys fetched last.
func (s *fetched) keys() (*keySet, error) {
	if s.set == nil {
		return nil, unavailable(errors.New("they have not been fetched yet"))
	}
	return s.set, nil
}
