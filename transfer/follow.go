package transfer

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// A page of changes makes at most three writes each, one that notes its partition, and one that says how far the copy is: a commit of no more
// than driver.MaxBatch. One of large records is cut.
const (
	changesAtOnce = 24
	bytesAtOnce   = 2 << 20
)

// few commands are left to the pause, or as many as come while as many are copied.
const few = 500

// approach follows the feed of a source that is used, until few commands are left or the source is as fast as the copy.
func (c *copier) approach(ctx context.Context) error {
	if first, err := c.from.Changes(ctx, "", 1); err != nil {
		return err
	} else if len(first) > 0 {
		c.began = number(first[0].Position) - 1
	}
	for before := int64(math.MaxInt64); ; {
		end, err := c.from.Advance(ctx)
		if err != nil || end == "" {
			return err
		}
		began := c.at.Commands
		if err := c.follow(ctx, end); err != nil {
			return err
		}
		round := c.at.Commands - began
		if round < few || round > before/2 {
			return nil
		}
		before = round
	}
}

// follow replays what the source's feed holds behind the place that the copy came to, up to a position or, where that is gone, to the end.
func (c *copier) follow(ctx context.Context, until driver.Position) error {
	for c.at.Position != string(until) {
		changes, err := c.from.Changes(ctx, driver.Position(c.at.Position), changesAtOnce)
		if err != nil || len(changes) == 0 {
			return err
		}
		if i := slices.IndexFunc(changes, func(change driver.Change) bool { return change.Position == until }); i >= 0 {
			changes = changes[:i+1]
		}
		for len(changes) > 0 {
			if err := c.hold.renew(ctx); err != nil {
				return err
			}
			if err := c.landmark(ctx); err != nil {
				return err
			}
			n, err := c.replay(ctx, changes)
			if err != nil {
				return err
			}
			changes = changes[n:]
			c.tell(c.phase(), c.share(until))
		}
	}
	return nil
}

// share returns how much of the phase is done, by the numbers of positions, or by the rows that there are to compare: each command
// made a state, which still stands or stands in the history.
func (c *copier) share(until driver.Position) float64 {
	switch c.phase() {
	case Copying:
		return (number(driver.Position(c.at.Position)) - c.began) / (number(until) - c.began)
	case Comparing:
		return float64(c.compared) / float64(max(1, 2*c.at.Commands))
	}
	return 0
}

func number(p driver.Position) float64 {
	n, _ := strconv.ParseFloat(string(p), 64) // an estimate
	return n
}

func (c *copier) phase() Phase {
	switch {
	case c.hold.pausing.Version > 0:
		return Paused
	case c.ledger != nil:
		return Comparing
	}
	return Copying
}

// replay makes one commit of the first of changes, at most one of each record, and returns how many.
func (c *copier) replay(ctx context.Context, changes []driver.Change) (n int, err error) {
	var cmds []*record.Record
	seen := map[driver.Ref]bool{}
	size := 0
	for _, change := range changes {
		cmd := change.Command
		key := driver.Ref{PK: cmd.PK, SK: cmd.SK}
		_, ok, err := c.sel.takes(driver.Command, cmd)
		if err != nil {
			return 0, err
		}
		if size += 3 * len(cmd.Attributes); n > 0 && (ok && seen[key] || size > bytesAtOnce) {
			break
		}
		if n++; ok {
			seen[key] = true
			cmds = append(cmds, cmd)
		}
	}
	writes, err := c.published(ctx, cmds)
	if err != nil {
		return 0, err
	}
	c.at.Position = string(changes[n-1].Position)
	c.at.Commands += int64(len(cmds))
	return n, c.commit(ctx, writes)
}

// published returns the writes that publishing cmds made: each command, the state that it made and the one that it replaced. A state that
// isn't there, because another framework died between its writes, is left out here as there.
func (c *copier) published(ctx context.Context, cmds []*record.Record) ([]driver.Write, error) {
	if len(cmds) == 0 {
		return nil, nil
	}
	refs := make([]driver.Ref, 0, 3*len(cmds))
	for _, cmd := range cmds {
		at := func(c driver.Collection, version int64) driver.Ref {
			return driver.Ref{Collection: c, PK: cmd.PK, SK: cmd.SK, Version: version}
		}
		refs = append(refs, at(driver.Data, 0), at(driver.History, cmd.Version), at(driver.History, cmd.Version-1))
	}
	rows, err := c.from.BatchGet(ctx, refs)
	if err != nil {
		return nil, err
	}
	writes := make([]driver.Write, 0, len(refs)+2)
	for i, cmd := range cmds {
		made, replaced := rows[3*i], rows[3*i+2]
		if made != nil && made.Version != cmd.Version {
			made = rows[3*i+1]
		}
		writes = append(writes, driver.Write{Collection: driver.Command, Record: cmd})
		if made != nil {
			writes = append(writes, driver.Write{Collection: driver.Data, Record: made})
		}
		if replaced != nil {
			writes = append(writes, driver.Write{Collection: driver.History, Record: replaced})
		}
		writes = append(writes, c.note(cmd)...)
	}
	return writes, nil
}

// note returns the write that notes a partition of the common tenant that one tenant's rows stand in: the tenant's own are copied.
func (c *copier) note(row *record.Record) []driver.Write {
	_, rest, _ := strings.Cut(row.PK, record.Separator)
	if c.sel.whole() || rest != systemOwner || c.noted[row.PK] {
		return nil
	}
	c.noted[row.PK] = true
	return []driver.Write{{Collection: driver.System, Record: &record.Record{PK: "PARTITIONS#" + systemOwner, SK: row.PK, Version: 1}}}
}
