package route

import "github.com/tenantry/tenantry/record"

// Data is the form of a record on the wire, for descriptions; records are written by record.AppendJSON.
type Data struct {
	PK         string         `json:"pk"`
	SK         string         `json:"sk" doc:"with @version in a command"`
	ID         string         `json:"id"`
	Code       string         `json:"code"`
	Name       string         `json:"name"`
	TenantCode string         `json:"tenantCode"`
	Type       string         `json:"type"`
	Version    int64          `json:"version"`
	IsDeleted  bool           `json:"isDeleted"`
	Seq        *float64       `json:"seq,omitempty"`
	TTL        *int64         `json:"ttl" nullable:"true" doc:"Unix seconds after which the record may vanish"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Metadata   map[string]any `json:"metadata,omitempty"`
	CPK        string         `json:"cpk,omitempty"`
	CSK        string         `json:"csk,omitempty"`
	Source     string         `json:"source,omitempty"`
	RequestID  string         `json:"requestId,omitempty"`
	CreatedAt  record.Time    `json:"createdAt,omitzero"`
	CreatedBy  string         `json:"createdBy,omitempty"`
	CreatedIP  string         `json:"createdIp,omitempty"`
	UpdatedAt  record.Time    `json:"updatedAt,omitzero"`
	UpdatedBy  string         `json:"updatedBy,omitempty"`
	UpdatedIP  string         `json:"updatedIp,omitempty"`
	Status     string         `json:"status,omitempty" doc:"of a command"`
	SyncMode   string         `json:"syncMode,omitempty" doc:"of a command"`
	Handlers   string         `json:"handlers,omitempty" enum:"retrying,parked" doc:"of a command whose handlers failed"`
	Changed    *bool          `json:"changed,omitempty" doc:"of an answer to a change: false where it changed nothing"`
}

// Items is a page of records.
type Items struct {
	Items  []Data `json:"items"`
	Cursor string `json:"cursor,omitempty" doc:"for the next page; absent where there is none"`
}

// Mentions are the members of every write body that name a tenant or a record. They must agree with the route and are
// otherwise without effect.
type Mentions struct {
	TenantCode string `json:"tenantCode,omitempty" doc:"must agree with the route"`
	PK         string `json:"pk,omitempty" doc:"must agree with the route"`
	ID         string `json:"id,omitempty" doc:"must agree with the route"`
}
