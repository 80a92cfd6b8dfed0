package client

import (
	"context"
	"iter"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

// Latest is the version that stands for whatever is current.
const Latest int64 = -1

// Reader reads the records of one entity type in one tenant.
type Reader struct {
	c    *Client
	path string // of the entity type, escaped
}

// Records reads and writes the records of one entity type in one tenant.
type Records struct{ Reader }

// Records returns the records of an entity type in the acting tenant.
func (c *Client) Records(entityType string) Records {
	return Records{Reader{c, "/api/data/" + segment(entityType)}}
}

// RecordsOf returns the records of an entity type in a tenant that the path names.
func (c *Client) RecordsOf(code tenant.Code, entityType string) Records {
	return Records{Reader{c, "/api/tenants/" + segment(code.String()) + "/data/" + segment(entityType)}}
}

// Shared returns the records of a shared entity type in the common tenant.
func (c *Client) Shared(entityType string) Reader {
	return Reader{c, "/api/common/" + segment(entityType)}
}

// Get returns a record, now or, with AtVersion or At, in the past. It fails with fault.NotFound.
func (r Reader) Get(ctx context.Context, sk string, opts ...Option) (Record, error) {
	call := request{method: http.MethodGet, path: r.of(sk)}
	return value[Record](ctx, r.c, call.with(opts))
}

func (r Reader) of(sk string) string { return r.path + "/" + segment(sk) }

// Query says which records a list holds, ordered by the bytes of their sort keys.
type Query struct {
	Prefix         string
	From, To       string // inclusive, exclusive; "" is open
	Descending     bool
	IncludeDeleted bool
	Paging
}

// List returns a page of records. It fails with fault.InvalidCursor for a cursor of another query.
func (r Reader) List(ctx context.Context, q Query, opts ...Option) (Page[Record], error) {
	call := request{method: http.MethodGet, path: r.path, query: q.values()}
	for name, text := range map[string]string{"prefix": q.Prefix, "from": q.From, "to": q.To} {
		if text != "" {
			call.setQuery(name, text)
		}
	}
	if q.Descending {
		call.setQuery("order", "desc")
	}
	if q.IncludeDeleted {
		call.setQuery("includeDeleted", "true")
	}
	return page[Record](ctx, r.c, call.with(opts))
}

// Each goes through what List answers, page after page, and ends after the first failure.
func (r Reader) Each(ctx context.Context, q Query, opts ...Option) iter.Seq2[Record, error] {
	return all(q.Paging, func(p Paging) (Page[Record], error) {
		q.Paging = p
		return r.List(ctx, q, opts...)
	})
}

// BatchGet returns those of at most 100 records that exist, in the order of sks.
func (r Records) BatchGet(ctx context.Context, sks []string, opts ...Option) ([]Record, error) {
	call := request{method: http.MethodPost, path: r.path + "/get", body: map[string]any{"sks": sks}}
	got, err := page[Record](ctx, r.c, call.with(opts))
	return got.Items, err
}

// History returns a page of the changes of a record, newest first. It fails with fault.NotFound where there never was one.
func (r Records) History(ctx context.Context, sk string, p Paging, opts ...Option) (Page[Revision], error) {
	call := request{method: http.MethodGet, path: r.of(sk) + "/history", query: p.values()}
	return page[Revision](ctx, r.c, call.with(opts))
}

// Command returns the command that made a version of a record, with its status. It fails with fault.NotFound.
func (r Records) Command(ctx context.Context, sk string, version int64, opts ...Option) (Record, error) {
	call := request{method: http.MethodGet, path: r.of(sk) + "/commands/" + strconv.FormatInt(version, 10)}
	return value[Record](ctx, r.c, call.with(opts))
}

// Input is the whole new state of a record.
type Input struct {
	Code       string `json:"code,omitzero"` // defaults to the current code, and to the sort key for a new record
	Name       string `json:"name"`
	Attributes any    `json:"attributes,omitzero"` // marshals to a JSON object; nil for none
}

// Create creates a record; with sk "" under a new ULID. It fails with fault.VersionConflict where there is one.
func (r Records) Create(ctx context.Context, sk string, in Input, opts ...Option) (Record, error) {
	body := struct {
		SK string `json:"sk,omitzero"`
		Input
	}{sk, in}
	call := request{method: http.MethodPost, path: r.path, body: body}
	return value[Record](ctx, r.c, call.with(opts))
}

// Put makes in the record, if its version is version; with Latest whatever it is, with 0 if there is none. It fails with
// fault.VersionConflict.
func (r Records) Put(ctx context.Context, sk string, version int64, in Input, opts ...Option) (Record, error) {
	body := struct {
		Version int64 `json:"version"`
		Input
	}{version, in}
	call := request{method: http.MethodPut, path: r.of(sk), body: body}
	return value[Record](ctx, r.c, call.with(opts))
}

// Patch is a change of some fields of a record. Nil fields stay; attributes merge deeply, lists and null replace.
type Patch struct {
	Code       *string `json:"code,omitzero"`
	Name       *string `json:"name,omitzero"`
	Attributes any     `json:"attributes,omitzero"`
}

// Patch merges p into a record, if its version is version. It fails with fault.NotFound and fault.VersionConflict.
func (r Records) Patch(ctx context.Context, sk string, version int64, p Patch, opts ...Option) (Record, error) {
	body := struct {
		Version int64 `json:"version"`
		Patch
	}{version, p}
	call := request{method: http.MethodPatch, path: r.of(sk), body: body}
	return value[Record](ctx, r.c, call.with(opts))
}

// Delete deletes a record, if its version is version. It fails with fault.NotFound and fault.VersionConflict.
func (r Records) Delete(ctx context.Context, sk string, version int64, opts ...Option) (Record, error) {
	call := request{method: http.MethodDelete, path: r.of(sk)}
	call.setQuery("version", strconv.FormatInt(version, 10))
	return value[Record](ctx, r.c, call.with(opts))
}

// BulkItem is one element of a bulk: created, or, with a version, replaced as by Put.
type BulkItem struct {
	SK      string `json:"sk,omitzero"` // a new ULID where it is ""
	Version int64  `json:"version"`
	Input
}

// Outcome is what became of one element of a bulk: Record, or Err with the code, fields and versions.
type Outcome struct {
	Status int
	Record Record
	Err    error
}

// Bulk publishes at most 500 records. The list is checked as a whole first (fault.ValidationFailed, and nothing is
// written); then each has its own commit, and its Outcome at its place.
func (r Records) Bulk(ctx context.Context, items []BulkItem, opts ...Option) ([]Outcome, error) {
	call := request{method: http.MethodPost, path: r.path + "/bulk", body: items}
	var body []struct {
		Status int            `json:"status"`
		Record jsontext.Value `json:"record"`
		Error  *problem       `json:"error"`
	}
	answer, err := r.c.call(ctx, call.with(opts), &body)
	if err != nil {
		return nil, err
	}
	out := make([]Outcome, len(body))
	for i, element := range body {
		out[i].Status = element.Status
		if p := element.Error; p != nil {
			out[i].Err = p.fault(call.path, &Problem{Status: element.Status, RequestID: answer.RequestID})
			continue
		}
		if err := json.Unmarshal(element.Record, &out[i].Record); err != nil {
			return nil, fault.Wrap(err, fault.Internal, call.path, "element %d of the answer is no record", i)
		}
		out[i].Record.Answer = Answer{JSON: element.Record}
	}
	return out, nil
}
