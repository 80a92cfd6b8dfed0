// Package integrity verifies a whole store: that the invariants of the data model hold, row by row, and that what the
// system keeps beside records says what the records say.
//
//	report, err := integrity.Verify(ctx, app.Store(), sys, integrity.Options{Entities: app.Entities()})
//	fmt.Print(report)
//
// A [Report] says what was checked and what is wrong; an error says that the store could not be read to its end. Every [Problem] names a
// row by its ID, the rule that it breaks, and what to do; it never holds what the row says. The one kind that has a way out here
// is [Interrupted], a command that a crash of another framework left in the log without its data row: [Finish] makes it
// the state of its record, [Discard] removes it.
//
// Verify reads the collections side by side in the order of their keys, a page at a time, so its memory does not grow with the
// store (but for 256 KB, and 40 bytes a record with several versions, at most 20 MB, while it follows the change feed). It may run beside
// writers: what looks wrong is read again until it stands still, and what was written meanwhile may stay unverified.
package integrity

import (
	"context"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Options configure Verify.
type Options struct {
	// Entities says which entity types have unique codes, for the check that each of their live records holds its code.
	// Defaults to none: then only the codes that are held are followed to their records.
	Entities *entity.Registry

	// Limit is how many problems, and how many unreachable partitions, a Report lists; all are counted. Defaults to 100.
	Limit int
}

// Verify checks every invariant of the data model over the whole store. It fails with fault.RoleRequired for the zero
// System; with fault.Internal where a row can't be read, naming the one before it, and then returns what it found up to there; with
// fault.Unavailable where the store can't be reached; and with ctx's error.
func Verify(ctx context.Context, store *storage.Store, sys guard.System, opts Options) (Report, error) {
	across, err := store.Across(ctx, sys)
	if err != nil {
		return Report{}, err
	}
	if opts.Limit <= 0 {
		opts.Limit = 100
	}
	v := &verifier{across: across, unreachable: []string{}, unique: func(record.EntityType) bool { return false }}
	if opts.Entities != nil {
		v.unique = func(t record.EntityType) bool {
			typ, _ := opts.Entities.Lookup(t)
			return typ.UniqueCode
		}
	}
	v.total.limit = opts.Limit
	err = v.run(ctx)
	report := v.total.report()
	report.Unfinished = err != nil
	report.Store, report.Unreachable, report.UnreachableCount, report.Unsettled = store.Engine(), v.unreachable, v.unreachables, v.unsettled
	return report, err
}

// verifier is one run of Verify.
type verifier struct {
	across storage.Across
	unique func(record.EntityType) bool
	feed   feed

	inverse, defaults pairs

	total        tally
	unsettled    int64
	unreachable  []string
	unreachables int64
	passed       string // the PK that was last found unreachable
	partition    string // the PK of the last data row, whose partition is verified
}

func (v *verifier) run(ctx context.Context) error {
	end, err := v.across.End(ctx)
	if err != nil {
		return err
	}
	v.feed = newFeed(end)
	if err := v.records(ctx); err != nil {
		return err
	}
	if err := v.kept(ctx); err != nil {
		return err
	}
	if err := v.strangers(ctx); err != nil {
		return err
	}
	return v.follow(ctx)
}

// tally returns an empty tally of the report's size.
func (v *verifier) tally() tally { return tally{limit: v.total.limit} }

func (v *verifier) get(ctx context.Context, c driver.Collection, pk, sk string, version int64) (*record.Record, error) {
	return v.across.Get(ctx, driver.Ref{Collection: c, PK: pk, SK: sk, Version: version})
}
