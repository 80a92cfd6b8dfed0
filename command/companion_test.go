package command_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

func TestUniqueCodes(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{Entities: []entity.Type{{Name: record.MustEntityType("PRODUCT"), UniqueCode: true}, {Name: record.MustEntityType("ORDER"), UniqueCode: true}}})
		acme, bravo := worldtest.Scope("acme"), worldtest.Scope("bravo")
		in := func(sk, code string) command.Input {
			return command.Input{Key: w.Key(acme, "PRODUCT", sk), Version: -1, Name: sk, Code: code}
		}
		taken := func(what string, in command.Input) {
			t.Helper()
			unchanged(t, w, what, func() {
				_, err := w.Commands.PublishSync(t.Context(), acme, in)
				refused(t, what, err, fault.AlreadyExists)
			})
		}
		w.Publish(acme, in("1", "X"))
		taken("another record with the code", in("2", "X"))
		w.Publish(acme, in("2", "x"))                                                            // codes are compared byte for byte
		w.Publish(bravo, command.Input{Key: w.Key(bravo, "PRODUCT", "1"), Name: "n", Code: "X"}) // another tenant's
		w.Publish(acme, command.Input{Key: w.Key(acme, "ORDER", "1"), Name: "n", Code: "X"})     // another type's
		w.Publish(acme, command.Input{Key: w.Key(acme, "NOTE", "1"), Name: "n", Code: "X"})      // a type without unique codes
		w.Publish(acme, command.Input{Key: w.Key(acme, "NOTE", "2"), Name: "n", Code: "X"})
		w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "1"), Version: 1, Name: "renamed", Code: "X"}) // its own
		taken("a change to a code that is taken", in("2", "X"))

		w.Publish(acme, in("1", "Y")) // X is free, Y taken
		taken("the new code", in("3", "Y"))
		w.Publish(acme, in("3", "X"))
		w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "3"), Version: -1, Name: "3", IsDeleted: true})
		w.Publish(acme, in("2", "X")) // a deleted record holds no code
		taken("undeleting when the code was taken", in("3", "X"))
		w.Publish(acme, in("2", "Z"))
		if res := w.Publish(acme, in("3", "X")); !res.Created {
			t.Errorf("undeleted: %+v", res)
		}
		taken("after undeleting", in("4", "X"))
		// A record that is changed while it is deleted takes no code.
		w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "5"), Name: "5", Code: "D", IsDeleted: true})
		w.Publish(acme, in("6", "D"))
	})
}

// Of many records that want one code at once, one gets it.
func TestUniqueCodesUnderARace(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{Entities: []entity.Type{{Name: record.MustEntityType("PRODUCT"), UniqueCode: true}}})
		acme := worldtest.Scope("acme")
		for round := range 10 {
			errs := make([]error, 8)
			var publishing sync.WaitGroup
			for i := range errs {
				publishing.Go(func() {
					_, errs[i] = w.Commands.PublishSync(t.Context(), acme, command.Input{Key: w.Key(acme, "PRODUCT", fmt.Sprint(round, "-", i)), Name: "n", Code: fmt.Sprint(round)})
				})
			}
			publishing.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else if !errors.Is(err, fault.AlreadyExists) {
					t.Error(err)
				}
			}
			if won != 1 {
				t.Errorf("%d records got the code", won)
			}
		}
	})
}

// What companions write is in the command's own commit: there with it, and not there without it.
func TestCompanions(t *testing.T) {
	var shadow storage.Keeper
	var seen []string
	fail := errors.New("the companion fails")
	note := func(before, after *record.Record) ([]storage.SystemWrite, error) {
		if after.Name == "fail" {
			return nil, fail
		}
		from := "nothing"
		if before != nil {
			from = before.Name
		}
		seen = append(seen, from+" to "+after.Name)
		return []storage.SystemWrite{shadow.Set(storage.Row{Owner: after.TenantCode, SK: after.SK, Version: after.Version})}, nil
	}
	w := worldtest.New(t, memory.New(), worldtest.Options{Companions: func(keeper func(string) storage.Keeper) map[record.EntityType][]command.Companion {
		shadow = keeper("SHADOW")
		return map[record.EntityType][]command.Companion{record.MustEntityType("PRODUCT"): {note}}
	}})
	acme := worldtest.Scope("acme")
	version := func() int64 {
		row, err := shadow.Get(t.Context(), "acme", "1")
		if err != nil {
			t.Fatal(err)
		}
		return row.Version
	}
	key := w.Key(acme, "PRODUCT", "1")
	w.Publish(acme, command.Input{Key: key, Name: "a"})
	w.Publish(acme, command.Input{Key: key, Version: 1, Name: "b"})
	w.Publish(acme, command.Input{Key: key, Version: 2, Name: "b"})
	if version() != 2 || fmt.Sprint(seen) != "[nothing to a a to b]" {
		t.Errorf("version %d, %q", version(), seen)
	}
	unchanged(t, w, "a companion that fails", func() {
		if _, err := w.Commands.PublishSync(t.Context(), acme, command.Input{Key: key, Version: 2, Name: "fail"}); !errors.Is(err, fail) {
			t.Errorf("%v", err)
		}
		_, err := w.Commands.PublishSync(t.Context(), acme, command.Input{Key: key, Version: 1, Name: "late"})
		refused(t, "a conflict", err, fault.VersionConflict)
	})
	w.Publish(acme, command.Input{Key: w.Key(acme, "ORDER", "1"), Name: "x"})
	if len(seen) != 2 {
		t.Errorf("the companion saw another type: %q", seen)
	}
}

// Which partitions a tenant has is written down with the first record of each.
func TestPartitionsAreNoted(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		acme := worldtest.Scope("acme")
		segmented, err := record.NewPartition(acme, record.MustEntityType("LOG"), "2026-11")
		if err != nil {
			t.Fatal(err)
		}
		log, err := segmented.Key("1")
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []record.Key{w.Key(acme, "PRODUCT", "1"), w.Key(acme, "PRODUCT", "2"), log} {
			w.Publish(acme, command.Input{Key: key, Version: -1, Name: "a"})
			w.Publish(acme, command.Input{Key: key, Version: -1, Name: "b"})
		}
		bravo := worldtest.Scope("bravo")
		w.Publish(bravo, command.Input{Key: w.Key(bravo, "PRODUCT", "1"), Name: "a"})
		noted := map[string]string{}
		for _, code := range []string{"acme", "bravo", "charlie"} {
			rows, err := w.Keeper("PARTITIONS").List(t.Context(), code, "", "", 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				noted[code] += r.SK + " "
			}
		}
		if fmt.Sprint(noted) != "map[acme:LOG#acme#2026-11 PRODUCT#acme  bravo:PRODUCT#bravo ]" {
			t.Errorf("%v", noted)
		}
	})
}
