package integrity_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// interrupted leaves a command as a crash of another framework does, and returns its ref.
type interrupted struct {
	name  string
	leave func(*world) driver.Ref
}

var interruptions = []interrupted{
	{"an update", func(w *world) driver.Ref {
		return w.interrupt(w.get(driver.Command, "PRODUCT#acme", "p1", 4), func(r *record.Record) { r.Version, r.Name, r.Code = 5, "next", "next" })
	}},
	{"an update that history knows", func(w *world) driver.Ref {
		w.put(driver.History, w.get(driver.Data, "PRODUCT#acme", "p1", 0))
		return w.interrupt(w.get(driver.Command, "PRODUCT#acme", "p1", 4), func(r *record.Record) { r.Version, r.Name = 5, "next" })
	}},
	{"a deletion", func(w *world) driver.Ref {
		return w.interrupt(w.get(driver.Command, "PRODUCT#acme", "p1", 4), func(r *record.Record) { r.Version, r.IsDeleted = 5, true })
	}},
	{"a creation", func(w *world) driver.Ref {
		return w.interrupt(w.get(driver.Command, "PRODUCT#acme", "p1", 4), func(r *record.Record) { r.Version, r.SK, r.Code = 1, "new", "new" })
	}},
	{"a creation in a new partition", func(w *world) driver.Ref {
		return w.interrupt(w.get(driver.Command, "NOTE#acme", "p1", 1), func(r *record.Record) { r.PK = "NOTE#acme#2027-01" })
	}},
	{"a change of a tenant", func(w *world) driver.Ref {
		return w.interrupt(w.get(driver.Command, "TENANT#acme", "MASTER", 1), func(r *record.Record) { r.Version, r.Name = 2, "next" })
	}},
	{"a creation of a tenant", func(w *world) driver.Ref {
		return w.interrupt(w.get(driver.Command, "TENANT#acme", "MASTER", 1), func(r *record.Record) { r.PK, r.TenantCode, r.Type = "TENANT#zulu", "zulu", "zulu" })
	}},
	{"a change of what older services wrote", func(w *world) driver.Ref {
		return w.interrupt(w.get(driver.Command, "NOTE#COMMON", "old", 2), func(r *record.Record) { r.Version, r.Name, r.TenantCode = 3, "next", "COMMON" })
	}},
	{"a creation by older services", func(w *world) driver.Ref {
		return w.interrupt(w.get(driver.Command, "NOTE#COMMON", "old", 2), func(r *record.Record) { r.Version, r.SK, r.TenantCode = 1, "old2", "COMMON" })
	}},
}

func (w *world) interrupt(cmd *record.Record, change func(*record.Record)) driver.Ref {
	change(cmd)
	cmd.Status, cmd.SyncMode = "publish_sync:STARTED", ""
	w.put(driver.Command, cmd)
	return driver.RefOf(driver.Command, cmd)
}

func TestFinish(t *testing.T) {
	for _, tt := range interruptions {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.populate()
			ref := tt.leave(w)
			problem := w.oneProblem(integrity.Interrupted)
			if diff := cmp.Diff(ref, problem.Ref()); diff != "" {
				t.Fatalf("the problem names another command: %s", diff)
			}
			before := w.get(driver.Command, ref.PK, ref.SK, ref.Version)
			res := w.must(integrity.Finish(t.Context(), w.Commands(), w.System("finish "+problem.ID), problem.Ref()))
			expect(t, w.verify())
			after := w.get(driver.Data, ref.PK, ref.SK, 0)
			if after.Name != before.Name || after.Version != ref.Version || after.UpdatedBy != before.UpdatedBy || after.UpdatedAt != before.UpdatedAt || !res.Changed {
				t.Errorf("the command %+v became the state %+v", before, after)
			}
			if got := w.get(driver.Command, ref.PK, ref.SK, ref.Version).Status; got != record.StatusFinished {
				t.Errorf("the command has the status %q", got)
			}
			w.audited("finish "+problem.ID, after.TenantCode)
			w.goesOn(ref)
		})
	}
}

func TestDiscard(t *testing.T) {
	for _, tt := range interruptions {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.populate()
			ref := tt.leave(w)
			problem := w.oneProblem(integrity.Interrupted)
			tenantCode := w.get(driver.Command, ref.PK, ref.SK, ref.Version).TenantCode
			if err := integrity.Discard(t.Context(), w.Commands(), w.System("discard "+problem.ID), problem.Ref()); err != nil {
				t.Fatal(err)
			}
			expect(t, w.verify())
			if rec, err := w.engine.Get(t.Context(), ref); rec != nil || err != nil {
				t.Errorf("the command is still there: %v", err)
			}
			w.audited("discard "+problem.ID, tenantCode)
			w.goesOn(ref)
		})
	}
}

// oneProblem returns the only problem, which is of kind k.
func (w *world) oneProblem(k integrity.Kind) integrity.Problem {
	w.t.Helper()
	report := w.verify()
	if len(report.Problems) != 1 || report.Problems[0].Kind != k {
		w.t.Fatalf("want one problem of kind %v:\n%s", k, report)
	}
	return report.Problems[0]
}

// audited fails the test unless the audit log has an entry for reason that names the tenant.
func (w *world) audited(reason, tenantCode string) {
	w.t.Helper()
	page, err := w.Audit().List(w.t.Context(), w.Scope("common"), 1000, "")
	if err != nil {
		w.t.Fatal(err)
	}
	if tenantCode == "COMMON" {
		tenantCode = "common"
	}
	for _, e := range page.Items {
		if e.Reason == reason && slices.Equal(e.Tenants, []string{tenantCode}) {
			return
		}
	}
	w.t.Errorf("no audit entry %q names %s", reason, tenantCode)
}

// goesOn publishes the next version of the record: an interrupted command must not wedge it.
func (w *world) goesOn(ref driver.Ref) {
	w.t.Helper()
	entity, code, rest, err := record.SplitPK(ref.PK)
	if err != nil {
		w.t.Fatal(err)
	}
	if entity != note && entity != product {
		return
	}
	segments := []string{}
	if rest != "" {
		segments = append(segments, rest)
	}
	w.publish(w.Scope(code.String()), entity, ref.SK, 1, segments...)
	expect(w.t, w.verify())
}

func TestRepairRefuses(t *testing.T) {
	w := newWorld(t)
	w.populate()
	command4 := driver.Ref{Collection: driver.Command, PK: "PRODUCT#acme", SK: "p1", Version: 4}
	at := func(pk, sk string, version int64) driver.Ref {
		return driver.Ref{Collection: driver.Command, PK: pk, SK: sk, Version: version}
	}
	ahead := w.interrupt(w.get(driver.Command, "PRODUCT#acme", "p3", 4), func(r *record.Record) { r.Version = 6 })
	mixed := w.interrupt(w.get(driver.Command, "NOTE#MixedCase", "old", 1), func(r *record.Record) { r.Version = 2 })
	shadowed := w.get(driver.Command, "NOTE#acme", "p1", 1)
	shadowed.PK, shadowed.TenantCode = "NOTE#common", "common"
	shadowed.SK = "old"
	w.put(driver.Command, shadowed)
	w.put(driver.Data, shadowed) // wins over NOTE#COMMON, whose version 2 is not its
	for _, tt := range []struct {
		name string
		ref  driver.Ref
		sys  guard.System
		want fault.Code
	}{
		{"the current version", command4, w.System("test"), fault.VersionConflict},
		{"a replaced version", at("PRODUCT#acme", "p1", 2), w.System("test"), fault.VersionConflict},
		{"a version that is not in the log", at("PRODUCT#acme", "p1", 5), w.System("test"), fault.NotFound},
		{"a record that is not there", at("PRODUCT#acme", "none", 1), w.System("test"), fault.NotFound},
		{"a version too far ahead", ahead, w.System("test"), fault.VersionConflict},
		{"a command of another record of the same name", at("NOTE#common", "old", 2), w.System("test"), fault.NotFound},
		{"a pk that no scope can name", mixed, w.System("test"), fault.InvalidKey},
		{"a pk that is none", at("PLAIN", "old", 1), w.System("test"), fault.InvalidKey},
		{"a sort key that is none", at("PRODUCT#acme", "", 1), w.System("test"), fault.InvalidKey},
		{"no system", command4, guard.System{}, fault.RoleRequired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := integrity.Finish(t.Context(), w.Commands(), tt.sys, tt.ref); !errors.Is(err, tt.want) {
				t.Errorf("finish: got %v, want %v", err, tt.want)
			}
			if err := integrity.Discard(t.Context(), w.Commands(), tt.sys, tt.ref); !errors.Is(err, tt.want) {
				t.Errorf("discard: got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestFinishCodeTaken(t *testing.T) {
	w := newWorld(t)
	w.populate()
	ref := w.interrupt(w.get(driver.Command, "PRODUCT#acme", "p1", 4), func(r *record.Record) { r.Version, r.Code = 5, "p3" })
	if _, err := integrity.Finish(t.Context(), w.Commands(), w.System("test"), ref); !errors.Is(err, fault.AlreadyExists) {
		t.Fatalf("got %v, want %v", err, fault.AlreadyExists)
	}
	if err := integrity.Discard(t.Context(), w.Commands(), w.System("test"), ref); err != nil {
		t.Fatal(err)
	}
	expect(t, w.verify())
}

// TestWedged shows what an interrupted command does to its record, and that it is told what to do.
func TestWedged(t *testing.T) {
	w := newWorld(t)
	w.populate()
	ref := w.interrupt(w.get(driver.Command, "PRODUCT#acme", "p1", 4), func(r *record.Record) { r.Version = 5 })
	sc := w.Scope("acme")
	in := command.Input{Key: w.key(sc, product, "p1"), Version: record.VersionLatest, Name: "more"}
	if _, err := w.Commands().PublishSync(t.Context(), sc, in); !errors.Is(err, fault.Internal) {
		t.Fatalf("got %v, want %v", err, fault.Internal)
	}
	w.must(integrity.Finish(t.Context(), w.Commands(), w.System("test"), ref))
	if res := w.must(w.Commands().PublishSync(t.Context(), sc, in)); res.Record.Version != 6 {
		t.Errorf("the next version is %d, want 6", res.Record.Version)
	}
}
