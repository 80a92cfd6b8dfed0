package command

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// ReceiptLife is how long a receipt answers.
const ReceiptLife = 24 * time.Hour

// Receipt makes a publish idempotent: it is written in the command's own commit, and a second publish under the same
// receipt is answered with the first's command instead of being executed.
type Receipt struct {
	Owner  tenant.Code
	ID     string // of the tenant, the user, the operation and the key
	Digest string // of the request's content: the same receipt with another digest is fault.IdempotencyConflict
}

// NewReceipt returns the receipt of a request that an actor makes of a tenant (born is when it was created, as Unix time): for
// an operation (method and path) and the caller's key. Content is what the request says; part tells the commands of one
// request apart.
func NewReceipt(owner tenant.Code, born int64, actor scope.Actor, operation, key, part string, content []byte) Receipt {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(born)))
	for _, field := range []string{owner.String(), actor.Issuer, actor.UserID, operation, key, part} {
		h.Write(binary.AppendUvarint(nil, uint64(len(field))))
		h.Write([]byte(field))
	}
	digest := sha256.Sum256(content)
	return Receipt{Owner: owner, ID: hex.EncodeToString(h.Sum(nil)), Digest: hex.EncodeToString(digest[:])}
}

// WithReceipt makes a publish idempotent. One that changes nothing leaves no receipt.
func WithReceipt(r Receipt) Option { return func(o *options) { o.receipt = &r } }

type receiptValue struct {
	Digest  string `json:"digest"`
	PK      string `json:"pk"`
	SK      string `json:"sk"`
	Version int64  `json:"version"`
	Created bool   `json:"created"`
}

func (s *Service) receiptWrite(r Receipt, key record.Key, version int64, created bool) storage.SystemWrite {
	value, _ := record.EncodeAttributes(receiptValue{Digest: r.Digest, PK: key.PK(), SK: key.SK(), Version: version, Created: created})
	return s.cfg.Receipts.Put(storage.Row{Owner: r.Owner.String(), SK: r.ID, Value: value, Expires: s.cfg.Now().Add(ReceiptLife).Unix()})
}

// replay returns the result of the command that r stands for, found false where there is none yet.
func (s *Service) replay(ctx context.Context, view storage.View, key record.Key, r *Receipt) (res Result, found bool, err error) {
	row, err := s.cfg.Receipts.Get(ctx, r.Owner.String(), r.ID)
	if err != nil || row.Version == 0 {
		return Result{}, false, err
	}
	var v receiptValue
	if err := row.Value.Decode(&v); err != nil {
		return Result{}, false, err
	}
	if v.Digest != r.Digest {
		return Result{}, true, fault.New(fault.IdempotencyConflict, "command.Change", "this idempotency key was used for another request; use a new key")
	}
	key, err = record.ParseKey(view.Scope(), v.PK, v.SK)
	if err != nil {
		return Result{}, true, err
	}
	cmd, err := view.Command(ctx, key, v.Version)
	if err != nil {
		return Result{}, true, err
	}
	if cmd == nil {
		return Result{}, true, fault.New(fault.Internal, "command.Change", "a receipt names a command that is not in the log; run tenantry verify")
	}
	state := cmd.Clone()
	state.Status, state.SyncMode = "", ""
	return Result{Command: cmd, Record: state, Changed: true, Replayed: true, Created: v.Created}, true, nil
}
