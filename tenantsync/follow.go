package tenantsync

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
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
	healAfter    = 10 * time.Second       // between a failure of a target and the sync that mends it, and between two looks for targets that need one
	changesAtOne = 500                    // look at the feed
	triesOfOne   = 3                      // of a target in a row, before it is left behind
	conflictsOf  = 5                      // of one record, which the target changes at the same time
)

// follower follows the change feed for the rules, in one of the processes that share a store. It belongs to one goroutine.
type follower struct {
	*Service
	across  storage.Across
	me      string      // in the row of the feed: another name each time that this process begins to follow it
	seen    storage.Row // the row of the feed as it was when it last changed
	at      feedRow     // what it says, while this process follows the feed
	since   time.Time   // when that was seen, or renewed
	due     time.Time   // when all targets are looked at next
	systems map[lane]scope.System
	newest  map[string]*crossing // by rule
	failed  map[lane]int         // in a row
	healed  map[lane]time.Time   // when a target was left behind, or its sync was ordered
}

// lane is one target of one rule.
type lane struct {
	target tenant.Code
	rule   string
}

// crossing is a System and how many tenants it is for.
type crossing struct {
	sys     scope.System
	tenants int
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
	defer f.release(ctx)
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
	return &follower{Service: s, across: across, me: record.NewID(), systems: map[lane]scope.System{}, newest: map[string]*crossing{}, failed: map[lane]int{}, healed: map[lane]time.Time{}}
}

// look copies what changed since the last look, and returns how long to rest.
func (f *follower) look(ctx context.Context) (rest time.Duration, err error) {
	rules, err := f.rules(ctx)
	if err != nil || len(rules) == 0 {
		return lookForRules, err
	}
	held, err := f.hold(ctx, rules)
	if err != nil || !held {
		return lookForFeed, err
	}
	changes, err := f.across.Changes(ctx, driver.Position(f.at.Position), changesAtOne)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	all := !began.Before(f.due)
	for _, r := range rules {
		if err := f.carry(ctx, r, changes, all); err != nil {
			return 0, err
		}
	}
	if all { // a tenth of the time at most, whatever the number of targets
		f.due = time.Now().Add(max(healAfter, (lookPart-1)*time.Since(began)))
	}
	if len(changes) > 0 {
		f.at.Position = string(changes[len(changes)-1].Position)
		if err := f.keep(ctx); err != nil {
			return 0, err
		}
	}
	if err := f.renew(ctx); err != nil || len(changes) == changesAtOne {
		return 0, err
	}
	return lookForFeed, nil
}

// hold reads where the rules are, and reports whether this process follows the feed for them: it does where nobody did, or whoever did gave
// no sign of life for a term by this process's clock. That one writes nothing any more.
func (f *follower) hold(ctx context.Context, rules []*ruleRow) (held bool, err error) {
	row, err := f.cfg.Feed.Get(ctx, owner, feedSK)
	if err != nil {
		return false, err
	}
	f.at = feedRow{}
	if err := row.Value.Decode(&f.at); err != nil {
		return false, err
	}
	if row.Version == 0 || row.Version != f.seen.Version {
		f.seen, f.since = row, time.Now()
	}
	switch {
	case row.Version == 0: // the rules came with a copy of another store, whose feed this is not
		return false, f.begin(ctx, rules)
	case f.at.Holder == f.me:
		return true, nil
	case f.at.Holder != "" && time.Since(f.since) < takeAfter:
		return false, nil
	}
	var with []storage.SystemWrite
	if f.at.Holder != "" {
		with = f.fenceOf(f.at.Holder).closed(f.cfg.Now().Add(Retention).Unix())
	}
	f.me, f.due = record.NewID(), time.Time{}
	f.at.Holder = f.me
	err = f.keep(ctx, with...)
	if lost(err) {
		return false, nil
	}
	return err == nil, err
}

// keep writes where the rules are and what goes with it, unless another process did.
func (f *follower) keep(ctx context.Context, with ...storage.SystemWrite) error {
	write, err := f.feedWrite(f.seen, f.at)
	if err != nil {
		return err
	}
	if err := f.cfg.Feed.CommitUnpaused(ctx, append(with, write)...); err != nil {
		return err
	}
	f.seen.Version++
	f.since = time.Now()
	return nil
}

// renew says now and then that this process follows the feed. It fails where another does.
func (f *follower) renew(ctx context.Context) error {
	if time.Since(f.since) < renewEvery {
		return nil
	}
	return f.keep(ctx)
}

// release lets another process follow the feed at once. Where that fails, another does when the term is over.
func (f *follower) release(ctx context.Context) {
	if f.at.Holder != f.me {
		return
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewEvery)
	defer cancel()
	f.at.Holder = ""
	if err := f.keep(ending); err != nil && !lost(err) {
		f.cfg.Log.WarnContext(ctx, "who follows the feed for sync rules could not say that it ends; others find out", "error", err)
	}
}

// begin has rules begin at the feed's end, and what was there before synced.
func (f *follower) begin(ctx context.Context, rules []*ruleRow) error {
	end, err := f.across.End(ctx)
	if err != nil {
		return err
	}
	for _, r := range rules {
		source, err := f.cfg.State(ctx, r.request.Source)
		if err != nil {
			return err
		}
		if r.stands(source) != nil {
			continue
		}
		if err := f.syncWhole(ctx, f.system(r, r.request.Source), r, r.request); err != nil {
			return err
		}
	}
	f.at = feedRow{Position: string(end), Holder: f.me}
	return f.keep(ctx)
}

// system returns the System by which a rule acts in a tenant, in the name of who added it: one for each process and so many tenants, so that a tenant's audit log has
// an entry for that and not for every change.
func (f *follower) system(r *ruleRow, code tenant.Code) scope.System {
	at := lane{code, r.id}
	if sys, ok := f.systems[at]; ok {
		return sys
	}
	c := f.newest[r.id]
	if c == nil || c.tenants == named {
		c = &crossing{sys: scope.NewSystem(record.NewID(), r.By.acting(r.id, bySync), "sync rule for "+r.EntityType, f.cfg.Auditor)}
		f.newest[r.id] = c
	}
	c.tenants++
	f.systems[at] = c.sys
	return c.sys
}

// carry copies what changes say of one rule's source to its targets. With all, and where something changed, those that do not follow the rule, or are behind, are synced.
func (f *follower) carry(ctx context.Context, r *ruleRow, changes []driver.Change, all bool) error {
	items := r.concerning(changes)
	if len(items) == 0 && !all {
		return nil
	}
	source, err := f.cfg.State(ctx, r.request.Source)
	if err != nil || r.stands(source) != nil {
		return err
	}
	targets := r.request.Targets
	if r.request.All {
		if targets, err = f.cfg.Active(ctx, f.system(r, r.request.Source)); err != nil {
			return err
		}
		targets = r.request.without(targets)
	}
	lanes, err := f.lanes(ctx, r) // read after the changes: who follows from now on is synced with what the source says then
	if err != nil {
		return err
	}
	said := len(r.Errors)
	var away []tenant.Code
	for _, code := range targets {
		if err := f.renew(ctx); err != nil {
			return err
		}
		follows, err := f.carryTo(ctx, r, code, lanes[code], items)
		if err != nil {
			return err
		}
		if !follows {
			away = append(away, code)
		}
		delete(lanes, code)
	}
	for _, p := range lanes { // of tenants that are not active now
		if err := f.lapse(ctx, r, p); err != nil {
			return err
		}
	}
	if len(r.Errors) != said {
		r.Errors = r.Errors[max(0, len(r.Errors)-maxErrors):]
		write, err := f.ruleWrite(r)
		if err != nil {
			return err
		}
		if err := f.cfg.Rules.CommitUnpaused(ctx, write); err != nil {
			return err
		}
		r.version++
	}
	return f.heal(ctx, r, away)
}

// lanes returns how the targets of a rule follow it.
func (f *follower) lanes(ctx context.Context, r *ruleRow) (map[tenant.Code]*part, error) {
	parts, err := f.parts(ctx, r.id)
	all := make(map[tenant.Code]*part, len(parts))
	for _, p := range parts {
		all[p.task.Target] = p
	}
	return all, err
}

// carryTo copies items to one target, and reports whether it follows the rule. One that does not is to be synced, if it can be: p is nil for a new one.
func (f *follower) carryTo(ctx context.Context, r *ruleRow, code tenant.Code, p *part, items []item) (follows bool, err error) {
	state, err := f.cfg.State(ctx, code)
	if err != nil || p == nil {
		return false, err
	}
	now := &part{Born: p.Born}
	switch now.stopUnless(state); {
	case now.Code != "" && r.request.All && state.Exists && !state.Suspended: // a new life of the tenant is a new tenant
		return false, nil
	case now.Code != "":
		return true, f.leave(ctx, r, p, now.Code, now.Message)
	case p.Code != "":
		return false, nil
	}
	at := lane{code, r.id}
	for chunk := range slices.Chunk(items, f.pageItems) {
		failures, err := f.copy(ctx, r, p, chunk)
		if err != nil {
			if f.failed[at]++; f.failed[at] < triesOfOne || ctx.Err() != nil || f.fenceOf(f.me).check(ctx, 0) != nil {
				return true, err
			}
			e := fault.As(err)
			return true, f.leave(ctx, r, p, e.Code, e.Msg)
		}
		for _, failure := range failures {
			r.Errors = append(r.Errors, ruleError{Tenant: code.String(), Failure: failure})
		}
	}
	delete(f.failed, at)
	return true, nil
}

// leave leaves a target behind, where it isn't for that reason.
func (f *follower) leave(ctx context.Context, r *ruleRow, p *part, code fault.Code, message string) error {
	at := lane{p.task.Target, r.id}
	delete(f.failed, at)
	if p.Code == code && p.Message == message {
		return nil
	}
	f.healed[at] = time.Now()
	p.Code, p.Message = code, message
	return f.savePart(ctx, p)
}

// lapse leaves a target behind that is no active tenant any more; one that was deleted is forgotten.
func (f *follower) lapse(ctx context.Context, r *ruleRow, p *part) error {
	state, err := f.cfg.State(ctx, p.task.Target)
	if err != nil {
		return err
	}
	now := &part{Born: p.Born}
	if now.stopUnless(state); now.Code == "" { // it is active again
		return nil
	}
	if !state.Exists {
		return f.cfg.Parts.CommitUnpaused(ctx, f.cfg.Parts.Remove(storage.Row{Owner: owner, SK: p.task.key(), Version: p.version}))
	}
	return f.leave(ctx, r, p, now.Code, now.Message)
}

// heal has targets synced as a whole, those for which it is time; from then on they follow. While an earlier sync of the rule still spreads to its targets,
// they may be among these.
func (f *follower) heal(ctx context.Context, r *ruleRow, codes []tenant.Code) error {
	codes = slices.DeleteFunc(codes, func(code tenant.Code) bool { return time.Since(f.healed[lane{code, r.id}]) < healAfter })
	if len(codes) == 0 {
		return nil
	}
	before, err := f.order(ctx, r.Sync)
	switch {
	case fault.CodeOf(err) == fault.NotFound: // it is over, and forgotten
	case err != nil:
		return err
	case before.Spread != nil && !before.Cancelled:
		return nil
	}
	some := r.request
	some.All, some.Targets = false, codes[:min(len(codes), MaxTargets)]
	if err := f.syncWhole(ctx, f.system(r, some.Source), r, some); err != nil {
		return err
	}
	for _, code := range some.Targets {
		f.healed[lane{code, r.id}] = time.Now()
	}
	return nil
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
	sys := f.system(r, p.task.Target)
	w := &stride{Service: f.Service, order: &order{Body: r.Body, ID: r.id}, part: p, rule: r.id, fence: f.fenceOf(f.me),
		copying: copying{request: r.request, at: record.At(f.cfg.Now())}}
	if w.into, err = f.enterAs(ctx, sys, p.task.Target, p.Born); err != nil {
		return nil, err
	}
	if w.from, err = f.enterAs(ctx, sys, r.request.Source, r.Born); err != nil {
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

func (s *Service) enterAs(ctx context.Context, sys scope.System, code tenant.Code, born int64) (storage.View, error) {
	sc, err := sys.Enter(ctx, code, bornAt(born))
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
