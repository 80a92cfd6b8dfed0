package auth

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry/fault"
)

// DefaultOverlap is how long the keys before a rotation are of use where nobody says another time: as long as the longest
// tokens that are usual live.
const DefaultOverlap = 24 * time.Hour

// maxKeys bounds the keys of one file.
const maxKeys = 100

// KeyInfo says what a key of a data directory is for. It holds no secret.
type KeyInfo struct {
	ID        string    `json:"kid"`
	CreatedAt time.Time `json:"createdAt,omitzero"` // zero for a key from before rotation, of which isn't known
	Active    bool      `json:"active"`             // it signs
	Retiring  time.Time `json:"retiring,omitzero"`  // when it stops verifying; zero for never
}

// ListKeys returns the keys of a data directory, the newest first; those whose overlap has passed are none any more. It
// fails with fault.NotFound where the directory holds no keys, and else as OpenKeyring does.
func ListKeys(dir string) ([]KeyInfo, error) {
	const op = "auth.ListKeys"
	path := filepath.Join(dir, secretsFile)
	s, _, err := usableSecrets(path)
	if err != nil {
		return nil, noKeys(op, path, err)
	}
	return s.list(time.Now()), nil
}

func (s *secrets) list(now time.Time) (list []KeyInfo) {
	s.prune(now)
	for _, jwk := range s.Keys {
		list = append(list, s.info(jwk.KeyID))
	}
	return list
}

// RotateKey makes a new key of a data directory, which signs from then on. The keys before it still verify until overlap
// has passed, or as long as an earlier rotation left them; with 0 they end at once. Rotations at the same time come one
// after the other. It fails with fault.InvalidRequest for a negative overlap and where the directory holds a hundred keys,
// with fault.NotFound where it holds none, and else as OpenKeyring does.
func RotateKey(dir string, overlap time.Duration) (key KeyInfo, err error) {
	const op = "auth.RotateKey"
	if err := checkOverlap(op, overlap); err != nil {
		return KeyInfo{}, err
	}
	err = changeSecrets(op, dir, func(s *secrets, now time.Time) (err error) {
		key, err = s.rotate(op, overlap, now)
		return err
	})
	return key, err
}

func checkOverlap(op string, overlap time.Duration) error {
	if overlap < 0 {
		return fault.New(fault.InvalidRequest, op, "the overlap is negative; it is how long the keys before the new one still verify, as 24h, or 0 for not at all")
	}
	return nil
}

func (s *secrets) rotate(op string, overlap time.Duration, now time.Time) (KeyInfo, error) {
	for _, jwk := range s.Keys {
		t := s.Times[jwk.KeyID]
		if until := now.Add(overlap).UTC(); t.Until.IsZero() || until.Before(t.Until) {
			t.Until = until
		}
		s.setTimes(jwk.KeyID, t)
	}
	s.prune(now)
	if len(s.Keys) >= maxKeys {
		return KeyInfo{}, fault.New(fault.InvalidRequest, op, "there are %d keys, which is the most; retire some of them first", len(s.Keys))
	}
	if err := s.addKey(now); err != nil {
		return KeyInfo{}, err
	}
	return s.info(s.Active), nil
}

// RetireKey ends a key of a data directory at once: tokens that it signed are refused. It fails with
// fault.InvalidRequest for the key that signs, with fault.NotFound where the directory holds no such key, and else as
// OpenKeyring does.
func RetireKey(dir, kid string) error {
	const op = "auth.RetireKey"
	return changeSecrets(op, dir, func(s *secrets, _ time.Time) error { return s.retire(op, kid) })
}

func (s *secrets) retire(op, kid string) error {
	if kid == s.Active {
		return fault.New(fault.InvalidRequest, op, "this key signs, so it can't be retired; rotate first, then retire it")
	}
	if !s.remove(func(id string) bool { return id == kid }) {
		return fault.New(fault.NotFound, op, "there is no such key; list the keys to see those that there are")
	}
	return nil
}

// changeSecrets replaces the file of keys by what change makes of it. Changes at the same time come one after the other.
func changeSecrets(op, dir string, change func(s *secrets, now time.Time) error) error {
	path := filepath.Join(dir, secretsFile)
	unlock, err := lockDir(dir)
	if err != nil {
		return noKeys(op, path, err)
	}
	defer unlock()
	s, info, err := usableSecrets(path)
	if err != nil {
		return noKeys(op, path, err)
	}
	now := time.Now()
	s.prune(now)
	if err := change(s, now); err != nil {
		return err
	}
	if err := s.write(path, info, func(written string) error { return os.Rename(written, path) }); err != nil {
		return unusable(op, path, err)
	}
	return nil
}

// usableSecrets reads a file that a Keyring would use.
func usableSecrets(path string) (*secrets, os.FileInfo, error) {
	s, info, err := readSecrets(path)
	if err == nil {
		_, err = newRing(s)
	}
	return s, info, err
}

func noKeys(op, path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, op, "there is no file of keys %s; name the data directory of a server, or issue a token to make one", path)
	}
	return unusable(op, path, err)
}

func (s *secrets) info(kid string) KeyInfo {
	t := s.Times[kid]
	return KeyInfo{ID: kid, CreatedAt: t.Created, Active: kid == s.Active, Retiring: t.Until}
}

func (s *secrets) setTimes(kid string, t keyTimes) {
	if s.Times == nil {
		s.Times = make(map[string]keyTimes)
	}
	s.Times[kid] = t
}

// prune drops the keys whose time has passed by now.
func (s *secrets) prune(now time.Time) {
	s.remove(func(kid string) bool {
		until := s.Times[kid].Until
		return !until.IsZero() && !now.Before(until)
	})
}

// remove drops the keys that gone names, and reports whether there were any.
func (s *secrets) remove(gone func(kid string) bool) bool {
	before := len(s.Keys)
	s.Keys = slices.DeleteFunc(s.Keys, func(jwk jose.JSONWebKey) bool {
		if !gone(jwk.KeyID) {
			return false
		}
		delete(s.Times, jwk.KeyID)
		return true
	})
	return len(s.Keys) < before
}
