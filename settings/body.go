package settings

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// The forms of bodies and answers, for descriptions.
type (
	// SettingBody is the body that sets a master setting.
	SettingBody struct {
		route.Mentions
		Name         string         `json:"name" minLength:"1" maxLength:"1024"`
		SettingValue map[string]any `json:"settingValue"`
	}
	// BulkBody is the body of a bulk: the settings to create.
	BulkBody []BulkElement
	// BulkElement is a setting to create.
	BulkElement struct {
		SettingBody
		Level   string `json:"level,omitempty" enum:"tenant,group,user" doc:"tenant by default"`
		GroupID string `json:"groupId,omitempty" maxLength:"255" doc:"with the level group"`
		UserID  string `json:"userId,omitempty" maxLength:"255" doc:"with the level user"`
		Code    string `json:"code" minLength:"1" maxLength:"200" doc:"without #"`
	}
	// CopyBody is the body that copies settings to other tenants.
	CopyBody struct {
		SourceTenantCode  string   `json:"sourceTenantCode"`
		TargetTenantCodes []string `json:"targetTenantCodes" minItems:"1" maxItems:"100"`
		Level             string   `json:"level,omitempty" enum:"tenant,group" doc:"both by default"`
		GroupID           string   `json:"groupId,omitempty" doc:"with the level group: of this group"`
		Codes             []string `json:"codes,omitempty" maxItems:"1000" doc:"only these"`
		OnConflict        string   `json:"onConflict,omitempty" enum:"overwrite,skip" doc:"overwrite by default"`
	}
	// SettingForm is a master setting.
	SettingForm struct {
		Code         string         `json:"code"`
		Name         string         `json:"name"`
		SettingValue map[string]any `json:"settingValue"`
		Level        string         `json:"level" enum:"common,tenant,group,user"`
		GroupID      string         `json:"groupId,omitempty"`
		UserID       string         `json:"userId,omitempty"`
		Version      int64          `json:"version"`
	}
	// ChangedSetting answers a change.
	ChangedSetting struct {
		SettingForm
		Changed bool `json:"changed" doc:"false where the call changed nothing"`
	}
	// Resolved answers a resolution.
	Resolved struct {
		SettingForm
		Explain *ExplainForm `json:"explain,omitempty" doc:"with explain=true"`
	}
	// ExplainForm says how a setting was resolved.
	ExplainForm struct {
		Levels []StepForm `json:"levels" doc:"all, in the order in which they are looked at; the first found won"`
		Reason string     `json:"reason" doc:"why it won"`
	}
	// StepForm is one level that was looked at.
	StepForm struct {
		Level        string         `json:"level" enum:"common,tenant,group,user"`
		GroupID      string         `json:"groupId,omitempty"`
		UserID       string         `json:"userId,omitempty"`
		Found        bool           `json:"found"`
		Deleted      bool           `json:"deleted"`
		Version      int64          `json:"version,omitempty"`
		Name         string         `json:"name,omitempty"`
		SettingValue map[string]any `json:"settingValue,omitempty"`
	}
	// SettingList is a page of master settings.
	SettingList struct {
		Items  []SettingForm `json:"items"`
		Cursor string        `json:"cursor,omitempty" doc:"for the next page; absent where there is none"`
	}
	// BulkAnswer is what became of one element, at its place in the list.
	BulkAnswer struct {
		Status  int          `json:"status"`
		Setting *SettingForm `json:"setting,omitempty"`
		Error   *CreateError `json:"error,omitempty"`
	}
	// CreateError is the failure of one element.
	CreateError struct {
		Code   fault.Code `json:"code"`
		Detail string     `json:"detail"`
	}
	// CopyAnswer says what became of each setting in each tenant.
	CopyAnswer struct {
		Items []CopiedForm `json:"items"`
	}
	// CopiedForm says what became of one setting in one tenant.
	CopiedForm struct {
		TenantCode string     `json:"tenantCode"`
		Code       string     `json:"code"`
		Level      string     `json:"level" enum:"common,tenant,group"`
		GroupID    string     `json:"groupId,omitempty"`
		Status     string     `json:"status" enum:"copied,unchanged,skipped,failed"`
		Error      fault.Code `json:"error,omitempty" doc:"why it failed"`
	}
)

// bulkAnswer is BulkAnswer with the setting as it is.
type bulkAnswer struct {
	Status  int          `json:"status"`
	Setting *Setting     `json:"setting,omitzero"`
	Error   *CreateError `json:"error,omitzero"`
}

// body is how the bodies of changes are read.
type body struct {
	TenantCode   string         `json:"tenantCode"`
	PK           string         `json:"pk"`
	ID           string         `json:"id"`
	Name         string         `json:"name"`
	SettingValue jsontext.Value `json:"settingValue"`
	Level        Level          `json:"level"`
	GroupID      string         `json:"groupId"`
	UserID       string         `json:"userId"`
	Code         string         `json:"code"`
}

// value returns what a master setting is to say.
func (b body) value() (Value, error) {
	value, err := record.ParseAttributes(b.SettingValue)
	if e := fault.As(err); e != nil && e.Code == fault.ValidationFailed {
		fields := make([]fault.Field, len(e.Fields))
		for i, f := range e.Fields {
			fields[i] = fault.Field{Field: "settingValue" + strings.TrimPrefix(f.Field, "attributes"), Problem: f.Problem}
		}
		err = fault.Invalid("settings", fields...)
	}
	return Value{Name: b.Name, Value: value}, err
}

// agree checks that what the body names is the record sk of a tenant. That it is no tenant which the caller may not use, the guard
// has checked.
func (b body) agree(code tenant.Code, typ record.EntityType, sk string) error {
	if named, err := tenant.Parse(b.TenantCode); b.TenantCode != "" && code.IsCommon() && (err != nil || named != code) {
		return fault.New(fault.TenantConflict, "settings", "the body names another tenant than the route; leave tenantCode out")
	}
	pks := make([]string, 0, 2)
	if b.PK != "" {
		pks = append(pks, b.PK)
	}
	if b.ID != "" {
		pk, ok := strings.CutSuffix(b.ID, record.Separator+sk)
		if !ok {
			return namesAnother()
		}
		pks = append(pks, pk)
	}
	for _, pk := range pks {
		if t, named, rest, err := record.SplitPK(pk); err != nil || t != typ || named != code || rest != "" {
			return namesAnother()
		}
	}
	return nil
}

func namesAnother() error {
	return fault.New(fault.InvalidKey, "settings", "the body's pk or id names another record than the route; leave it out")
}

// readPatch reads the body of a change of a tenant's settings.
func readPatch(c *route.Call) (record.Attributes, error) {
	patch, err := record.ParseAttributes(c.Body())
	if err != nil {
		return nil, err
	}
	var b body
	given, err := members(jsontext.Value(patch))
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]*string{"tenantCode": &b.TenantCode, "pk": &b.PK, "id": &b.ID} {
		if given[name] == nil {
			continue
		}
		if err = json.Unmarshal(given[name], text); err != nil {
			return nil, namesAnother()
		}
		if patch, err = patch.With(name, nil); err != nil {
			return nil, err
		}
	}
	return patch, b.agree(c.Scope().Tenant(), settingsType, configSK)
}

// readBulk reads the settings that a bulk creates.
func readBulk(c *route.Call) ([]NewSetting, error) {
	var elements []body
	if err := c.Decode(&elements); err != nil {
		return nil, err
	}
	list := make([]NewSetting, len(elements))
	var problems []fault.Field
	for i, b := range elements {
		if b.Level == "" {
			b.Level = LevelTenant
		}
		in := NewSetting{Ref: Ref{Level: b.Level, GroupID: b.GroupID, UserID: b.UserID, Code: b.Code}}
		err := b.agree(c.Scope().Tenant(), masterType, in.Ref.sk())
		if err == nil {
			in.Value, err = b.value()
		}
		if e := fault.As(err); e != nil && e.Code == fault.ValidationFailed {
			for _, f := range e.Fields {
				problems = append(problems, fault.Field{Field: "[" + strconv.Itoa(i) + "]." + f.Field, Problem: f.Problem})
			}
		} else if err != nil {
			return nil, err
		}
		list[i] = in
	}
	if problems != nil {
		return nil, fault.Invalid("settings", problems...)
	}
	return list, nil
}

// readCopy reads what a copy is to copy.
func readCopy(c *route.Call) (in Copy, err error) {
	var b struct {
		SourceTenantCode  string   `json:"sourceTenantCode"`
		TargetTenantCodes []string `json:"targetTenantCodes"`
		Level             Level    `json:"level"`
		GroupID           string   `json:"groupId"`
		Codes             []string `json:"codes"`
		OnConflict        string   `json:"onConflict"`
	}
	if err := c.Decode(&b); err != nil {
		return in, err
	}
	in = Copy{Level: b.Level, GroupID: b.GroupID, Codes: b.Codes, Skip: b.OnConflict == "skip", Targets: make([]tenant.Code, len(b.TargetTenantCodes))}
	if in.Source, err = tenant.Parse(b.SourceTenantCode); err != nil {
		return in, fault.Invalid("settings", fault.Field{Field: "sourceTenantCode", Problem: fault.As(err).Msg})
	}
	for i, text := range b.TargetTenantCodes {
		if in.Targets[i], err = tenant.Parse(text); err != nil {
			return in, fault.Invalid("settings", fault.Field{Field: "targetTenantCodes[" + strconv.Itoa(i) + "]", Problem: fault.As(err).Msg})
		}
	}
	return in, nil
}
