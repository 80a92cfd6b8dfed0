package sqlite

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
)

func TestOpenExplainsReadOnly(t *testing.T) {
	for _, tc := range []struct {
		name      string
		file, dir os.FileMode
	}{
		{"the file is read-only", 0o444, 0o777},
		{"the directory is read-only", 0o666, 0o555},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := opened(t, dir, tuning{}).Close(); err != nil {
				t.Fatal(err)
			}
			for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: tc.dir, filepath.Join(dir, FileName): tc.file} {
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() { os.Chmod(dir, 0o700) }) // so that it can be removed
			var err error
			asNobody(t, func() { _, err = At(dir).Open(t.Context(), scope.NewRoot()) })
			says(t, err, fault.Unavailable, dir, FileName, "can't be written", "user that runs Tenantry")
		})
	}
}

// asNobody calls f with the rights on files of a user who owns none, where the test's own user is above rights.
func asNobody(t *testing.T, f func()) {
	if os.Getuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	runtime.LockOSThread() // the rights are the thread's
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setfsuid(0)
	f()
}
