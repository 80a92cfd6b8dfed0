// Package transfer moves a store, or one tenant of it, into another store, of any engine, while the source is used:
//
//	result, err := transfer.Copy(ctx, transfer.Side{Store: from.Store(), System: sys}, transfer.Side{Store: to.Store()}, transfer.Options{})
//
// Commands are replayed in the order of the source's change feed: each arrives in one commit with the state that it made and the state
// that it replaced, so that the target is a sound store at every moment, and its feed has every record's versions in their order. The
// copy follows the feed to its end and compares both stores, row by row, while the source is used. Then it pauses the source's writes, copies and
// compares what changed since, and is done only where the digests of every tenant are equal. The pause is exact: a commit that began before it either is copied or fails; see
// storage.PauseNotice. It ends by itself when the copier dies, and a copy whose pause ended is not done. Tenants are copied one after another, into one store or
// several: those that were before stay paused.
//
// How far the copy came stands in the target, in the commit of what it says: a copy that was killed goes on when Copy is called
// again. Until it is done, the target accepts no writes of others. Afterwards the source accepts none, until Resume.
//
// docs/adr/0013-moving-a-store.md says which rows travel and why.
package transfer

import (
	"context"
	"errors"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Side is one of the two stores, and the right to cross tenants in it. The target's is needed for one tenant only: the entry
// about a copy of the whole store arrives with the source's log.
type Side struct {
	Store  *storage.Store
	System guard.System
}

// Options say what is copied, and how.
type Options struct {
	// Tenant is the one tenant to copy. Defaults to the whole store.
	Tenant tenant.Code

	// Term is how long the source stays paused after the copier has died. Defaults to 30 s; at least 3 s.
	Term time.Duration

	// Progress is told how far the copy is, from Copy's goroutine. Defaults to nobody.
	Progress func(Progress)
}

// Phase is what a copy does at a time.
type Phase string

// The phases, in their order.
const (
	Copying   Phase = "copying"   // the source is used meanwhile
	Comparing Phase = "comparing" // both stores are read to their end, and what comes is copied; the source is used meanwhile
	Paused    Phase = "paused"    // what is left is copied and compared; the source accepts no writes
	Done      Phase = "done"
)

// Progress is how far a copy is.
type Progress struct {
	Phase    Phase
	Commands int64   // that arrived so far
	Share    float64 // of what the phase has to do that is done, 0 to 1: an estimate
}

// Result is what a copy came to.
type Result struct {
	Copy        string   `json:"copy"` // its ID
	Tenants     []Digest `json:"tenants"`
	Records     int64    `json:"records"`
	Commands    int64    `json:"commands"`
	History     int64    `json:"history"`
	PauseMillis int64    `json:"pauseMillis"` // from the last write that the source accepted to the first that the target does
}

// The words of what a copy keeps in both stores, beside storage.PauseWord.
const (
	copyWord   = "COPY"
	identity   = "store" // of a store that was copied from
	wholeStore = "all"
)

const (
	systemOwner = "common"
	systemLog   = "AUDIT" + record.Separator + systemOwner // of audit entries
)

// copier is one run of Copy.
type copier struct {
	opts     Options
	sel      selection
	from, to storage.Raw

	source, target keepers
	hold           hold        // on the source
	row            storage.Row // of progress, as it stands in the target
	at             state
	ledger         *ledger         // nil until both stores are compared
	landmarks      []landmark      // in their order
	noted          map[string]bool // partitions of the common tenant that are noted in the target
	began          float64         // the number in front of the source's first change
	compared       int64           // rows that were read side by side
}

// state is how far a copy came, in the target's row of progress.
type state struct {
	Copy        string           `json:"copy"`
	Source      string           `json:"source"`   // the identity of the store that it comes from
	Position    string           `json:"position"` // in the source's feed
	Commands    int64            `json:"commands"`
	Done        bool             `json:"done"`
	Checkpoints map[string]int64 `json:"checkpoints,omitempty"` // of the target's handlers when one tenant began to arrive: their rows' versions
}

// Copy copies from into to. Called again after it failed or its process died, it goes on. It fails with fault.RoleRequired for a zero
// System; fault.InvalidRequest where the stores are one, and where the source holds what this version can't copy; fault.AlreadyExists where the
// target has something already, where the copy is done, and where what is to be copied, or a part of it, was copied before and is paused in the
// source; fault.NotFound for a tenant that the source doesn't have; fault.Unavailable where another copy is under way, the pause ended too early or
// a store can't be reached; and fault.Internal where the stores differ in the end.
func Copy(ctx context.Context, from, to Side, opts Options) (result Result, err error) {
	c, err := newCopier(from, to, opts)
	if err != nil {
		return Result{}, err
	}
	if err := c.begin(ctx, from, to); err != nil {
		return Result{}, errors.Join(err, c.hold.lift(ctx), c.forget(ctx))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.hold.lift(ctx))
		}
	}()
	if err := c.approach(ctx); err != nil {
		return Result{}, err
	}
	for _, step := range []func() error{
		func() error { return c.reconcile(ctx, driver.System) },
		func() error { return c.compare(ctx) },
		func() error { return c.reconcile(ctx, driver.System) }, // again: comparing takes long
		func() error { return c.approach(ctx) },
	} {
		if err := step(); err != nil {
			return Result{}, err
		}
	}
	began, err := c.hold.pause(ctx)
	if err != nil {
		return Result{}, err
	}
	if result, err = c.finish(ctx); err != nil {
		return Result{}, err
	}
	result.PauseMillis = time.Since(began).Milliseconds()
	c.tell(Done, 1)
	return result, nil
}

func newCopier(from, to Side, opts Options) (*copier, error) {
	if opts.Term == 0 {
		opts.Term = 30 * time.Second
	}
	opts.Term = max(opts.Term, 3*time.Second)
	if opts.Progress == nil {
		opts.Progress = func(Progress) {}
	}
	if opts.Tenant.IsCommon() {
		return nil, fault.New(fault.InvalidRequest, "transfer.Copy", "the tenant common is not copied alone; copy the whole store")
	}
	if err := from.System.Check(); err != nil {
		return nil, err
	}
	c := &copier{opts: opts, sel: selection{tenant: opts.Tenant.String()}, noted: map[string]bool{}}
	var err error
	if c.source, err = keepersOf(from.Store); err != nil {
		return nil, err
	}
	if c.target, err = keepersOf(to.Store); err != nil {
		return nil, err
	}
	c.hold = hold{pauses: c.source.pauses, term: opts.Term, tenant: opts.Tenant}
	return c, nil
}

// keepers are those of one store that a copy reads and writes rows of its own with.
type keepers struct{ pauses, copies, checkpoints, parked storage.Keeper }

func keepersOf(s *storage.Store) (k keepers, err error) {
	for word, keeper := range map[string]*storage.Keeper{storage.PauseWord: &k.pauses, copyWord: &k.copies, "CHECKPOINT": &k.checkpoints, "PARKED": &k.parked} {
		if *keeper, err = s.Keeper(scope.NewRoot(), record.MustEntityType(word)); err != nil {
			return k, err
		}
	}
	return k, nil
}

// name is that of the row of progress.
func (c *copier) name() string {
	if c.sel.whole() {
		return wholeStore
	}
	return "tenant" + record.Separator + c.sel.tenant
}

func (c *copier) tell(p Phase, share float64) {
	c.opts.Progress(Progress{Phase: p, Commands: c.at.Commands, Share: min(1, max(0, share))})
}

// begin announces the pause, leaves the audit entries, and begins the copy in the target or finds where it came to.
func (c *copier) begin(ctx context.Context, from, to Side) error {
	if err := c.load(ctx); err != nil {
		return err
	}
	if err := c.hold.announce(ctx, c.at.Copy); err != nil {
		return err
	}
	if here, err := c.target.pauses.Get(ctx, systemOwner, storage.PauseMoving); err != nil {
		return err
	} else if c.hold.is(here) {
		return fault.New(fault.InvalidRequest, "transfer.Copy", "the two stores are one; name another target")
	}
	if err := c.enter(ctx, from, to); err != nil {
		return err
	}
	if c.at.Source == "" {
		if err := c.first(ctx); err != nil {
			return err
		}
	}
	return c.hold.wait(ctx)
}

// load reads how far the copy came, and refuses what is no part of it.
func (c *copier) load(ctx context.Context) error {
	row, err := c.target.copies.Get(ctx, systemOwner, c.name())
	if err != nil {
		return err
	}
	c.row = row
	if row.Version == 0 { // it has its name before it announces anything: whoever finds what a killed one left knows it by that
		c.at = state{Copy: record.NewID()}
		progress, err := c.progress()
		if err == nil {
			err = lost(c.target.copies.Commit(ctx, progress))
		}
		c.row.Version++
		return err
	}
	if err := row.Value.Decode(&c.at); err != nil {
		return err
	}
	if c.at.Done {
		return fault.New(fault.AlreadyExists, "transfer.Copy", "the copy is done; point the servers to the target, or let the source accept writes again (--resume-writes) and copy into another store")
	}
	if c.at.Source == "" {
		return nil
	}
	source, err := c.identity(ctx)
	if err == nil && source.ID != c.at.Source {
		err = fault.New(fault.AlreadyExists, "transfer.Copy", "the target holds a part of a copy of another store; name an empty one")
	}
	return err
}

// forget takes the name of a copy that didn't begin out of the target.
func (c *copier) forget(ctx context.Context) error {
	if c.at.Source != "" || c.row.Version == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return c.target.copies.Commit(ctx, c.target.copies.Delete(c.row))
}

// origin is what a store is known by to copies of it.
type origin struct {
	Version int64  `json:"-"`
	ID      string `json:"id"`
}

func (c *copier) identity(ctx context.Context) (o origin, err error) {
	row, err := c.source.copies.Get(ctx, systemOwner, identity)
	if err != nil {
		return o, err
	}
	o.Version = row.Version
	return o, row.Value.Decode(&o)
}

// enter leaves the audit entries and opens both stores.
func (c *copier) enter(ctx context.Context, from, to Side) (err error) {
	target := from.System
	if !c.sel.whole() {
		if _, err := from.System.Enter(ctx, c.opts.Tenant, time.Time{}); err != nil {
			return err
		}
		target = to.System
	}
	if c.from, err = from.Store.Raw(ctx, scope.NewRoot(), from.System); err != nil {
		return err
	}
	if err := c.listed(ctx); err != nil { // before the target's entry, with which it would not be empty any more
		return err
	}
	c.to, err = to.Store.Raw(ctx, scope.NewRoot(), target)
	return err
}

// first begins a copy: from here on the target accepts nobody else's writes.
func (c *copier) first(ctx context.Context) (err error) {
	if err := c.empty(ctx); err != nil {
		return err
	}
	source, err := c.identity(ctx)
	if err == nil && source.Version == 0 {
		source.ID = record.NewID()
		value, _ := record.EncodeAttributes(source)
		err = c.source.copies.Commit(ctx, c.source.copies.Put(storage.Row{Owner: systemOwner, SK: identity, Value: value}))
	}
	if err != nil {
		return lost(err)
	}
	c.at.Source = source.ID
	if c.at.Checkpoints, err = c.standing(ctx); err != nil {
		return err
	}
	if err := c.arrive(ctx); err != nil {
		return err
	}
	if err := c.hold.wait(ctx); err != nil {
		return err
	}
	if err := c.empty(ctx); err != nil { // looked at again, now that nobody else writes
		c.at.Source = ""
		open, boardErr := c.open(ctx)
		if boardErr == nil {
			boardErr = c.target.pauses.Commit(ctx, open...)
		}
		return errors.Join(err, boardErr)
	}
	return nil
}

// arrive says in the target that the copy is under way, and pauses there what is to arrive.
func (c *copier) arrive(ctx context.Context) error {
	there, err := boardOf(ctx, c.target.pauses)
	if err != nil {
		return err
	}
	arriving, err := notice{Copy: c.at.Copy, Tenant: c.sel.tenant, Arriving: true}.row()
	if err != nil {
		return err
	}
	pause, err := pauseRow(storage.PauseOf(c.opts.Tenant), c.at.Copy)
	if err != nil {
		return err
	}
	progress, err := c.progress()
	if err != nil {
		return err
	}
	there.announced.Expires = 0
	if err := c.target.copies.Commit(ctx, progress, c.target.pauses.Put(arriving), c.target.pauses.Put(there.announced), c.target.pauses.Put(pause)); err != nil {
		return lost(err)
	}
	c.row.Version++
	return nil
}

// open returns the writes that end the copy in the target.
func (c *copier) open(ctx context.Context) ([]storage.SystemWrite, error) {
	there, err := boardOf(ctx, c.target.pauses)
	return there.lift(storage.PauseOf(c.opts.Tenant)), err
}

// listed refuses the copy of a tenant that the source doesn't have.
func (c *copier) listed(ctx context.Context) error {
	if c.sel.whole() || c.opts.Tenant == tenant.Single() || c.at.Source != "" {
		return nil
	}
	listed, err := c.from.Get(ctx, driver.Ref{Collection: driver.System, PK: "TENANTS#common", SK: c.sel.tenant})
	if err == nil && listed == nil {
		return fault.New(fault.NotFound, "transfer.Copy", "the source has no tenant of this code; tenantry tenant list shows those that there are")
	}
	return err
}

// empty refuses a target that has something of what is to be copied.
func (c *copier) empty(ctx context.Context) error {
	for _, collection := range driver.Collections() {
		s := stream{across: c.to.Across, sel: c.sel, collection: collection}
		row, err := s.next(ctx)
		if err != nil {
			return err
		}
		if row == nil {
			continue
		}
		if c.sel.whole() {
			return fault.New(fault.AlreadyExists, "transfer.Copy", "the target is not empty; name a new store")
		}
		return fault.New(fault.AlreadyExists, "transfer.Copy", "the target has something of this tenant already, if only the log of a former one; copy into a store that never had it")
	}
	return nil
}

// progress returns the write that says how far the copy is, if no other run of it has written since.
func (c *copier) progress() (storage.SystemWrite, error) {
	value, err := record.EncodeAttributes(c.at)
	row := c.row
	row.Value = value
	return c.target.copies.Put(row), err
}

// commit makes writes in the target together with how far the copy is.
func (c *copier) commit(ctx context.Context, writes []driver.Write, kept ...storage.SystemWrite) error {
	progress, err := c.progress()
	if err != nil {
		return err
	}
	if err := c.touch(ctx, writes); err != nil {
		return err
	}
	err = c.to.Commit(ctx, writes, append([]storage.SystemWrite{progress}, kept...)...)
	conflict, ok := errors.AsType[*driver.Conflict](err)
	switch {
	case err == nil:
		c.row.Version++
		return nil
	case ok && conflict.Write < len(writes):
		return fault.New(fault.AlreadyExists, "transfer.Copy", "a user has another default tenant in the target; change one of the two and copy again")
	case ok && conflict.Write > len(writes):
		return fault.New(fault.InvalidRequest, "transfer.Copy", "handlers of the target ran while the tenant arrived, and may have run for its commands; copy into a store whose servers are stopped")
	}
	return lost(err)
}

// lost says what a conflict means, in rows of which each copy has its own.
func lost(err error) error {
	if _, ok := errors.AsType[*driver.Conflict](err); ok {
		return fault.New(fault.Unavailable, "transfer.Copy", "another copy of this store is under way, or this one was ended; try again when it has ended")
	}
	return err
}

// finish copies what is left while the source is paused, compares, and hands over.
func (c *copier) finish(ctx context.Context) (Result, error) {
	c.tell(Paused, 0)
	end, err := c.from.Advance(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := c.follow(ctx, end); err != nil {
		return Result{}, err
	}
	result, err := c.conclude(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := c.place(ctx); err != nil {
		return Result{}, err
	}
	if err := c.still(ctx); err != nil {
		return Result{}, err
	}
	if err := c.hold.keep(ctx); err != nil {
		return Result{}, err
	}
	open, err := c.open(ctx)
	if err != nil {
		return Result{}, err
	}
	c.at.Done = true
	return result, c.commit(ctx, nil, open...)
}

// still fails where the source's feed went on in the pause: a commit that began before the announcement stood still until now.
func (c *copier) still(ctx context.Context) error {
	if _, err := c.from.Advance(ctx); err != nil {
		return err
	}
	late, err := c.from.Changes(ctx, driver.Position(c.at.Position), 1)
	if err == nil && len(late) > 0 {
		err = fault.New(fault.Unavailable, "transfer.Copy", "the source accepted a command in the pause, which a process sent before it; copy again, what has arrived stays")
	}
	return err
}
