package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
)

func TestBackupWhileCommitting(t *testing.T) {
	e := opened(t, t.TempDir(), tuning{})
	for i := range 100 {
		commit(t, e, creates(fmt.Sprint("before-", i)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if _, err := e.Commit(context.Background(), creates(fmt.Sprint("during-", n))); err != nil {
				t.Errorf("a commit during a backup: %v", err)
			}
			if n == 0 {
				close(begun)
			}
		}
		ended <- n
	}()
	<-begun
	target := t.TempDir()
	var backups []string
	for i := range 3 {
		path := filepath.Join(target, fmt.Sprint("backup-", i))
		if err := e.Backup(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		backups = append(backups, path)
	}
	cancel()
	total := 100 + <-ended
	for _, path := range backups {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("the backup has mode %v, %v", info.Mode(), err)
		}
		dir := filepath.Join(t.TempDir(), "new")
		if err := Restore(t.Context(), path, dir); err != nil {
			t.Fatal(err)
		}
		restored := opened(t, dir, tuning{})
		changes, err := restored.Changes(t.Context(), "", total+1)
		if err != nil || len(changes) <= 100 || len(changes) > total {
			t.Fatalf("the backup has %d of 101 to %d commands, %v", len(changes), total, err)
		}
		data, err := restored.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "A#acme", Limit: total + 1})
		if err != nil || len(data) != len(changes) {
			t.Errorf("the backup has %d records for %d commands, %v", len(data), len(changes), err)
		}
		commit(t, restored, creates("after"))
		if end, err := restored.End(t.Context()); err != nil || end <= changes[len(changes)-1].Position && len(end) == len(changes[len(changes)-1].Position) {
			t.Errorf("the feed of the restored store ends at %q, %v", end, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(target, ".*")); err != nil || len(left) > 0 {
		t.Errorf("the backups left %q, %v", left, err)
	}
}

func TestBackupThatFailsLeavesNothing(t *testing.T) {
	e := opened(t, t.TempDir(), tuning{})
	commit(t, e, creates("1"))
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Backup(ctx, filepath.Join(dir, "backup")); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled backup: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("a cancelled backup left %v, %v", left, err)
	}
	taken := filepath.Join(dir, "taken")
	if err := os.WriteFile(taken, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, e.Backup(t.Context(), taken), fault.AlreadyExists, taken, "not overwritten")
	if content, err := os.ReadFile(taken); err != nil || string(content) != "precious" {
		t.Errorf("the file that was there holds %q, %v", content, err)
	}
	says(t, e.Backup(t.Context(), filepath.Join(dir, "none", "backup")), fault.Unavailable, "none", "directory")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	says(t, e.Backup(t.Context(), filepath.Join(dir, "late")), fault.Unavailable, "closed")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("backups that failed left %v, %v", left, err)
	}
}

// TestRestoreOfACopy restores a copy of the file of a closed store, which is in WAL mode.
func TestRestoreOfACopy(t *testing.T) {
	from, dir := t.TempDir(), t.TempDir()
	e := opened(t, from, tuning{})
	commit(t, e, creates("1"))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), filepath.Join(from, FileName), dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("the restore left %v, %v; want the store's file", left, err)
	}
	if rec, err := opened(t, dir, tuning{}).Get(t.Context(), driver.RefOf(driver.Data, row1("1", 1))); rec == nil || err != nil {
		t.Errorf("got %v, %v; want the row of the copy", rec, err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	source := t.TempDir()
	e := opened(t, source, tuning{})
	for i := range 300 {
		commit(t, e, creates(fmt.Sprintf("%03d-%s", i, strings.Repeat("k", 300))))
	}
	good := filepath.Join(t.TempDir(), "backup")
	if err := e.Backup(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	damaged := append([]byte(nil), content...)
	copy(damaged[len(damaged)/2/4096*4096:], "damage")
	newer := write("newer", content)
	if err := toolAt(t, newer).Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, backup string
		code         fault.Code
		words        string
	}{
		{"there is none", filepath.Join(source, "none"), fault.NotFound, "there is no backup"},
		{"it is empty", write("empty", nil), fault.InvalidRequest, "damaged or is no backup"},
		{"it is something else", write("letter", []byte(strings.Repeat("this is a letter to my aunt. ", 100))), fault.InvalidRequest, "damaged or is no backup"},
		{"a page is damaged", write("damaged", damaged), fault.InvalidRequest, "damaged or is no backup"},
		{"its end is missing", write("short", content[:len(content)/2]), fault.InvalidRequest, "damaged or is no backup"},
		{"a newer Tenantry wrote it", newer, fault.Unavailable, newer + " was written by a newer Tenantry"},
		{"it is a directory", source, fault.InvalidRequest, "not a regular file"},
		{"it is a device", os.DevNull, fault.InvalidRequest, "not a regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			says(t, Restore(t.Context(), tc.backup, dir), tc.code, tc.words)
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("a restore that was refused left %v, %v", left, err)
			}
		})
	}
	says(t, Restore(t.Context(), good, source), fault.AlreadyExists, FileName, "not overwritten")
	crashed := t.TempDir()
	if err := os.WriteFile(filepath.Join(crashed, FileName+"-wal"), []byte("commits"), 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, Restore(t.Context(), good, crashed), fault.AlreadyExists, FileName+"-wal")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if err := Restore(ctx, good, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled restore: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("a cancelled restore left %v, %v", left, err)
	}
}
