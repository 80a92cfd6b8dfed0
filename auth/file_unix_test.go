//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package auth_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/auth"
)

// TestRotationKeepsTheOwner rotates as root what a server reads as somebody else. Others can't give files away, so for them
// it holds that the owner is still this process's.
func TestRotationKeepsTheOwner(t *testing.T) {
	dir := t.TempDir()
	openRotating(t, dir, time.Now)
	path := filepath.Join(dir, "keys.json")
	want := uint32(os.Geteuid())
	if want == 0 {
		want = 65534
		if err := os.Chown(path, int(want), int(want)); err != nil {
			t.Fatal(err)
		}
	}
	must(auth.RotateKey(dir, time.Hour))
	info := must(os.Stat(path))
	if got := info.Sys().(*syscall.Stat_t).Uid; got != want || info.Mode().Perm() != 0o600 {
		t.Errorf("after rotation the file is of user %d, mode %v; want %d, 0600", got, info.Mode(), want)
	}
}
