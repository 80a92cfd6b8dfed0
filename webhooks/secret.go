package webhooks

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
)

// secretPrefix begins a secret as it is shown: whsec_ and base64, as the Standard Webhooks specification has it.
const secretPrefix = "whsec_"

// secret is one that signs. What is kept is sealed, for its tenant and webhook.
type secret struct {
	Sealed string `json:"sealed"`
	Until  int64  `json:"until,omitempty"` // Unix seconds after which it signs no more; 0 for the current one
}

// newSecret returns a new secret as it is shown, and as it is kept.
func (s *Service) newSecret(sc scope.Scope, id string) (shown string, kept secret) {
	key := make([]byte, 32)
	rand.Read(key)
	text := base64.StdEncoding.EncodeToString(key)
	return secretPrefix + text, secret{Sealed: s.seal.Seal(timeless(sc), text, sealQuery, id)}
}

const sealQuery = "webhook"

// timeless returns sc without what tells lives of its tenant apart: a job's Scope may not know it. The webhook's ID is never used again.
func timeless(sc scope.Scope) scope.Scope {
	actor := sc.Actor()
	return scope.New(sc.Tenant(), scope.Full, time.Time{}, &actor)
}

// sign returns the header webhook-signature of a body: a signature for each secret that is valid.
func (s *Service) sign(sc scope.Scope, h hook, id string, at time.Time, body []byte) (string, error) {
	var signatures []string
	for _, one := range h.Secrets {
		if one.Until != 0 && one.Until <= at.Unix() {
			continue
		}
		text, err := s.seal.Open(timeless(sc), one.Sealed, sealQuery, h.id)
		if err != nil {
			return "", fault.Wrap(err, fault.Internal, "webhooks", "the webhook's secret was sealed by other keys than this server has; rotate it")
		}
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return "", fault.Wrap(err, fault.Internal, "webhooks", "the webhook's secret is damaged; rotate it")
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signatures, " "), nil
}
