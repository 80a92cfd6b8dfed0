package transfer

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// notice is what the row that announces a pause says.
type notice struct {
	Copy     string `json:"copy"`
	Run      string `json:"run,omitempty"` // of Copy, one of its own
	Tenant   string `json:"tenant,omitempty"`
	Arriving bool   `json:"arriving,omitempty"` // the store is the target
}

func (n notice) row() (storage.Row, error) {
	value, err := record.EncodeAttributes(n)
	return storage.Row{Owner: systemOwner, SK: storage.PauseAnnounced, Value: value}, err
}

// hold is the announcement of a pause in the source, and the pause itself. Both end by themselves, unless they are renewed or kept.
type hold struct {
	pauses storage.Keeper
	term   time.Duration
	tenant tenant.Code

	notice  notice
	row     storage.Row // the announcement; Version 0 where there is none of ours
	pausing storage.Row // the pause; Version 0 while there is none
	began   time.Time   // the announcement
	renewed time.Time
	final   bool
}

// load reads the announcement that stands in the store.
func (h *hold) load(ctx context.Context) (err error) {
	if h.row, err = h.pauses.Get(ctx, systemOwner, storage.PauseAnnounced); err != nil || h.row.Version == 0 {
		return err
	}
	if err := h.row.Value.Decode(&h.notice); err != nil {
		return err
	}
	if h.notice.Tenant != "" {
		h.tenant, err = tenant.Parse(h.notice.Tenant)
	}
	return err
}

// announce announces the pause of a copy. What an earlier run of the same copy left ends with it.
func (h *hold) announce(ctx context.Context, id string) error {
	found := hold{pauses: h.pauses}
	if err := found.load(ctx); err != nil {
		return err
	}
	if found.row.Version > 0 && found.notice.Copy != id {
		return fault.New(fault.Unavailable, "transfer.Copy", "another copy from or to this store is under way, is done, or died a moment ago; wait for its end, or end it with --resume-writes")
	}
	h.notice = notice{Copy: id, Run: record.NewID(), Tenant: h.tenant.String()}
	row, err := h.notice.row()
	if err != nil {
		return err
	}
	row.Version = found.row.Version
	h.row, h.pausing = row, storage.Row{Owner: systemOwner, SK: storage.PauseOf(h.tenant)}
	h.began = time.Now()
	return h.write(ctx, h.pauses.Delete(h.pausing))
}

// write renews the announcement, and makes more writes in the same commit.
func (h *hold) write(ctx context.Context, more ...storage.SystemWrite) error {
	now := time.Now()
	h.row.Expires = now.Add(2*h.term).Unix() + 1
	if h.final {
		h.row.Expires = 0
	}
	if err := h.pauses.Commit(ctx, append(more, h.pauses.Put(h.row))...); err != nil {
		h.row.Version = 0 // it is not ours, or we don't know: it ends by itself
		return lost(err)
	}
	h.row.Version++
	h.renewed = now
	return nil
}

// is reports whether a row is the announcement of this very run.
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

// keep makes the pause one that does not end by itself. It fails where it ended already.
func (h *hold) keep(ctx context.Context) error {
	h.final = true
	err := h.renewPause(ctx)
	if fault.CodeOf(err) == fault.Unavailable {
		return fault.Wrap(err, fault.Unavailable, "transfer.Copy", "the write pause ended before the copy was done: %v; copy again, what has arrived stays", fault.As(err).Msg)
	}
	return err
}

// lift ends the pause and its announcement, if they are ours and not to stay.
func (h *hold) lift(ctx context.Context) error {
	if h.row.Version == 0 || h.final {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := h.pauses.Commit(ctx, h.pauses.Delete(h.row), h.pauses.Delete(storage.Row{Owner: systemOwner, SK: storage.PauseOf(h.tenant)}))
	h.row.Version = 0
	return err
}
