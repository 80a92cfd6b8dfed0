package webhooks

import (
	"context"
	"net/http"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/route"
)

// Routes are webhooks over HTTP: for the admins of the tenant acted in, and of a named one.
type Routes struct{ Webhooks *Service }

// The bodies and answers of the operations.
type (
	// NewBody is the body that makes a webhook.
	NewBody struct {
		route.Mentions
		URL         string   `json:"url" minLength:"1" maxLength:"2048" doc:"https, a public address"`
		EntityTypes []string `json:"entityTypes,omitempty" doc:"whose commands are sent; all where it is left out"`
		Description string   `json:"description,omitempty"`
		Active      *bool    `json:"active,omitempty" doc:"true by default"`
	}
	// ChangeBody is the body that changes a webhook.
	ChangeBody struct {
		route.Mentions
		URL         *string   `json:"url,omitempty" minLength:"1" maxLength:"2048"`
		EntityTypes *[]string `json:"entityTypes,omitempty"`
		Description *string   `json:"description,omitempty"`
		Active      *bool     `json:"active,omitempty"`
	}
	// Changed is a webhook after a change.
	Changed struct {
		Webhook
		Changed bool `json:"changed" doc:"false where nothing was changed"`
	}
	// List are the webhooks of a tenant.
	List struct {
		Items []Webhook `json:"items"`
	}
)

// Operations returns the operations.
func (rs *Routes) Operations() []route.Operation {
	readers := guard.Policy{Reach: guard.Tenant, Roles: []string{"admin"}}
	admin := readers
	admin.Personal = true // support access opens no way out for a tenant's data
	missing := []fault.Code{fault.NotFound}
	changes := []fault.Code{fault.NotFound, fault.VersionConflict, fault.IdempotencyConflict}
	paged := []route.Param{{Name: "limit", Summary: "how many at most; 100 by default", Kind: route.Integer, Min: 1, Max: data.MaxLimit}, {Name: "cursor", Summary: "of the page before"}}
	const one = "/{webhookId}"
	ops := []route.Operation{
		{ID: "listWebhooks", Method: "GET", Summary: "List the webhooks", Answers: map[int]any{200: List{}}, Handle: rs.list},
		{ID: "createWebhook", Method: "POST", Summary: "Make a webhook; its secret is shown once", Body: NewBody{}, Answers: map[int]any{201: Webhook{}}, Errors: []fault.Code{fault.IdempotencyConflict},
			Confidential: true, Handle: rs.create},
		{ID: "getWebhook", Method: "GET", Path: one, Summary: "Read a webhook", Answers: map[int]any{200: Webhook{}}, Errors: missing, Versioned: true, Handle: rs.get},
		{ID: "updateWebhook", Method: "PATCH", Path: one, Summary: "Change a webhook, or switch it off and on", Body: ChangeBody{}, Answers: map[int]any{200: Changed{}}, Errors: changes, Versioned: true, Handle: rs.update},
		{ID: "deleteWebhook", Method: "DELETE", Path: one, Summary: "Remove a webhook; deliveries that wait are not made", Answers: map[int]any{200: Changed{}}, Errors: changes, Versioned: true, Handle: rs.delete},
		{ID: "rotateWebhookSecret", Method: "POST", Path: one + "/rotate", Summary: "Give a webhook a new secret, shown once; the one before signs as well for a day", Body: route.Mentions{}, Bare: true,
			Answers: map[int]any{200: Webhook{}}, Errors: missing, Confidential: true, Handle: rs.rotate},
		{ID: "pingWebhook", Method: "POST", Path: one + "/ping", Summary: "Send a delivery of the type ping, once", Body: route.Mentions{}, Bare: true,
			Answers: map[int]any{202: Delivery{}}, Errors: missing, Handle: rs.ping},
		{ID: "listDeliveries", Method: "GET", Path: one + "/deliveries", Summary: "List the deliveries of 30 days, the newest first", Query: paged,
			Answers: map[int]any{200: Deliveries{}}, Errors: []fault.Code{fault.NotFound, fault.InvalidCursor}, Handle: rs.deliveries},
		{ID: "retryDelivery", Method: "POST", Path: one + "/deliveries/{deliveryId}/retry", Summary: "Make a delivery again: one that is dead, or any", Body: route.Mentions{}, Bare: true,
			Answers: map[int]any{202: Delivery{}}, Errors: missing, Handle: rs.retry},
	}
	named := make([]route.Operation, len(ops))
	for i := range ops {
		ops[i].Tag, ops[i].Policy = "webhooks", admin
		if ops[i].Method == http.MethodGet {
			ops[i].Policy = readers
		}
		named[i] = ops[i]
		named[i].ID += "Tenant"
		named[i].Summary += " (of a named tenant)"
		named[i].Path = "/api/tenants/{tenantCode}/webhooks" + ops[i].Path
		ops[i].Path = "/api/webhooks" + ops[i].Path
	}
	return append(ops, named...)
}

// read reads a body, whose mentions of a record named holds: a webhook is named by the path.
func read(c *route.Call, v any, named *route.Mentions) error {
	err := c.Decode(v)
	if err == nil && (named.PK != "" || named.ID != "") {
		err = fault.New(fault.InvalidKey, "webhooks", "the body's pk or id names another record than the route; leave it out")
	}
	return err
}

func (rs *Routes) list(ctx context.Context, c *route.Call) (route.Answer, error) {
	all, err := rs.Webhooks.List(ctx, c.Scope())
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, List{Items: all})
}

func (rs *Routes) create(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b NewBody
	if err := read(c, &b, &b.Mentions); err != nil {
		return route.Answer{}, err
	}
	w, err := rs.Webhooks.Create(ctx, c.Scope(), Change{URL: &b.URL, EntityTypes: &b.EntityTypes, Description: &b.Description, Active: b.Active})
	return answer(http.StatusCreated, w, w.Version, err)
}

func answer(status int, v any, version int64, err error) (route.Answer, error) {
	if err != nil {
		return route.Answer{}, err
	}
	a, err := route.JSON(status, v)
	a.Version = version
	return a, err
}

func (rs *Routes) get(ctx context.Context, c *route.Call) (route.Answer, error) {
	w, err := rs.Webhooks.Get(ctx, c.Scope(), c.Path("webhookId"))
	return answer(http.StatusOK, w, w.Version, err)
}

func (rs *Routes) update(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b ChangeBody
	if err := read(c, &b, &b.Mentions); err != nil {
		return route.Answer{}, err
	}
	opts, err := c.Changing()
	if err != nil {
		return route.Answer{}, err
	}
	w, res, err := rs.Webhooks.Update(ctx, c.Scope(), c.Path("webhookId"), Change{URL: b.URL, EntityTypes: b.EntityTypes, Description: b.Description, Active: b.Active}, opts...)
	return changed(w, res, err)
}

func (rs *Routes) delete(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b route.Mentions
	if err := read(c, &b, &b); err != nil {
		return route.Answer{}, err
	}
	opts, err := c.Changing()
	if err != nil {
		return route.Answer{}, err
	}
	w, res, err := rs.Webhooks.Delete(ctx, c.Scope(), c.Path("webhookId"), opts...)
	return changed(w, res, err)
}

func changed(w Webhook, res command.Result, err error) (route.Answer, error) {
	a, err := answer(http.StatusOK, Changed{w, res.Changed}, w.Version, route.Precondition(err, true))
	a.Position = res.Position
	return a, err
}

func (rs *Routes) rotate(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b route.Mentions
	if err := read(c, &b, &b); err != nil {
		return route.Answer{}, err
	}
	w, _, err := rs.Webhooks.Rotate(ctx, c.Scope(), c.Path("webhookId"))
	return answer(http.StatusOK, w, w.Version, err)
}

func (rs *Routes) ping(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b route.Mentions
	if err := read(c, &b, &b); err != nil {
		return route.Answer{}, err
	}
	d, err := rs.Webhooks.Ping(ctx, c.Scope(), c.Path("webhookId"))
	return answer(http.StatusAccepted, d, 0, err)
}

func (rs *Routes) deliveries(ctx context.Context, c *route.Call) (route.Answer, error) {
	page, err := rs.Webhooks.Deliveries(ctx, c.Scope(), c.Path("webhookId"), int(c.Int("limit")), c.Query("cursor"))
	return answer(http.StatusOK, page, 0, err)
}

func (rs *Routes) retry(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b route.Mentions
	if err := read(c, &b, &b); err != nil {
		return route.Answer{}, err
	}
	d, err := rs.Webhooks.Retry(ctx, c.Scope(), c.Path("webhookId"), c.Path("deliveryId"))
	return answer(http.StatusAccepted, d, 0, err)
}
