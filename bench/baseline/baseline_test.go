package baseline_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/bench/baseline"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenantrytest"
)

const (
	partition = "PRODUCT#acme"
	rows      = 3000 // pages enough for checkpoints
)

// What the group commit by hand leaves is what Tenantry leaves for as many creates: rows in the same tables, of the same bytes.
func TestGroup(t *testing.T) {
	dir := t.TempDir()
	app := tenantrytest.New(t, tenantry.Config{Store: sqlite.At(dir), Now: time.Now})
	key, err := record.NewKey(app.Scope("acme"), record.MustEntityType("PRODUCT"), "p")
	must(t, err)
	_, err = app.Commands().PublishSync(context.Background(), app.Scope("acme"), command.Input{Key: key, Name: "Chair", Attributes: record.Attributes(`{"price":4900}`)})
	must(t, err)
	must(t, app.Close())
	commandDoc, dataDoc, err := baseline.Docs(dir, partition, "p")
	must(t, err)
	one := tables(t, dir)

	group, err := baseline.OpenGroup(dir, commandDoc, dataDoc)
	must(t, err)
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for n := w; n < rows; n += 64 {
				if err := group.Create(partition, fmt.Sprintf("p%05d", n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := group.Create(partition, "p00000"); err == nil {
		t.Error("a key that is there already was created")
	}
	must(t, group.Create(partition, "after"))
	must(t, group.Close())

	got := tables(t, dir)
	for _, table := range []string{"command", "data"} {
		if want := one[table] + rows + 1; got[table] != want {
			t.Errorf("%s has %d rows, want %d", table, got[table], want)
		}
	}
	for _, table := range []string{"history", "system"} {
		if got[table] != one[table] {
			t.Errorf("%s has %d rows, want %d", table, got[table], one[table])
		}
	}
	for n := range 100 {
		command, data, err := baseline.Docs(dir, partition, fmt.Sprintf("p%05d", n))
		if err != nil || !bytes.Equal(command, commandDoc) || !bytes.Equal(data, dataDoc) {
			t.Fatal("other bytes were kept", err)
		}
	}

	reader, err := baseline.OpenReader(dir)
	must(t, err)
	defer reader.Close()
	if version, doc, err := reader.Get(partition, "p00007"); version != 1 || !bytes.Equal(doc, dataDoc) || err != nil {
		t.Error(version, string(doc), err)
	}
	listed, err := reader.List(partition, "p00010", 100)
	if err != nil || len(listed) != 100 {
		t.Fatal(len(listed), err)
	}
	for i, row := range listed {
		if want := fmt.Sprintf("p%05d", 10+i); string(row.SK) != want || row.Version != 1 || !bytes.Equal(row.Doc, dataDoc) {
			t.Errorf("row %d is %q %d %q", i, row.SK, row.Version, row.Doc)
		}
	}
}

// tables returns how many rows each table has.
func tables(t *testing.T, dir string) map[string]int {
	t.Helper()
	c, err := sqlite3.Open(filepath.Join(dir, baseline.FileName))
	must(t, err)
	defer c.Close()
	count := make(map[string]int)
	for _, table := range []string{"command", "data", "history", "system"} {
		s, _, err := c.Prepare("SELECT count(*) FROM " + table)
		must(t, err)
		if s.Step() {
			count[table] = s.ColumnInt(0)
		}
		must(t, s.Close())
	}
	return count
}

// The log holds what was appended, one write behind the other, also behind what was prepared at once.
func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := baseline.OpenLog(path)
	must(t, err)
	var want []byte
	for n := range 5 {
		b := bytes.Repeat([]byte{byte('a' + n)}, 4<<20+n)
		must(t, log.Append(b))
		want = append(want, b...)
	}
	must(t, log.Close())
	got, err := os.ReadFile(path)
	must(t, err)
	if !bytes.HasPrefix(got, want) || len(bytes.Trim(got[len(want):], "\x00")) > 0 {
		t.Error("the log holds something else")
	}
}

func must(t *testing.T, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}
