package transfer

import (
	"context"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// checkpoint is what a handler's checkpoint says.
type checkpoint struct {
	Position string `json:"position"`
}

// standing returns the versions of the checkpoints of the target's handlers, for one tenant that is to arrive among others. Its commands come
// to the feed's end and the handlers must not run for them, so they must be there already.
func (c *copier) standing(ctx context.Context) (map[string]int64, error) {
	if c.sel.whole() {
		return nil, nil
	}
	rows, err := all(ctx, c.target.checkpoints)
	if err != nil {
		return nil, err
	}
	versions := map[string]int64{}
	for _, row := range rows {
		var at checkpoint
		if err := row.Value.Decode(&at); err != nil {
			return nil, err
		}
		there, err := c.atEnd(ctx, driver.Position(at.Position))
		if err != nil {
			return nil, err
		}
		if !there {
			return nil, fault.New(fault.InvalidRequest, "transfer.Copy", "handler %s of the target has commands before it; let it come to the feed's end, stop the target's servers, and copy again", row.SK)
		}
		versions[row.SK] = row.Version
	}
	return versions, nil
}

// atEnd reports whether no commands follow a place in the target's feed, but for entries in the system's log: each attempt to copy leaves one.
func (c *copier) atEnd(ctx context.Context, position driver.Position) (bool, error) {
	for {
		rest, err := c.to.Changes(ctx, position, 100)
		if err != nil || len(rest) == 0 {
			return err == nil, err
		}
		for _, change := range rest {
			if position = change.Position; change.Command.PK != systemLog {
				return false, nil
			}
		}
	}
}

// place puts the handlers of the target where those of the source are: none runs again for a command that it has seen, none misses one.
// Checkpoints are read before what is set aside: a handler that goes on meanwhile leaves commands that run twice, never one that is lost.
func (c *copier) place(ctx context.Context) error {
	end, err := c.to.Advance(ctx) // where an engine gives commands their places later, it waits for them
	if err != nil {
		return err
	}
	writes, err := c.tenantPlaces(end)
	if c.sel.whole() {
		writes, err = c.storePlaces(ctx, end)
	}
	if err != nil {
		return err
	}
	aside, err := c.aside(ctx)
	if err != nil {
		return err
	}
	for writes = append(writes, aside...); len(writes) > writesAtOnce; writes = writes[writesAtOnce:] {
		if err := c.commit(ctx, nil, writes[:writesAtOnce]...); err != nil {
			return err
		}
	}
	return c.commit(ctx, nil, writes...)
}

// landmark is a place in the source's feed, and one in the target's that lies before everything that was copied from behind the first.
type landmark struct {
	from, to driver.Position
	commands int64
}

// landmarkEvery is how many commands lie between two landmarks.
const landmarkEvery = 1000

// landmark notes where the copy is, now and then.
func (c *copier) landmark(ctx context.Context) error {
	if n := len(c.landmarks); n > 0 && c.at.Commands-c.landmarks[n-1].commands < landmarkEvery {
		return nil
	}
	end, err := c.to.End(ctx)
	if err == nil {
		c.landmarks = append(c.landmarks, landmark{driver.Position(c.at.Position), end, c.at.Commands})
	}
	return err
}

// tenantPlaces puts the target's own handlers behind the tenant that arrived.
func (c *copier) tenantPlaces(end driver.Position) ([]storage.SystemWrite, error) {
	var writes []storage.SystemWrite
	for name, version := range c.at.Checkpoints {
		value, err := record.EncodeAttributes(checkpoint{string(end)})
		if err != nil {
			return nil, err
		}
		writes = append(writes, c.target.checkpoints.Put(storage.Row{Owner: systemOwner, SK: name, Version: version, Value: value}))
		c.at.Checkpoints[name]++
	}
	return writes, nil
}

// storePlaces returns the checkpoints of the source's handlers, each in front of the first command of the target's feed that its handler has not seen.
func (c *copier) storePlaces(ctx context.Context, end driver.Position) ([]storage.SystemWrite, error) {
	rows, err := all(ctx, c.source.checkpoints)
	if err != nil {
		return nil, err
	}
	var writes []storage.SystemWrite
	for _, row := range rows {
		var at checkpoint
		if err := row.Value.Decode(&at); err != nil {
			return nil, err
		}
		position := driver.Position("")
		unseen, err := c.unseen(ctx, driver.Position(at.Position))
		if err == nil && len(unseen) == 0 {
			position = end
		} else if err == nil {
			for _, l := range c.landmarks {
				if l.from.Compare(driver.Position(at.Position)) > 0 {
					break
				}
				position = l.to
			}
			position, err = c.before(ctx, position, unseen)
		}
		if err != nil {
			return nil, err
		}
		if position == "" {
			continue
		}
		if row.Value, err = record.EncodeAttributes(checkpoint{string(position)}); err != nil {
			return nil, err
		}
		writes = append(writes, c.target.checkpoints.Set(row))
	}
	return writes, nil
}

// maxUnseen bounds how far a handler may be behind: what it has not seen is held in memory.
const maxUnseen = 100_000

// unseen returns the commands of the source behind a position.
func (c *copier) unseen(ctx context.Context, position driver.Position) (map[driver.Ref]bool, error) {
	refs := map[driver.Ref]bool{}
	for {
		changes, err := c.from.Changes(ctx, position, 100)
		if err != nil || len(changes) == 0 {
			return refs, err
		}
		for _, change := range changes {
			refs[driver.RefOf(driver.Command, change.Command)] = true
		}
		if position = changes[len(changes)-1].Position; len(refs) > maxUnseen {
			return nil, fault.New(fault.InvalidRequest, "transfer.Copy", "a handler of the source is more than %d commands behind; let it catch up and copy again", maxUnseen)
		}
		if err := c.hold.renew(ctx); err != nil {
			return nil, err
		}
	}
}

// before returns the place in the target's feed in front of the first of some commands, of which none stands before position.
func (c *copier) before(ctx context.Context, position driver.Position, refs map[driver.Ref]bool) (driver.Position, error) {
	for {
		changes, err := c.to.Changes(ctx, position, 100)
		if err != nil || len(changes) == 0 {
			return position, err
		}
		for _, change := range changes {
			if refs[driver.RefOf(driver.Command, change.Command)] {
				return position, nil
			}
			position = change.Position
		}
		if err := c.hold.renew(ctx); err != nil {
			return "", err
		}
	}
}

// aside returns the writes that make what is set aside in the target what is in the source.
func (c *copier) aside(ctx context.Context) ([]storage.SystemWrite, error) {
	theirs, err := all(ctx, c.source.parked)
	if err != nil {
		return nil, err
	}
	ours, err := all(ctx, c.target.parked)
	if err != nil {
		return nil, err
	}
	var writes []storage.SystemWrite
	stays := map[string]bool{}
	for _, row := range theirs {
		ok, err := c.sel.parked(row)
		if err != nil {
			return nil, err
		}
		if ok {
			stays[row.SK] = true
			writes = append(writes, c.target.parked.Set(row))
		}
	}
	for _, row := range ours { // of an earlier run
		ok, err := c.sel.parked(row)
		if err != nil {
			return nil, err
		}
		if ok && !stays[row.SK] {
			writes = append(writes, c.target.parked.Delete(row))
		}
	}
	return writes, nil
}

// all returns the rows of a keeper that are the system's own.
func all(ctx context.Context, k storage.Keeper) (rows []storage.Row, err error) {
	for after := ""; ; {
		page, err := k.List(ctx, systemOwner, "", after, maxRows)
		if err != nil {
			return nil, err
		}
		rows = append(rows, page...)
		if len(page) < maxRows {
			return rows, nil
		}
		after = page[len(page)-1].SK
	}
}
