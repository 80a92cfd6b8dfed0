package integrity

import (
	"context"
	"strings"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// records verifies every record. Data, commands and history come side by side in the order of their keys.
func (v *verifier) records(ctx context.Context) error {
	data, log, past := v.all(driver.Data), v.all(driver.Command), v.all(driver.History)
	log.each = v.feed.logged
	for {
		n, ok, err := first(ctx, data, log, past)
		if err != nil || !ok {
			return err
		}
		current, err := data.take(ctx, n)
		if err != nil {
			return err
		}
		t, err := v.record(ctx, n, current, log, past)
		if err == nil && !t.sound() {
			t, err = v.again(ctx, n)
		}
		if err != nil {
			return err
		}
		v.total.add(t)
		if current != nil {
			v.partition = n.pk
			v.addMembership(current)
		}
	}
}

// again verifies a record in which something was wrong by itself: its rows were read in pages, between which others may have
// written. It is sure of what it says once the record has not changed meanwhile.
func (v *verifier) again(ctx context.Context, n name) (tally, error) {
	for range attempts {
		before, err := v.get(ctx, driver.Data, n.pk, n.sk, 0)
		if err != nil {
			return tally{}, err
		}
		t, err := v.record(ctx, n, before, v.of(n, driver.Command), v.of(n, driver.History))
		if err != nil {
			return tally{}, err
		}
		after, err := v.get(ctx, driver.Data, n.pk, n.sk, 0)
		if err != nil {
			return tally{}, err
		}
		if (before == nil) == (after == nil) && (before == nil || before.Version == after.Version) {
			return t, nil
		}
	}
	v.unsettled++
	return v.tally(), nil
}

// attempts bounds how often what changes is verified again.
const attempts = 10

// record verifies one record: its data row, its commands, its history, and what the system keeps for it.
func (v *verifier) record(ctx context.Context, n name, current *record.Record, log, past *stream) (tally, error) {
	at, reachable := locate(n.pk)
	c := &recordCheck{tally: v.tally(), name: n, place: at, current: current}
	cmd, err := log.take(ctx, n)
	if err != nil {
		return c.tally, err
	}
	state, err := past.take(ctx, n)
	for err == nil && (cmd != nil || state != nil) {
		switch {
		case state == nil || cmd != nil && cmd.Version < state.Version:
			c.command(cmd)
			cmd, err = log.take(ctx, n)
		case cmd == nil || state.Version < cmd.Version:
			c.replaced(state, nil)
			state, err = past.take(ctx, n)
		default:
			c.command(cmd)
			c.replaced(state, cmd)
			if cmd, err = log.take(ctx, n); err == nil {
				state, err = past.take(ctx, n)
			}
		}
	}
	if err != nil {
		return c.tally, err
	}
	if !reachable {
		v.unreach(n.pk)
		return v.tally(), nil
	}
	c.end()
	return c.tally, v.beside(ctx, c)
}

// unreach notes a PK that no Scope can name. PKs come in their order.
func (v *verifier) unreach(pk string) {
	if v.unreachables > 0 && v.passed == pk {
		return
	}
	v.passed = pk
	v.unreachables++
	if len(v.unreachable) < v.total.limit {
		v.unreachable = append(v.unreachable, pk)
	}
}

// recordCheck is one record under verification. Its commands and replaced states come in the order of their versions.
type recordCheck struct {
	tally
	name
	place
	current *record.Record // the data row, nil for none

	last   *record.Record // the newest command so far
	head   *record.Record // the command of the current version
	kept   int64          // the newest replaced version so far
	copied bool           // history holds the current version too
}

func (c *recordCheck) logged() int64 {
	if c.last == nil {
		return 0
	}
	return c.last.Version
}

// command verifies the next command.
func (c *recordCheck) command(cmd *record.Record) {
	ref := c.ref(driver.Command, cmd.Version)
	for _, k := range []Kind{Log, Interrupted, Attributes, Times, Tenant} {
		c.checked[k]++
	}
	switch due := c.logged() + 1; {
	case cmd.Version < 1:
		c.found(Log, ref, "version %d is none; the first is 1", cmd.Version)
		return
	case cmd.Version > due:
		c.found(Log, c.ref(driver.Command, due), "the commands from version %d to %d are missing", due, cmd.Version-1)
	}
	if !c.names(cmd.TenantCode) {
		c.found(Tenant, ref, "tenantCode is not the tenant that the pk names")
	}
	if !canonical(cmd.Attributes) || !canonical(cmd.Metadata) {
		c.found(Attributes, ref, "attributes or metadata are not canonical")
	}
	// A time of whole seconds counts at its second's end.
	if c.last != nil && !c.last.UpdatedAt.IsZero() && !cmd.UpdatedAt.IsZero() && !cmd.UpdatedAt.After(c.last.UpdatedAt.Time().Add(-time.Millisecond)) {
		c.found(Times, ref, "updatedAt lies before that of version %d", c.last.Version)
	}
	c.last = cmd
	if c.current != nil && c.current.Version == cmd.Version {
		c.head = cmd
	}
}

// replaced verifies the next replaced state; cmd is the command of its version, nil where it is missing.
func (c *recordCheck) replaced(state, cmd *record.Record) {
	c.checked[History]++
	ref := c.ref(driver.History, state.Version)
	if c.current != nil && state.Version == c.current.Version {
		c.copied = true
	} else if state.Version < 1 || c.current != nil && state.Version > c.current.Version {
		c.found(History, ref, "version %d was never replaced", state.Version)
		return
	} else {
		c.missing(state.Version - 1)
		c.kept = state.Version
	}
	if cmd != nil {
		c.compare(History, ref, cmd, state)
	}
}

// missing reports the replaced versions up to one that should be in history and are not.
func (c *recordCheck) missing(until int64) {
	if c.kept < until {
		c.found(History, c.ref(driver.History, c.kept+1), "the versions from %d to %d are missing", c.kept+1, until)
	}
}

// compare verifies that a row says what its command says.
func (c *recordCheck) compare(k Kind, ref driver.Ref, cmd, row *record.Record) {
	fields := differences(cmd, row, c.older)
	if len(fields) == 0 {
		return
	}
	if fields = differences(recoded(cmd), recoded(row), c.older); len(fields) > 0 {
		c.found(k, ref, "it does not say what its command says in %s", strings.Join(fields, ", "))
	} else if canonical(cmd.Attributes) && canonical(cmd.Metadata) {
		c.found(Attributes, ref, "attributes or metadata are not canonical")
	}
}

// end verifies the record as a whole, after its last command and replaced state.
func (c *recordCheck) end() {
	c.checked[Keys]++
	if err := record.CheckSortKey(c.sk); err != nil {
		c.found(Keys, c.ref(driver.Data, 0), "the sort key is not one that a request can name")
	}
	c.checked[State]++
	ref, logged := c.ref(driver.Data, 0), c.logged()
	if c.current == nil {
		if logged == 1 && c.kept == 0 {
			c.found(Interrupted, c.ref(driver.Command, 1), "the command that creates the record has no data row")
		} else {
			c.found(State, ref, "there is no data row; the log ends at version %d", logged)
		}
		return
	}
	now := c.current.Version
	c.missing(now - 1)
	switch {
	case now < 1:
		c.found(State, ref, "the data row has version %d, which no command makes", now)
	case logged < now:
		c.found(State, ref, "the data row is at version %d, the log ends at %d", now, logged)
	case c.head != nil && c.head.Status != record.StatusFinished:
		c.found(State, ref, "the command of the current version is not marked finished")
	case c.head != nil:
		c.compare(State, ref, c.head, c.current)
	}
	switch {
	case logged == now+1:
		c.found(Interrupted, c.ref(driver.Command, logged), "the data row is still at version %d", now)
	case logged > now:
		c.found(State, ref, "the data row is at version %d, the log goes on to %d", now, logged)
	case c.copied:
		c.found(History, c.ref(driver.History, now), "history holds the current version too")
	}
}

// canonical reports whether text is its own canonical form.
func canonical(text record.Attributes) bool {
	parsed, err := record.ParseAttributes(text)
	return len(text) == 0 || err == nil && string(parsed) == string(text)
}

// recoded returns r with its JSON in canonical form, where it has one.
func recoded(r *record.Record) *record.Record {
	r = r.Clone()
	for _, text := range []*record.Attributes{&r.Attributes, &r.Metadata} {
		if parsed, err := record.ParseAttributes(*text); err == nil {
			*text = parsed
		}
	}
	return r
}

// differences names the fields in which a row does not say what its command says. Rows of mbc-cqrs-serverless, known by their whole
// seconds, keep provenance and TTL of their own.
func differences(cmd, row *record.Record, older bool) (fields []string) {
	differ := func(field string, same bool) {
		if !same {
			fields = append(fields, field)
		}
	}
	differ("code", cmd.Code == row.Code)
	differ("name", cmd.Name == row.Name)
	differ("tenantCode", cmd.TenantCode == row.TenantCode || older && strings.EqualFold(cmd.TenantCode, row.TenantCode))
	differ("type", cmd.Type == row.Type)
	differ("isDeleted", cmd.IsDeleted == row.IsDeleted)
	differ("seq", cmd.Seq == row.Seq)
	differ("attributes", string(cmd.Attributes) == string(row.Attributes))
	differ("metadata", string(cmd.Metadata) == string(row.Metadata))
	if cmd.UpdatedAt.After(cmd.UpdatedAt.Time()) || cmd.CreatedAt.After(cmd.CreatedAt.Time()) { // whole seconds end later than they begin
		return fields
	}
	differ("ttl", cmd.TTL == row.TTL)
	differ("source", cmd.Source == row.Source)
	differ("requestId", cmd.RequestID == row.RequestID)
	differ("createdAt", cmd.CreatedAt == row.CreatedAt)
	differ("createdBy", cmd.CreatedBy == row.CreatedBy)
	differ("createdIp", cmd.CreatedIP == row.CreatedIP)
	differ("updatedAt", cmd.UpdatedAt == row.UpdatedAt)
	differ("updatedBy", cmd.UpdatedBy == row.UpdatedBy)
	differ("updatedIp", cmd.UpdatedIP == row.UpdatedIP)
	return fields
}
