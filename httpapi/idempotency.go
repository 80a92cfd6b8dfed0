package httpapi

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// An Idempotency-Key is kept twice. The receipt stands in the command's own commit, so that a change happens once whatever
// dies when; the answer is kept after it, so that a replay is the answer that was given, refusals included.

// keptAnswer is an answer as it is kept. The body is text, so that it comes back byte for byte: that of a refusal too,
// which names the request that was refused first.
type keptAnswer struct {
	Digest   string `json:"digest"`
	Status   int    `json:"status"`
	Body     string `json:"body"`
	Sealed   []byte `json:"sealed,omitempty"` // the body, where it is confidential
	Version  int64  `json:"version,omitempty"`
	Position string `json:"position,omitempty"`
	Location string `json:"location,omitempty"`
	Code     string `json:"code,omitempty"` // of a refusal
}

// running holds the receipts of the requests under way in this process.
type running struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (r *running) begin(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, busy := r.ids[id]; busy {
		return false
	}
	if r.ids == nil {
		r.ids = map[string]struct{}{}
	}
	r.ids[id] = struct{}{}
	return true
}

func (r *running) end(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, id)
}

// once answers a request that carries an Idempotency-Key.
func (h *Handler) once(w http.ResponseWriter, r *http.Request, op *route.Operation, c *call) {
	receipt := c.Receipt("")
	if !h.running.begin(receipt.ID) {
		h.fail(w, r, fault.New(fault.IdempotencyConflict, "httpapi", "a request with this idempotency key is still running; wait for its answer"))
		return
	}
	defer h.running.end(receipt.ID)
	kept, found, err := h.kept(r, receipt)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if found {
		if op.Replay != nil {
			if err := op.Replay(r.Context(), &c.Call); err != nil {
				h.refuse(w, r, c, err)
				return
			}
		}
		if kept.Sealed != nil {
			if kept.Body, err = h.unseal(receipt.ID, kept.Sealed); err != nil {
				h.fail(w, r, err)
				return
			}
		}
		w.Header().Set("Idempotency-Replayed", "true")
		h.replay(w, r, kept)
		return
	}
	a, err := h.handle(r.Context(), op, c)
	if err != nil {
		h.keepRefusal(r, receipt, err)
		h.refuse(w, r, c, err)
		return
	}
	kept = keptAnswer{Status: a.Status, Body: string(a.JSON), Version: a.Version, Position: string(a.Position), Location: a.Location}
	if op.Confidential {
		kept.Body, kept.Sealed = "", h.seal(receipt.ID, a.JSON)
	}
	h.keep(r, receipt, kept)
	h.reply(w, r, a)
}

// seal encrypts a confidential answer for the time that it is kept; id binds it to its request.
func (h *Handler) seal(id string, body []byte) []byte {
	return h.sealer.Seal(nil, nil, body, []byte(id))
}

func (h *Handler) unseal(id string, sealed []byte) (string, error) {
	body, err := h.sealer.Open(nil, nil, sealed, []byte(id))
	if err != nil {
		return "", fault.New(fault.IdempotencyConflict, "httpapi", "the answer was kept under a key that this server doesn't have; use a new idempotency key")
	}
	return string(body), nil
}

// newSealer returns what encrypts confidential answers, or positions.
func newSealer(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (h *Handler) kept(r *http.Request, receipt command.Receipt) (kept keptAnswer, found bool, err error) {
	row, err := h.app.Answers().Get(r.Context(), receipt.Owner.String(), receipt.ID)
	if err != nil || row.Version == 0 {
		return kept, false, err
	}
	if err := row.Value.Decode(&kept); err != nil {
		return kept, false, err
	}
	if kept.Digest != receipt.Digest {
		return kept, false, fault.New(fault.IdempotencyConflict, "httpapi", "this idempotency key was used for another request; use a new key")
	}
	return kept, true, nil
}

func (h *Handler) replay(w http.ResponseWriter, r *http.Request, kept keptAnswer) {
	if kept.Status < 400 {
		h.reply(w, r, route.Answer{Status: kept.Status, JSON: []byte(kept.Body), Version: kept.Version, Position: driver.Position(kept.Position), Location: kept.Location})
		return
	}
	stateOf(r).code = fault.Code(kept.Code)
	writeProblem(w, kept.Status, []byte(kept.Body))
}

// keepRefusal keeps a refusal that trying again would not change by itself. One for want of rights isn't kept: a replay is
// authorised as the request was.
func (h *Handler) keepRefusal(r *http.Request, receipt command.Receipt, cause error) {
	e := failure(r.Context(), cause)
	switch status := e.HTTPStatus(); {
	case status >= 500, e.Code == fault.IdempotencyConflict:
		return
	case slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests}, status):
		return
	}
	h.keep(r, receipt, keptAnswer{Status: e.HTTPStatus(), Code: string(e.Code), Body: string(problemText(e, stateOf(r).requestID))})
}

// keepTimeout bounds how long keeping an answer takes. It is kept for a caller who left, too: they will come again.
const keepTimeout = 5 * time.Second

// keep is best effort: what it fails to keep, the receipt of the command still guards.
func (h *Handler) keep(r *http.Request, receipt command.Receipt, kept keptAnswer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), keepTimeout)
	defer cancel()
	kept.Digest = receipt.Digest
	value, err := record.EncodeAttributes(kept)
	if err == nil {
		answers := h.app.Answers()
		err = answers.Commit(ctx, answers.Set(storage.Row{Owner: receipt.Owner.String(), SK: receipt.ID, Value: value,
			Expires: h.cfg.Now().Add(command.ReceiptLife).Unix()}))
	}
	if err != nil {
		h.cfg.Log.WarnContext(r.Context(), "the answer of an idempotent request could not be kept", "error", err)
	}
}
