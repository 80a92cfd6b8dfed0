package httpapi

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/storage/driver"
)

// positionHeader says where in the change feed a command stands, and, with a read, up to where it waits for the read model. Its value is
// sealed, and as long for every place: the feed is of all tenants, and its numbers would tell each how much the others write.
const positionHeader = "X-Tenantry-Position"

// longestPosition is how long a place in the change feed gets, in digits.
const longestPosition = 20

// handle runs an operation. The position of its answer is what the caller gets.
func (h *Handler) handle(ctx context.Context, op *route.Operation, c *call) (route.Answer, error) {
	a, err := op.Handle(ctx, &c.Call)
	if a.Position != "" {
		place := fmt.Appendf(nil, "%*s", longestPosition, a.Position)
		a.Position = driver.Position(base64.RawURLEncoding.EncodeToString(h.positions.Seal(nil, nil, place, nil)))
	}
	return a, err
}

// follow waits until what an operation reads has come to the position that the request names.
func (h *Handler) follow(r *http.Request, op *route.Operation, c *call) error {
	values := r.Header[positionHeader]
	if !op.Follows || len(values) == 0 {
		return nil
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(values[0])
	if err != nil {
		return noPosition()
	}
	place, err := h.positions.Open(nil, nil, sealed, nil)
	if err != nil {
		return noPosition()
	}
	return h.app.Reach(r.Context(), c.Grant.Scope.Tenant(), driver.Position(strings.TrimLeft(string(place), " ")))
}

func noPosition() error {
	return fault.New(fault.InvalidCursor, "httpapi", "%s is not one that an answer had; leave it out, or send it as it came", positionHeader)
}
