package tenantsync

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

const (
	lookForRules = time.Second            // while there are none
	lookForFeed  = 100 * time.Millisecond // for what changed, while there are rules
	renewEvery   = time.Second            // how often the process that follows the feed says that it does
	takeAfter    = 4 * time.Second        // without that, another process follows it
	healAfter    = 10 * time.Second       // between a failure of a target and the sync that mends it
	changesAtOne = 500                    // look at the feed
	triesOfOne   = 3                      // of a target in a row, before it is left behind
	conflictsOf  = 5                      // of one record, which the target changes at the same time
)

// follower follows the change feed for the rules, in one of the processes that share a store. It belongs to one goroutine.
type follower struct {
	*Service
	across  storage.Across
	me      string
	seen    storage.Row // the row of the feed as it was when it last changed
	since   time.Time   // when that was seen, or renewed
	systems map[string]scope.System
	failed  map[lane]int       // in a row
	healed  map[lane]time.Time // when a target was left behind
}

// lane is one target of one rule.
type lane struct {
	target tenant.Code
	rule   string
}

// Follow has targets follow their rules until the context ends. Of the processes that share a store one does it at a time; another takes over
// within seconds. What was copied when a process died may be looked at again, which changes nothing.
func (s *Service) Follow(ctx context.Context) {
	across, err := s.cfg.Store.Across(ctx, scope.NewSystem("", scope.Actor{UserID: "system"}, "follow the change feed for sync rules", nil))
	if err != nil {
		s.cfg.Log.ErrorContext(ctx, "rules can't read the change feed", "error", err)
		return
	}
	f := s.follower(across)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		rest, err := f.look(ctx)
		if err != nil {
			rest = lookForRules
			if ctx.Err() == nil && !failing {
				s.cfg.Log.WarnContext(ctx, "sync rules stand still and try again", "error", err)
			}
		}
		failing = err != nil
		timer.Reset(rest)
	}
}

func (s *Service) follower(across storage.Across) *follower {
	return &follower{Service: s, across: across, me: record.NewID(), systems: map[string]scope.System{}, failed: map[lane]int{}, healed: map[lane]time.Time{}}
}

// look copies what changed since the last look, and returns how long to rest.
func (f *follower) look(ctx context.Context) (rest time.Duration, err error) {
	rules, err := f.rules(ctx)
	if err != nil || len(rules) == 0 {
		return lookForRules, err
	}
	at, held, err := f.hold(ctx, rules)
	if err != nil || !held {
		return lookForFeed, err
	}
	changes, err := f.across.Changes(ctx, driver.Position(at.Position), changesAtOne)
	if err != nil {
		return 0, err
	}
	for _, r := range rules {
		if err := f.carry(ctx, r, changes); err != nil {
			return 0, err
		}
	}
	if len(changes) > 0 {
		at.Position = string(changes[len(changes)-1].Position)
	}
	if len(changes) > 0 || time.Since(f.since) >= renewEvery {
		if err := f.keep(ctx, at); err != nil {
			return 0, err
		}
	}
	if len(changes) == changesAtOne {
		return 0, nil
	}
	return lookForFeed, nil
}

// hold reads where the rules are, and reports whether this process follows the feed for them: it does where nobody did, or whoever did gave
// no sign of life for a term by this process's clock.
func (f *follower) hold(ctx context.Context, rules []*ruleRow) (at feedRow, held bool, err error) {
	row, err := f.cfg.Feed.Get(ctx, owner, feedSK)
	if err != nil {
		return at, false, err
	}
	if err := row.Value.Decode(&at); err != nil {
		return at, false, err
	}
	if row.Version == 0 || row.Version != f.seen.Version {
		f.seen, f.since = row, time.Now()
	}
	switch {
	case row.Version == 0: // the rules came with a copy of another store, whose feed this is not
		return at, false, f.begin(ctx, rules)
	case at.Holder == f.me:
		return at, true, nil
	case at.Holder == "", time.Since(f.since) >= takeAfter:
		at.Holder = f.me
		err = f.keep(ctx, at)
	}
	if lost(err) {
		return at, false, nil
	}
	return at, at.Holder == f.me, err
}

// keep writes where the rules are, unless another process did.
func (f *follower) keep(ctx context.Context, at feedRow) error {
	write, err := f.feedWrite(f.seen, at)
	if err != nil {
		return err
	}
	if err := f.cfg.Feed.CommitUnpaused(ctx, write); err != nil {
		return err
	}
	f.seen.Version++
	f.since = time.Now()
	return nil
}

// begin has rules begin at the feed's end, and what was there before synced.
func (f *follower) begin(ctx context.Context, rules []*ruleRow) error {
	end, err := f.across.End(ctx)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if _, err := f.Plan(ctx, f.system(r), r.request, Order{Apply: true}); err != nil {
			return err
		}
	}
	return f.keep(ctx, feedRow{Position: string(end), Holder: f.me})
}

// system returns the System that a rule acts by, in the name of who added it: one for each process, so that a tenant's audit log has an entry for
// that and not for every change.
func (f *follower) system(r *ruleRow) scope.System {
	sys, ok := f.systems[r.id]
	if !ok {
		sys = scope.NewSystem(record.NewID(), r.By.acting(r.id, bySync), "sync rule for "+r.EntityType, f.cfg.Auditor)
		f.systems[r.id] = sys
	}
	return sys
}

// carry copies what changes say of one rule's source to its targets, and mends those that were left behind.
func (f *follower) carry(ctx context.Context, r *ruleRow, changes []driver.Change) error {
	items := r.concerning(changes)
	if len(items) == 0 && len(r.Behind) == 0 {
		return nil
	}
	targets := r.request.Targets
	if r.request.All {
		var err error
		if targets, err = f.cfg.Active(ctx, f.system(r)); err != nil {
			return err
		}
		targets = r.request.without(targets)
	}
	changed := false
	for _, code := range targets {
		if code == r.request.Source {
			continue
		}
		now, err := f.carryTo(ctx, r, code, items)
		if err != nil {
			return err
		}
		changed = changed || now
	}
	if !changed {
		return nil
	}
	write, err := f.ruleWrite(r)
	if err != nil {
		return err
	}
	if err := f.cfg.Rules.CommitUnpaused(ctx, write); !lost(err) {
		return err
	}
	return nil // it was removed
}

// carryTo copies items to one target. Changed says that the rule has something new to say.
func (f *follower) carryTo(ctx context.Context, r *ruleRow, code tenant.Code, items []item) (changed bool, err error) {
	at := lane{code, r.id}
	state, err := f.cfg.State(ctx, code)
	if err != nil {
		return false, err
	}
	_, behind := r.Behind[code.String()]
	p := &part{task: Task{r.id, code}, Born: born(state)}
	switch p.stopUnless(state); {
	case p.Code != "" && behind:
		return false, nil
	case p.Code != "":
		return f.leave(r, at, Failure{Code: p.Code, Message: p.Message}), nil
	case behind:
		return f.heal(ctx, r, at)
	}
	for chunk := range slices.Chunk(items, f.pageItems) {
		failures, err := f.copy(ctx, r, p, chunk)
		if err != nil {
			if f.failed[at]++; f.failed[at] < triesOfOne || ctx.Err() != nil {
				return changed, err
			}
			e := fault.As(err)
			return f.leave(r, at, Failure{Code: e.Code, Message: e.Msg}), nil
		}
		for _, failure := range failures {
			r.Errors = append(r.Errors, ruleError{Tenant: code.String(), Failure: failure})
			r.Errors, changed = r.Errors[max(0, len(r.Errors)-maxErrors):], true
		}
	}
	delete(f.failed, at)
	return changed, nil
}

// leave leaves a target behind.
func (f *follower) leave(r *ruleRow, at lane, why Failure) bool {
	if r.Behind == nil {
		r.Behind = map[string]Failure{}
	}
	r.Behind[at.target.String()] = why
	f.healed[at] = time.Now()
	delete(f.failed, at)
	return true
}

// heal syncs a target that was left behind as a whole, once it was for a while. From then on it follows again.
func (f *follower) heal(ctx context.Context, r *ruleRow, at lane) (healed bool, err error) {
	if time.Since(f.healed[at]) < healAfter {
		return false, nil
	}
	only := r.request
	only.All, only.Targets = false, []tenant.Code{at.target}
	if _, err := f.Plan(ctx, f.system(r), only, Order{Apply: true}); err != nil {
		return false, err
	}
	delete(r.Behind, at.target.String())
	return true, nil
}

// concerning returns the records of the rule's source that changes are about, each once.
func (r *ruleRow) concerning(changes []driver.Change) (items []item) {
	seen := map[item]bool{}
	for _, c := range changes {
		cmd, ok := storage.Shown(c.Command)
		if !ok {
			continue
		}
		typ, code, rest, err := record.SplitPK(cmd.PK)
		if err != nil || typ != r.request.EntityType || code != r.request.Source || !strings.HasPrefix(cmd.SK, r.request.Prefix) {
			continue
		}
		if it := (item{Partition: rest, SK: cmd.SK}); !seen[it] {
			seen[it] = true
			items = append(items, it)
		}
	}
	return items
}

// copy makes the target's records what the source's are now. A record that the target changes meanwhile is looked at again.
func (f *follower) copy(ctx context.Context, r *ruleRow, p *part, items []item) (failed []Failure, err error) {
	sys := f.system(r)
	source, err := f.cfg.State(ctx, r.request.Source)
	if err != nil || !source.Exists {
		return nil, err
	}
	w := &stride{Service: f.Service, order: &order{Body: r.Body, ID: r.id}, part: p, rule: r.id,
		copying: copying{request: r.request, at: record.At(f.cfg.Now())}}
	if w.into, err = f.open(ctx, sys, p.task.Target, guard.State{Born: bornAt(p.Born)}); err != nil {
		return nil, err
	}
	if w.from, err = f.open(ctx, sys, r.request.Source, source); err != nil {
		return nil, err
	}
	for try := 1; len(items) > 0; try++ {
		failures, chosen, err := w.follow(ctx, items)
		if err != nil {
			return nil, err
		}
		items = nil
		for i, it := range chosen {
			switch failure, ok := failures[i]; {
			case !ok:
			case failure.Code == fault.VersionConflict && try < conflictsOf:
				items = append(items, it)
			default:
				failed = append(failed, failure)
			}
		}
	}
	return failed, nil
}

func (s *Service) open(ctx context.Context, sys scope.System, code tenant.Code, state guard.State) (storage.View, error) {
	sc, err := sys.Enter(ctx, code, state.Born)
	if err != nil {
		return storage.View{}, err
	}
	return s.cfg.Store.In(sc)
}

// follow looks at records and writes those that a rule changes in the target. It returns those, and which of them failed, by their index. The target
// is read before the source: what is written, if the target is still as it was read, is no older than what another process wrote.
func (w *stride) follow(ctx context.Context, items []item) (failures map[int]Failure, chosen []item, err error) {
	intos, err := w.twins(ctx, w.into, items)
	if err != nil {
		return nil, nil, err
	}
	froms, err := w.twins(ctx, w.from, items)
	if err != nil {
		return nil, nil, err
	}
	var current, copied []*record.Record
	for i, from := range froms {
		it, err := w.towards(from, intos[i])
		if err != nil {
			return nil, nil, err
		}
		if it.writes() {
			chosen, current, copied = append(chosen, it), append(current, intos[i]), append(copied, from)
		}
	}
	failures, err = w.write(ctx, chosen, current, copied)
	return failures, chosen, err
}

// towards returns what a rule does to a target's record, nil for none, because of one of the source, nil for none.
func (w *stride) towards(from, into *record.Record) (item, error) {
	switch {
	case from == nil,
		w.request.WithoutCopies && isCopy(from),
		strings.Contains(from.Source, w.rule), // it came this way before
		isCopy(from) && copiedFrom(from) == w.into.Scope().Tenant(),
		from.IsDeleted && (!w.request.Deletes || into == nil || into.IsDeleted):
		return item{Do: Leave}, nil
	case from.IsDeleted:
		return w.gone(into), nil
	}
	return w.decide(from, into)
}
