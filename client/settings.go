package client

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

// Settings are a tenant's settings, with defaults for what it has not set. JSON holds members of the application's own too.
type Settings struct {
	Timezone   string `json:"timezone"`
	Locale     string `json:"locale"`
	DateFormat string `json:"dateFormat"`
	Currency   string `json:"currency"`
	Features   struct {
		ExportEnabled bool `json:"exportEnabled"`
		ImportEnabled bool `json:"importEnabled"`
		APIEnabled    bool `json:"apiEnabled"`
	} `json:"features"`

	Answer `json:"-"`
}

// Settings returns the acting tenant's settings.
func (c *Client) Settings(ctx context.Context) (Settings, error) {
	return value[Settings](ctx, c, request{method: http.MethodGet, path: "/api/settings"})
}

// UpdateSettings merges patch, which marshals to a JSON object, into the acting tenant's settings: objects merge at any depth, and null
// returns a member to its default.
func (c *Client) UpdateSettings(ctx context.Context, patch any, opts ...Option) (Settings, error) {
	r := request{method: http.MethodPatch, path: "/api/settings", body: patch}
	return value[Settings](ctx, c, r.with(opts))
}

// MasterRef names a master setting.
type MasterRef struct {
	Level   string // common, tenant, group or user
	GroupID string // with group
	UserID  string // with user
	Code    string
}

const masterPath = "/api/master-setting"

func (r MasterRef) path() string {
	path := masterPath + "/" + segment(r.Level)
	switch r.Level {
	case "group":
		path += "/" + segment(r.GroupID)
	case "user":
		path += "/" + segment(r.UserID)
	}
	return path + "/" + segment(r.Code)
}

// MasterSetting is a master setting, of whatever level.
type MasterSetting struct {
	Code    string         `json:"code"`
	Name    string         `json:"name"`
	Value   jsontext.Value `json:"settingValue"` // an object
	Level   string         `json:"level"`
	GroupID string         `json:"groupId"`
	UserID  string         `json:"userId"`
	Version int64          `json:"version"`

	Changed *bool        `json:"changed"` // of the answer to a change: false where it changed nothing; else nil
	Explain *Explanation `json:"explain"` // where it was asked for

	Answer `json:"-"`
}

// Explanation says how a master setting was resolved.
type Explanation struct {
	Levels []MasterLevel `json:"levels"` // in the order in which they are looked at; the first found won
	Reason string        `json:"reason"`
}

// MasterLevel is one level that was looked at.
type MasterLevel struct {
	Level   string         `json:"level"`
	GroupID string         `json:"groupId"`
	UserID  string         `json:"userId"`
	Found   bool           `json:"found"`
	Deleted bool           `json:"deleted"`
	Version int64          `json:"version"`
	Name    string         `json:"name"`
	Value   jsontext.Value `json:"settingValue"`
}

// Resolution says for whom a master setting is resolved. Its zero value is the caller.
type Resolution struct {
	UserID  string // of another user, for admins
	Role    string // with UserID: whose setting groups are looked at
	Explain bool   // answers every level, and why the one won
}

// MasterSetting returns the master setting that holds in the acting tenant. It fails with fault.NotFound where no level has it.
func (c *Client) MasterSetting(ctx context.Context, code string, of Resolution) (MasterSetting, error) {
	r := request{method: http.MethodGet, path: masterPath + "/" + segment(code)}
	for name, text := range map[string]string{"userId": of.UserID, "role": of.Role} {
		if text != "" {
			r.setQuery(name, text)
		}
	}
	if of.Explain {
		r.setQuery("explain", "true")
	}
	return value[MasterSetting](ctx, c, r)
}

// MasterQuery says which master settings a list holds. Its zero value is all of the acting tenant.
type MasterQuery struct {
	Level   string // common, tenant, group or user; "" for all of the tenant
	GroupID string // with group
	UserID  string // with user
	Prefix  string // codes that begin with it
	Paging
}

// MasterSettings returns a page of master settings. A page may be shorter than its limit and have a cursor.
func (c *Client) MasterSettings(ctx context.Context, q MasterQuery) (Page[MasterSetting], error) {
	r := request{method: http.MethodGet, path: masterPath, query: q.values()}
	for name, text := range map[string]string{"level": q.Level, "group": q.GroupID, "user": q.UserID, "prefix": q.Prefix} {
		if text != "" {
			r.setQuery(name, text)
		}
	}
	return page[MasterSetting](ctx, c, r)
}

// PutMasterSetting creates or replaces a master setting; the value marshals to a JSON object.
func (c *Client) PutMasterSetting(ctx context.Context, ref MasterRef, name string, settingValue any, opts ...Option) (MasterSetting, error) {
	r := request{method: http.MethodPut, path: ref.path(), body: map[string]any{"name": name, "settingValue": settingValue}}
	return value[MasterSetting](ctx, c, r.with(opts))
}

// DeleteMasterSetting deletes a master setting. It fails with fault.NotFound.
func (c *Client) DeleteMasterSetting(ctx context.Context, ref MasterRef, opts ...Option) (MasterSetting, error) {
	r := request{method: http.MethodDelete, path: ref.path()}
	return value[MasterSetting](ctx, c, r.with(opts))
}
