package auth

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/fault"
)

// SecretStore keeps rows of text for StoredKeys, sealed. It is used concurrently.
type SecretStore interface {
	// Load returns a row and its version; version 0 where there is none.
	Load(ctx context.Context, name string) (text []byte, version int64, err error)

	// Save makes text the row's version, if the version before it is still the newest; with 1, if there is no row. It fails with
	// fault.VersionConflict.
	Save(ctx context.Context, name string, text []byte, version int64) error
}

// keysRow is the name of the row that the keys are in: the content of keys.json, sealed.
const keysRow = "keys"

// Keys are the keys of a Keyring that is kept in a store that several processes share, sealed under a master key. Changes at
// the same time come one after the other. Methods fail with fault.InvalidRequest where another master key sealed the keys, with
// fault.Internal where they were damaged, and with what the store fails with.
type Keys struct {
	store  SecretStore
	master MasterKey
}

// StoredKeys returns the keys in a store. It reads nothing.
func StoredKeys(store SecretStore, master MasterKey) Keys { return Keys{store, master} }

// Keyring returns the Keyring. At the first start it makes the keys; of several processes that start at once one makes them
// and all use them.
func (k Keys) Keyring(ctx context.Context, opts KeyringOptions) (*Keyring, error) {
	ring := opts.keyring()
	s, version, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		if s, err = newSecrets(ring.now()); err != nil {
			return nil, err
		}
		err = k.save(ctx, s, 1)
		if version = 1; errors.Is(err, fault.VersionConflict) {
			s, version, err = k.load(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	ring.home = &row{keys: k, version: version}
	ring.looked.Store(ring.now().UnixNano())
	return ring, ring.use(s)
}

// List returns the keys, the newest first; none where there are none yet.
func (k Keys) List(ctx context.Context) ([]KeyInfo, error) {
	s, version, err := k.load(ctx)
	if err != nil || version == 0 {
		return nil, err
	}
	return s.list(time.Now()), nil
}

// Rotate makes a new key, which signs from then on, as RotateKey does. It fails with fault.NotFound where there are none yet.
func (k Keys) Rotate(ctx context.Context, overlap time.Duration) (key KeyInfo, err error) {
	const op = "auth.Keys.Rotate"
	if err := checkOverlap(op, overlap); err != nil {
		return KeyInfo{}, err
	}
	err = k.change(ctx, op, func(s *secrets, now time.Time) (err error) {
		key, err = s.rotate(op, overlap, now)
		return err
	})
	return key, err
}

// Retire ends a key at once, as RetireKey does.
func (k Keys) Retire(ctx context.Context, kid string) error {
	const op = "auth.Keys.Retire"
	return k.change(ctx, op, func(s *secrets, _ time.Time) error { return s.retire(op, kid) })
}

// Rewrap seals the keys, which another master key sealed, under this one. Processes that still have the other one go on with
// the keys they have read, and can't start again.
func (k Keys) Rewrap(ctx context.Context, old MasterKey) error {
	s, version, err := Keys{k.store, old}.load(ctx)
	if err != nil {
		return err
	}
	if version == 0 {
		return noStoredKeys("auth.Keys.Rewrap")
	}
	return k.save(ctx, s, version+1)
}

// attempts bounds how often a change is tried when others are first.
const attempts = 16

func (k Keys) change(ctx context.Context, op string, change func(s *secrets, now time.Time) error) error {
	for range attempts {
		s, version, err := k.load(ctx)
		if err != nil {
			return err
		}
		if version == 0 {
			return noStoredKeys(op)
		}
		now := time.Now()
		s.prune(now)
		if err := change(s, now); err != nil {
			return err
		}
		if err := k.save(ctx, s, version+1); !errors.Is(err, fault.VersionConflict) {
			return err
		}
	}
	return fault.New(fault.Unavailable, op, "the keys change too often to be changed now; try again")
}

func noStoredKeys(op string) error {
	return fault.New(fault.NotFound, op, "the store holds no keys yet; the first start of a server, or the first token, makes them")
}

func (k Keys) load(ctx context.Context) (*secrets, int64, error) {
	text, version, err := k.store.Load(ctx, keysRow)
	if err != nil || version == 0 {
		return nil, 0, err
	}
	var kept sealed
	if err := json.Unmarshal(text, &kept, json.RejectUnknownMembers(true)); err != nil {
		return nil, 0, damaged("auth.Keys")
	}
	if text, err = k.master.open(keysRow, version, kept); err != nil {
		return nil, 0, err
	}
	s, err := parseSecrets(text)
	if err == nil {
		_, err = newRing(s)
	}
	if err != nil {
		return nil, 0, damaged("auth.Keys")
	}
	return s, version, nil
}

func (k Keys) save(ctx context.Context, s *secrets, version int64) error {
	text, err := s.text()
	if err != nil {
		return err
	}
	kept, err := k.master.seal(keysRow, version, text)
	if err != nil {
		return err
	}
	if text, err = json.Marshal(kept); err != nil {
		return err
	}
	return k.store.Save(ctx, keysRow, text, version)
}

// row is the home of a Keyring in a store.
type row struct {
	keys    Keys
	version int64 // read last
}

func (r *row) String() string { return "in the store" }

func (r *row) every() (usual, missed time.Duration) {
	return 500 * time.Millisecond, 100 * time.Millisecond
}

func (r *row) read() (*secrets, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // a request waits for it
	defer cancel()
	s, version, err := r.keys.load(ctx)
	switch {
	case err != nil:
		return nil, err
	case version == 0:
		return nil, noStoredKeys("auth.Keyring")
	case version == r.version:
		return nil, nil
	}
	r.version = version
	return s, nil
}
