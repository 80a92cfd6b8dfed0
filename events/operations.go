package events

import (
	"context"
	"net/http"
	"strings"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
)

// Operations returns the operation of section 9 of the contract.
func (h *Hub) Operations() []route.Operation {
	return []route.Operation{
		{ID: "streamEvents", Method: "GET", Path: "/api/events", Tag: "events", Summary: "Follow the commands of the acting tenant as they are made", Streams: true,
			Policy: guard.Policy{Reach: guard.Tenant}, Handle: h.open, Errors: []fault.Code{fault.InvalidCursor, fault.NotFound},
			Query:   []route.Param{{Name: "entityType", Summary: "the entity types to follow, joined by commas; by default all that the caller may read"}},
			Answers: map[int]any{http.StatusOK: ""}},
	}
}

func (h *Hub) open(ctx context.Context, c *route.Call) (route.Answer, error) {
	wanted, err := h.wanted(c.Query("entityType"))
	if err != nil {
		return route.Answer{}, err
	}
	s, err := h.Open(ctx, c.Scope(), c.LastEventID(), func(t entity.Type) bool {
		return (wanted == nil || wanted[t.Name]) && c.Grant.Need(t.ReadRoles) == nil
	})
	if err != nil {
		return route.Answer{}, err
	}
	return route.Answer{Status: http.StatusOK, Stream: s}, nil
}

// wanted returns the entity types that text names, nil for all. It fails with fault.NotFound where one is malformed, unknown or a module's.
func (h *Hub) wanted(text string) (map[record.EntityType]bool, error) {
	if text == "" {
		return nil, nil
	}
	wanted := map[record.EntityType]bool{}
	for each := range strings.SplitSeq(text, ",") {
		name, err := record.ParseEntityType(each)
		t, ok := h.cfg.Entities.Lookup(name)
		if err != nil || !ok || t.Owned {
			return nil, fault.New(fault.NotFound, "events", "there is no such entity type; entityType names some, joined by commas")
		}
		wanted[name] = true
	}
	return wanted, nil
}
