package cli_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/tenantry/tenantry/internal/cli"
)

// operator runs verbs in this process on a directory.
type operator struct {
	t   *testing.T
	dir string
}

// run runs a verb, expects an exit code, and returns what it printed, errors included.
func (o operator) run(want int, args ...string) string {
	o.t.Helper()
	var out bytes.Buffer
	code := cli.Run(o.t.Context(), append(args, "--data", o.dir), cli.IO{In: strings.NewReader(""), Out: &out, Err: &out})
	if code != want {
		o.t.Fatalf("%q: exit code %d, want %d\n%s", args, code, want, out.String())
	}
	return out.String()
}

// interrupt takes the newest data row of a record away, as a service that died between its writes leaves it.
func (o operator) interrupt(sk string) {
	o.t.Helper()
	db, err := sqlite3.Open(filepath.Join(o.dir, "tenantry.db"))
	if err != nil {
		o.t.Fatal(err)
	}
	defer db.Close()
	if err := db.Exec(`DELETE FROM data WHERE pk = 'ITEM#acme' AND sk = '` + sk + `'`); err != nil {
		o.t.Fatal(err)
	}
	if db.Changes() != 1 {
		o.t.Fatalf("there was no data row of %s", sk)
	}
}

func TestVerifyMends(t *testing.T) {
	o := operator{t, t.TempDir()}
	o.run(0, "tenant", "create", "acme")
	for _, sk := range []string{"p1", "p2", "p3"} {
		o.run(0, "data", "put", "acme", "ITEM", sk, "--name", "Chair")
	}
	o.run(0, "verify")
	o.interrupt("p1")
	o.interrupt("p2")

	found := o.run(1, "verify")
	for _, want := range []string{"FAIL  interrupted", "interrupted: ITEM#acme#p1@1 (command)", "ITEM#acme#p2@1"} {
		if !strings.Contains(found, want) {
			t.Errorf("verify doesn't say %q:\n%s", want, found)
		}
	}
	if json := o.run(1, "verify", "--json"); !strings.Contains(json, `"problemCount":2`) || strings.Contains(json, "Chair") {
		t.Errorf("verify --json says %s", json)
	}
	o.run(4, "verify", "--finish", "ITEM#acme#p3@1")
	mended := o.run(0, "verify", "--finish", "ITEM#acme#p1@1", "--discard", "ITEM#acme#p2@1")
	for _, want := range []string{"finished ITEM#acme#p1@1", "discarded ITEM#acme#p2@1", "is sound"} {
		if !strings.Contains(mended, want) {
			t.Errorf("mending doesn't say %q:\n%s", want, mended)
		}
	}
	o.run(0, "data", "get", "acme", "ITEM", "p1")
	o.run(4, "data", "get", "acme", "ITEM", "p2")
	o.run(0, "data", "get", "acme", "ITEM", "p3")
}
