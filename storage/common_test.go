package storage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// olderWorld has records of common as older services wrote them, one in both partitions.
func olderWorld(t testing.TB) (*world, storage.View) {
	w := open(t, memory.New(), storage.Options{})
	w.plant(driver.Data, row("PRODUCT#COMMON", "old", 3), row("PRODUCT#COMMON", "both", 5), row("PRODUCT#common", "both", 2), row("PRODUCT#common", "new", 1),
		row("LOG#COMMON#2026", "1", 1), row("PRODUCT#COMMON2", "1", 1), row("PRODUCT#Common", "1", 1))
	w.plant(driver.Command, row("PRODUCT#COMMON", "old", 3), row("PRODUCT#COMMON", "both", 5), row("PRODUCT#common", "both", 2))
	w.plant(driver.History, row("PRODUCT#COMMON", "old", 2), row("PRODUCT#COMMON", "both", 4), row("PRODUCT#common", "both", 1))
	return w, w.view("common", scope.Full)
}

func where(rec *record.Record) string {
	if rec == nil {
		return "none"
	}
	return fmt.Sprintf("%s|%s|%s|%s|%d", rec.PK, rec.StoredPK, rec.TenantCode, rec.SK, rec.Version)
}

func TestOlderRecordsOfCommonAreRead(t *testing.T) {
	w, v := olderWorld(t)
	key := func(sk string) record.Key { return w.key("common", product, sk) }
	read := func(rec *record.Record, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return where(rec)
	}
	segmented, err := record.NewPartition(scopeOf("common", scope.Full), record.MustEntityType("LOG"), "2026")
	if err != nil {
		t.Fatal(err)
	}
	log, err := segmented.Key("1")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ what, got, want string }{
		{"get old", read(v.Get(t.Context(), key("old"))), "PRODUCT#common|PRODUCT#COMMON|common|old|3"},
		{"get both", read(v.Get(t.Context(), key("both"))), "PRODUCT#common||planted|both|2"},
		{"get new", read(v.Get(t.Context(), key("new"))), "PRODUCT#common||planted|new|1"},
		{"get none", read(v.Get(t.Context(), key("none"))), "none"},
		{"get segments", read(v.Get(t.Context(), log)), "LOG#common#2026|LOG#COMMON#2026|common|1|1"},
		{"command of old", read(v.Command(t.Context(), key("old"), 3)), "PRODUCT#common|PRODUCT#COMMON|common|old|3"},
		{"command of both", read(v.Command(t.Context(), key("both"), 2)), "PRODUCT#common||planted|both|2"},
		{"command of the row that loses", read(v.Command(t.Context(), key("both"), 5)), "none"},
		{"past of old", read(v.Past(t.Context(), key("old"), 2)), "PRODUCT#common|PRODUCT#COMMON|common|old|2"},
		{"past of the row that loses", read(v.Past(t.Context(), key("both"), 4)), "none"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s; want %s", tt.what, tt.got, tt.want)
		}
	}

	recs, err := v.BatchGet(t.Context(), []record.Key{key("new"), key("old"), key("none"), key("both"), key("old")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range recs {
		got = append(got, where(r))
	}
	old := "PRODUCT#common|PRODUCT#COMMON|common|old|3"
	if diff := cmp.Diff([]string{"PRODUCT#common||planted|new|1", old, "none", "PRODUCT#common||planted|both|2", old}, got); diff != "" {
		t.Errorf("batch get: %s", diff)
	}

	current, err := v.Get(t.Context(), key("old"))
	if err != nil {
		t.Fatal(err)
	}
	past, err := v.Versions(t.Context(), driver.History, current, 2, 1)
	if err != nil || len(past) != 2 || where(past[0]) != "PRODUCT#common|PRODUCT#COMMON|common|old|2" || past[1] != nil {
		t.Errorf("versions: %v, %v", past, err)
	}
	// Other tenants have one partition, whatever its letters.
	w.plant(driver.Data, row("PRODUCT#ACME", "1", 1))
	if rec, err := w.view("acme", scope.Full).Get(t.Context(), w.key("acme", product, "1")); rec != nil || err != nil {
		t.Errorf("acme reads PRODUCT#ACME: %v, %v", rec, err)
	}
}

func TestAChangeGoesWhereTheRecordStands(t *testing.T) {
	w, v := olderWorld(t)
	for sk, stands := range map[string]string{"old": "PRODUCT#COMMON", "both": "PRODUCT#common", "new": "PRODUCT#common", "fresh": "PRODUCT#common"} {
		key := w.key("common", product, sk)
		current, err := v.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		version := int64(1)
		if current != nil {
			version = current.Version + 1
		}
		if _, err := v.Commit(t.Context(), change(key, version, current)); err != nil {
			t.Fatalf("%s: %v", sk, err)
		}
		for _, ref := range []driver.Ref{{Collection: driver.Data, PK: stands, SK: sk}, {Collection: driver.Command, PK: stands, SK: sk, Version: version},
			{Collection: driver.History, PK: stands, SK: sk, Version: version - 1}} {
			rec, err := w.engine.Get(t.Context(), ref)
			if err != nil || rec == nil && !(ref.Collection == driver.History && version == 1) {
				t.Errorf("%s: nothing in %s of %s: %v", sk, ref.Collection, stands, err)
			} else if ref.Collection == driver.Data && (rec.Version != version || rec.Name != "changed") {
				t.Errorf("%s: %s holds %+v", sk, stands, rec)
			}
		}
	}
	if rec, err := w.engine.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "PRODUCT#COMMON", SK: "both"}); err != nil || rec.Version != 5 {
		t.Errorf("the row that loses was changed: %v, %v", rec, err)
	}
}

// Pages over both partitions are the list that one would get by merging them by hand.
func TestListOfCommonIsTheMergedList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := open(t, memory.New(), storage.Options{})
		wins := map[string]*record.Record{}
		for _, pk := range []string{"PRODUCT#COMMON", "PRODUCT#common"} {
			for _, sk := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-d]{1,2}`), 0, 12, rapid.ID).Draw(rt, pk) {
				r := row(pk, sk, 1)
				r.IsDeleted = rapid.Bool().Draw(rt, "deleted")
				w.plant(driver.Data, r)
				wins[sk] = r
			}
		}
		q := storage.Query{Partition: w.key("common", product, "x").Partition,
			Prefix: rapid.SampledFrom([]string{"", "", "a", "ab", "c"}).Draw(rt, "prefix"), From: rapid.SampledFrom([]string{"", "", "aa", "b"}).Draw(rt, "from"),
			To: rapid.SampledFrom([]string{"", "", "c", "d"}).Draw(rt, "to"), Descending: rapid.Bool().Draw(rt, "descending"),
			IncludeDeleted: rapid.Bool().Draw(rt, "include deleted"), Limit: rapid.IntRange(1, 5).Draw(rt, "limit")}
		var want []string
		for sk, r := range wins {
			if (q.IncludeDeleted || !r.IsDeleted) && strings.HasPrefix(sk, q.Prefix) && sk >= q.From && (q.To == "" || sk < q.To) {
				want = append(want, sk)
			}
		}
		slices.Sort(want)
		if q.Descending {
			slices.Reverse(want)
		}
		var got []string
		for v := w.view("common", scope.Full); ; {
			page, err := v.List(t.Context(), q)
			if err != nil {
				rt.Fatal(err)
			}
			for _, r := range page {
				if r.PK != "PRODUCT#common" || (r.StoredPK == "") != (wins[r.SK].PK == "PRODUCT#common") {
					rt.Fatalf("%s is shown as %s", wins[r.SK].PK, where(r))
				}
				got = append(got, r.SK)
			}
			if len(page) < q.Limit {
				break
			}
			q.After = page[len(page)-1].SK
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got %q; want %q", got, want)
		}
	})
}

func TestShown(t *testing.T) {
	for pk, want := range map[string]string{
		"PRODUCT#acme": "PRODUCT#acme|", "LOG#acme#2026#A": "LOG#acme#2026#A|", "PRODUCT#common": "PRODUCT#common|",
		"PRODUCT#COMMON": "PRODUCT#common|PRODUCT#COMMON", "LOG#COMMON#2026": "LOG#common#2026|LOG#COMMON#2026", "LOG#common#COMMON": "LOG#common#COMMON|",
		"PRODUCT#ACME": "", "PRODUCT#Common": "", "product#acme": "", "PRODUCT": "", "PRODUCT#a@b": "",
	} {
		planted := row(pk, "1", 1)
		got, ok := storage.Shown(planted)
		switch {
		case ok != (want != ""):
			t.Errorf("%s is shown: %v", pk, ok)
		case ok && got.PK+"|"+got.StoredPK != want:
			t.Errorf("%s is shown as %s", pk, where(got))
		case planted.PK != pk || planted.StoredPK != "":
			t.Errorf("%s was changed to %s", pk, where(planted))
		}
	}
}
