package client

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Record is a record, or a command, as the API answers it. Attributes and Metadata keep numbers exactly, as text; none is nil.
type Record struct {
	PK         string         `json:"pk"`
	SK         string         `json:"sk"` // with @version in a command
	ID         string         `json:"id"`
	Code       string         `json:"code"`
	Name       string         `json:"name"`
	TenantCode string         `json:"tenantCode"`
	Type       string         `json:"type"`
	Version    int64          `json:"version"`
	IsDeleted  bool           `json:"isDeleted"`
	Seq        jsontext.Value `json:"seq"`
	TTL        int64          `json:"ttl"` // Unix seconds; 0 for none
	Attributes jsontext.Value `json:"attributes"`
	Metadata   jsontext.Value `json:"metadata"`
	Source     string         `json:"source"`
	RequestID  string         `json:"requestId"` // of the request that made this version
	CreatedAt  time.Time      `json:"createdAt"`
	CreatedBy  string         `json:"createdBy"`
	CreatedIP  string         `json:"createdIp"`
	UpdatedAt  time.Time      `json:"updatedAt"`
	UpdatedBy  string         `json:"updatedBy"`
	UpdatedIP  string         `json:"updatedIp"`
	Status     string         `json:"status"`   // of a command
	SyncMode   string         `json:"syncMode"` // of a command
	Handlers   string         `json:"handlers"` // of a command whose handlers failed: retrying, parked

	// Changed points to false in the answer to a change that would have changed nothing and wrote nothing. In reads, and in the
	// commands that tenant operations answer with, it is nil.
	Changed *bool `json:"changed"`

	Answer `json:"-"`
}

// Revision is one change of a record: who, when, from where, by which operation, and what changed.
type Revision struct {
	Version   int64     `json:"version"`
	UpdatedAt time.Time `json:"updatedAt"`
	UpdatedBy string    `json:"updatedBy"`
	UpdatedIP string    `json:"updatedIp"`
	RequestID string    `json:"requestId"`
	Source    string    `json:"source"`
	IsDeleted bool      `json:"isDeleted"`
	Changes   []Delta   `json:"changes"`

	Answer `json:"-"`
}

// Delta is one difference between two versions: the field's dotted path, and its values as JSON, nil where it was absent.
type Delta struct {
	Field string         `json:"field"`
	From  jsontext.Value `json:"from"`
	To    jsontext.Value `json:"to"`
}

// Crossing is an audit entry: one use of the right to cross tenants.
type Crossing struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	UserID    string    `json:"userId"`
	Issuer    string    `json:"issuer"`
	Role      string    `json:"role"`
	Operation string    `json:"operation"`
	Reason    string    `json:"reason"`
	Tenants   []string  `json:"tenants"` // touched; in a tenant's own log only that tenant
	RequestID string    `json:"requestId"`
	SourceIP  string    `json:"sourceIp"`

	Answer `json:"-"`
}

// Me is what a caller is told of themselves.
type Me struct {
	UserID        string   `json:"userId"`
	UserCode      string   `json:"userCode"`
	Issuer        string   `json:"issuer"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"emailVerified"`
	TenantCode    string   `json:"tenantCode"` // the acting tenant; "" for none
	Role          string   `json:"role"`
	Roles         []string `json:"roles"`
	Groups        []string `json:"groups"`
	CrossTenant   bool     `json:"crossTenant"`

	ActUserID   string       `json:"actUserId"`   // who acts for the user by support access, "" for the user
	Memberships []Membership `json:"memberships"` // by tenant

	Answer `json:"-"`
}
