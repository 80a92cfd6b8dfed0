package webhooks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// State says where a delivery stands.
type State string

// The states.
const (
	Pending   State = "pending"   // it is tried, or will be
	Delivered State = "delivered" // the receiver answered with a status from 200 to 299
	Dead      State = "dead"      // the attempts are used up; an admin has it tried again
	Cancelled State = "cancelled" // the webhook was switched off or removed meanwhile, or is not told of such records any more
)

// Delivery is what the log says of one delivery.
type Delivery struct {
	ID            string      `json:"id" doc:"the header webhook-id"`
	WebhookID     string      `json:"webhookId"`
	Type          string      `json:"type" doc:"PRODUCT.created, PRODUCT.updated, PRODUCT.deleted, or ping"`
	RecordID      string      `json:"recordId,omitempty"`
	RecordVersion int64       `json:"recordVersion,omitempty"`
	State         State       `json:"state" enum:"pending,delivered,dead,cancelled"`
	CreatedAt     record.Time `json:"createdAt"`
	Attempts      []Attempt   `json:"attempts" doc:"the last 20, the newest last"`

	command *commandRef // nil for a ping
	job     string      // the ID of the one that makes it
}

// Attempt is one attempt of a delivery. Of the answer it holds the status and nothing else.
type Attempt struct {
	At      record.Time `json:"at"`
	Status  int         `json:"status,omitempty" doc:"of the answer; absent where there was none"`
	Problem string      `json:"problem,omitempty" doc:"why it failed; absent where it did not"`
	Took    int64       `json:"tookMs,omitempty" doc:"until the answer, in milliseconds; absent where there was none: it would tell what is behind an address"`
}

const (
	maxAttempts = 20                  // that the log holds of one delivery
	logFor      = 30 * 24 * time.Hour // how long a delivery is kept
)

// kept is the row of a delivery.
type kept struct {
	Delivery
	Command *commandRef `json:"command,omitempty"`
	Job     string      `json:"job,omitempty"`
}

// deliveryID returns the ID of the delivery of a command to a webhook: always the same one, and one that sorts before those of earlier commands.
func deliveryID(webhook string, cmd *record.Record) string {
	text := binary.AppendVarint([]byte(webhook+"\x00"+cmd.PK+"\x00"+cmd.SK+"\x00"), cmd.Version)
	sum := sha256.Sum256(text)
	return countdown(cmd.UpdatedAt.Time(), sum[:])
}

// countdown returns a ULID of how long the format of ULIDs still lasts at a time, so that the newest comes first.
func countdown(at time.Time, entropy []byte) string {
	id, err := ulid.New(ulid.MaxTime()-ulid.Timestamp(at), bytes.NewReader(entropy))
	if err != nil {
		panic(err) // not for ten bytes and a time within the format
	}
	return id.String()
}

func deliverySK(webhook, id string) string { return webhook + record.Separator + id }

type deliverPayload struct {
	WebhookID  string `json:"webhookId"`
	DeliveryID string `json:"deliveryId"`
}

// order keeps a delivery in place of row and orders its job, both or neither. It fails with *driver.Conflict where row is not what is kept.
func (s *Service) order(ctx context.Context, sc scope.Scope, row storage.Row, d Delivery) error {
	payload, err := record.EncodeAttributes(deliverPayload{d.WebhookID, d.ID})
	if err != nil {
		return err
	}
	job, writes, err := s.cfg.Jobs.Writes(ctx, sc, jobs.Order{Kind: deliverKind, Payload: payload})
	if err != nil {
		return err
	}
	d.job = job.ID
	put, err := s.put(sc, row, d)
	if err != nil {
		return err
	}
	return s.cfg.Deliveries.CommitUnpaused(ctx, append(writes, put)...)
}

func (s *Service) put(sc scope.Scope, row storage.Row, d Delivery) (storage.SystemWrite, error) {
	value, err := record.EncodeAttributes(kept{d, d.command, d.job})
	row.Owner, row.SK, row.Value = sc.Tenant().String(), deliverySK(d.WebhookID, d.ID), value
	row.Expires = s.cfg.Now().Add(logFor).Unix()
	return s.cfg.Deliveries.Put(row), err
}

// delivery returns a delivery with its row; one of version 0 where there is none.
func (s *Service) delivery(ctx context.Context, sc scope.Scope, webhook, id string) (storage.Row, Delivery, error) {
	row, err := s.cfg.Deliveries.Get(ctx, sc.Tenant().String(), deliverySK(webhook, id))
	if err != nil || row.Version == 0 {
		return row, Delivery{}, err
	}
	d, err := deliveryOf(row)
	return row, d, err
}

func deliveryOf(row storage.Row) (Delivery, error) {
	var k kept
	if err := row.Value.Decode(&k); err != nil {
		return Delivery{}, fault.Wrap(err, fault.Internal, "webhooks", "a delivery's row has another form; another version of Tenantry wrote it")
	}
	k.Delivery.command, k.Delivery.job = k.Command, k.Job
	return k.Delivery, nil
}

// deliver tries a delivery once.
func (s *Service) deliver(ctx context.Context, sc scope.Scope, j jobs.Job) error {
	var p deliverPayload
	if err := j.Payload.Decode(&p); err != nil {
		return jobs.Final(err)
	}
	_, d, err := s.delivery(ctx, sc, p.WebhookID, p.DeliveryID)
	if err != nil || d.State != Pending {
		return err // done in an attempt whose end was not kept, or no longer in the log
	}
	rec, err := s.get(ctx, sc, p.WebhookID)
	if fault.CodeOf(err) == fault.NotFound {
		return s.note(ctx, sc, d, Attempt{}, Cancelled)
	}
	if err != nil {
		return err
	}
	h, err := hookOf(rec)
	if err != nil {
		return jobs.Final(err)
	}
	if !h.Active || d.command != nil && !s.stillWanted(h, d) {
		return s.note(ctx, sc, d, Attempt{}, Cancelled)
	}
	a, err := s.try(ctx, sc, h, d)
	if err != nil {
		return err
	}
	state, failed := Delivered, error(nil)
	if a.Problem != "" {
		state, failed = Pending, fault.New(fault.Unavailable, "webhooks", "%s", a.Problem)
		if j.Attempts >= s.cfg.Attempts || a.Status == http.StatusGone || d.command == nil {
			state, failed = Dead, nil // the log has it, and an admin may have it tried again
		}
	}
	return errors.Join(s.note(ctx, sc, d, a, state), failed)
}

// stillWanted reports whether a webhook as it is now is told of what was ordered for it: whoever changed it since, and where to, may read less.
func (s *Service) stillWanted(h hook, d Delivery) bool {
	typ, _, _, err := record.SplitPK(d.command.PK)
	t, ok := s.cfg.Entities.Lookup(typ)
	return err == nil && ok && h.wants(t)
}

// note adds an attempt to the log.
func (s *Service) note(ctx context.Context, sc scope.Scope, d Delivery, a Attempt, state State) error {
	for {
		row, now, err := s.delivery(ctx, sc, d.WebhookID, d.ID)
		if err != nil || row.Version == 0 || now.State != Pending {
			return err
		}
		now.State = state
		if !a.At.IsZero() {
			now.Attempts = append(now.Attempts, a)
			now.Attempts = now.Attempts[max(0, len(now.Attempts)-maxAttempts):]
		}
		put, err := s.put(sc, row, now)
		if err != nil {
			return err
		}
		err = s.cfg.Deliveries.CommitUnpaused(ctx, put)
		if _, lost := errors.AsType[*driver.Conflict](err); !lost {
			return err
		}
	}
}

// try sends a delivery. It fails where the process fails; what fails on the way is the attempt's problem.
func (s *Service) try(ctx context.Context, sc scope.Scope, h hook, d Delivery) (Attempt, error) {
	body, err := s.body(ctx, sc, d)
	if err != nil {
		return Attempt{}, err
	}
	now := s.cfg.Now()
	signature, err := s.sign(sc, h, d.ID, now, body)
	if err != nil {
		return Attempt{At: record.At(now), Problem: fault.As(err).Msg}, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return Attempt{At: record.At(now), Problem: "the address is none"}, nil
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Tenantry-Webhooks")
	req.Header.Set("Webhook-Id", d.ID)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", signature)
	began := time.Now()
	answer, err := s.client.Do(req)
	a := Attempt{At: record.At(now)}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
			return a, cause // the process ends, or the job was taken away
		}
		a.Problem = problemOf(ctx, err)
		if named, ok := errors.AsType[*url.Error](err); ok {
			err = named.Err // without the address, which may hold what only its tenant knows
		}
		s.cfg.Log.InfoContext(ctx, "a webhook could not be reached", "webhook", h.id, "delivery", d.ID, "error", err)
		return a, nil
	}
	answer.Body.Close() // unread: its content is nobody's business
	a.Status, a.Took = answer.StatusCode, max(1, time.Since(began).Milliseconds())
	switch {
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		a.Problem = "the answer was a redirect; they are not followed"
	case answer.StatusCode < 200 || answer.StatusCode >= 400:
		a.Problem = "the answer was not a success"
	}
	return a, nil
}

// body returns what is sent: the same bytes in every attempt.
func (s *Service) body(ctx context.Context, sc scope.Scope, d Delivery) ([]byte, error) {
	message := struct {
		Type      string         `json:"type"`
		Timestamp record.Time    `json:"timestamp"`
		Data      jsontext.Value `json:"data"`
	}{Type: d.Type, Timestamp: d.CreatedAt, Data: jsontext.Value(`{}`)}
	if d.command != nil {
		cmd, err := s.command(ctx, sc, *d.command)
		if err != nil {
			return nil, err
		}
		message.Timestamp = cmd.UpdatedAt
		message.Data = record.AppendJSON(nil, cmd, record.Command)
	}
	text, err := json.Marshal(message)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "webhooks", "a delivery can't be written as JSON")
	}
	return text, nil
}

// Ping orders a delivery of the type ping, which is tried once, and returns it. It fails with fault.NotFound.
func (s *Service) Ping(ctx context.Context, sc scope.Scope, webhook string) (Delivery, error) {
	if _, err := s.get(ctx, sc, webhook); err != nil {
		return Delivery{}, err
	}
	unique := sha256.Sum256([]byte(record.NewID()))
	d := Delivery{ID: countdown(s.cfg.Now(), unique[:]), WebhookID: webhook, Type: "ping", State: Pending, CreatedAt: record.At(s.cfg.Now()), Attempts: []Attempt{}}
	return d, s.order(ctx, sc, storage.Row{}, d)
}

// Deliveries is a page of the log.
type Deliveries struct {
	Items  []Delivery `json:"items"`
	Cursor string     `json:"cursor,omitempty" doc:"for the next page; absent where there is none"`
}

// Deliveries returns the log of a webhook, newest first, of 30 days. Limit and cursor are as for data.Service.List. It fails with fault.NotFound.
func (s *Service) Deliveries(ctx context.Context, sc scope.Scope, webhook string, limit int, cursor string) (Deliveries, error) {
	if _, err := s.get(ctx, sc, webhook); err != nil {
		return Deliveries{}, err
	}
	limit, err := data.CheckLimit(limit)
	if err != nil {
		return Deliveries{}, err
	}
	query := []string{"deliveries", webhook}
	after, err := s.cfg.Cursors.Open(sc, cursor, query...)
	if err != nil {
		return Deliveries{}, err
	}
	prefix := deliverySK(webhook, "")
	if after != "" {
		after = prefix + after
	}
	rows, err := s.cfg.Deliveries.List(ctx, sc.Tenant().String(), prefix, after, limit+1)
	if err != nil {
		return Deliveries{}, err
	}
	page := Deliveries{Items: make([]Delivery, 0, len(rows))}
	for i, row := range rows {
		if i == limit {
			page.Cursor = s.cfg.Cursors.Seal(sc, page.Items[limit-1].ID, query...)
			break
		}
		d, err := deliveryOf(row)
		if err != nil {
			return Deliveries{}, err
		}
		page.Items = append(page.Items, d)
	}
	return page, nil
}

// Retry has a delivery of a webhook made again, with all its attempts; one that is pending stays as it is, unless the job that was to make it is dead or
// was dropped. It fails with fault.NotFound.
func (s *Service) Retry(ctx context.Context, sc scope.Scope, webhook, id string) (Delivery, error) {
	if _, err := s.get(ctx, sc, webhook); err != nil {
		return Delivery{}, err
	}
	if strings.Contains(id, record.Separator) || record.CheckSortKey(id) != nil {
		return Delivery{}, noDelivery()
	}
	for {
		row, d, err := s.delivery(ctx, sc, webhook, id)
		switch {
		case err != nil:
			return Delivery{}, err
		case row.Version == 0:
			return Delivery{}, noDelivery()
		case d.State == Pending:
			if worked, err := s.worked(ctx, sc, d); err != nil || worked {
				return d, err
			}
		}
		d.State = Pending
		err = s.order(ctx, sc, row, d)
		if _, lost := errors.AsType[*driver.Conflict](err); !lost {
			return d, err
		}
	}
}

// worked reports whether a job makes a delivery, or waits to.
func (s *Service) worked(ctx context.Context, sc scope.Scope, d Delivery) (bool, error) {
	j, err := s.cfg.Jobs.Get(ctx, sc, d.job)
	if fault.CodeOf(err) == fault.NotFound {
		return false, nil
	}
	return j.State == jobs.Waiting || j.State == jobs.Running, err
}

func noDelivery() error {
	return fault.New(fault.NotFound, "webhooks", "there is no such delivery; the log goes back 30 days")
}
