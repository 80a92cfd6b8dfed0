package transfer

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// hold is a copy that is under way, in the source: the announcement of its pause, and the pause itself. They end by themselves, unless they are renewed or
// kept; what was announced for tenants that moved before stays.
type hold struct {
	pauses storage.Keeper
	term   time.Duration
	tenant tenant.Code

	row       storage.Row // that the copy is under way; Version 0 where it is none of ours
	announced storage.Row
	pausing   storage.Row // the pause; Version 0 while there is none
	others    bool        // other tenants are paused, for good
	began     time.Time   // the announcement
	renewed   time.Time
	final     bool
}

// announce announces the pause of a copy. What an earlier run of the same copy left ends with it.
func (h *hold) announce(ctx context.Context, id string) error {
	found, err := boardOf(ctx, h.pauses)
	if err != nil {
		return err
	}
	if found.moving.Version > 0 && found.notice.Copy != id {
		return fault.New(fault.Unavailable, "transfer.Copy", "another copy from or to this store is under way, or died a moment ago; wait for its end, or end it with --resume-writes")
	}
	own := storage.PauseOf(h.tenant)
	for sk := range found.paused {
		ours, err := found.made(sk, id)
		switch {
		case err != nil:
			return err
		case ours:
		case sk == storage.PauseOf(tenant.Code{}), sk == own:
			return fault.New(fault.AlreadyExists, "transfer.Copy", "this was copied from the source already, which accepts no more writes of it; to copy it again, let the source accept them (--resume-writes)")
		case h.tenant.IsZero():
			return fault.New(fault.AlreadyExists, "transfer.Copy", "tenants of the source were copied one by one and are paused in it; copy the others so, or let these accept writes again (--resume-writes --tenant)")
		default:
			h.others = true
		}
	}
	if h.row, err = (notice{Copy: id, Run: record.NewID(), Tenant: h.tenant.String()}).row(); err != nil {
		return err
	}
	if h.pausing, err = pauseRow(own, id); err != nil {
		return err
	}
	h.row.Version, h.announced, h.began = found.moving.Version, found.announced, time.Now()
	return h.write(ctx, h.pauses.Delete(h.pausing))
}

// write renews the announcement, and makes more writes in the same commit.
func (h *hold) write(ctx context.Context, more ...storage.SystemWrite) error {
	now := time.Now()
	h.row.Expires = now.Add(2*h.term).Unix() + 1
	h.announced.Expires = h.row.Expires
	if h.others || h.final {
		h.announced.Expires = 0
	}
	moving := h.pauses.Put(h.row)
	if h.final {
		moving = h.pauses.Remove(h.row)
	}
	if err := h.pauses.Commit(ctx, append(more, moving, h.pauses.Put(h.announced))...); err != nil {
		h.row.Version = 0 // it is not ours, or we don't know: it ends by itself
		return lost(err)
	}
	h.row.Version++
	h.announced.Version++
	h.renewed = now
	return nil
}

// is reports whether a row says that this very run is under way.
func (h *hold) is(row storage.Row) bool { return string(row.Value) == string(h.row.Value) }

// wait waits until every process carries the conditions of pauses in its commits.
func (h *hold) wait(ctx context.Context) error {
	timer := time.NewTimer(time.Until(h.began.Add(storage.PauseNotice)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause pauses the source: when it returns, no commit is accepted any more. It returns when the pause began.
func (h *hold) pause(ctx context.Context) (time.Time, error) {
	began := time.Now()
	return began, h.renewPause(ctx)
}

func (h *hold) renewPause(ctx context.Context) error {
	h.pausing.Expires = time.Now().Add(h.term).Unix() + 1
	if h.final {
		h.pausing.Expires = 0
	}
	if err := h.write(ctx, h.pauses.Put(h.pausing)); err != nil {
		return err
	}
	h.pausing.Version++
	return nil
}

// renew keeps the announcement and the pause from ending. It fails where they ended.
func (h *hold) renew(ctx context.Context) error {
	switch {
	case time.Since(h.renewed) < h.term/6:
		return nil
	case h.pausing.Version > 0:
		return h.renewPause(ctx)
	}
	return h.write(ctx)
}

// keep makes the pause one that does not end by itself, and ends the copy. It fails where the pause ended already.
func (h *hold) keep(ctx context.Context) error {
	h.final = true
	err := h.renewPause(ctx)
	if fault.CodeOf(err) == fault.Unavailable {
		return fault.Wrap(err, fault.Unavailable, "transfer.Copy", "the write pause ended before the copy was done: %v; copy again, what has arrived stays", fault.As(err).Msg)
	}
	return err
}

// lift ends the pause and the copy, if they are ours and not to stay.
func (h *hold) lift(ctx context.Context) error {
	if h.row.Version == 0 || h.final {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	found, err := boardOf(ctx, h.pauses)
	if err == nil && h.is(found.moving) {
		err = lost(h.pauses.Commit(ctx, found.lift(storage.PauseOf(h.tenant))...))
	}
	h.row.Version = 0
	return err
}
