// Package records serves records of any entity type over HTTP: section 6 of the contract.
package records

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
)

// Routes are the record operations.
type Routes struct {
	Entities *entity.Registry
	Commands *command.Service
	Data     *data.Service

	// Waiting says what a command's handlers wait for; see projection.Runner.Waiting.
	Waiting func(cmd *record.Record) string
}

// Body is the body of a create, a replace and an element of a bulk.
type Body struct {
	route.Mentions
	SK         string         `json:"sk,omitempty" doc:"1 to 512 bytes of printable UTF-8; a ULID by default"`
	Code       string         `json:"code,omitempty" doc:"the sort key by default"`
	Name       string         `json:"name"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Version    int64          `json:"version,omitempty" minimum:"-1" maximum:"9007199254740991"`
	Partition  string         `json:"partition,omitempty" doc:"the segments after the tenant of a time-partitioned PK, joined by #"`
}

// Patch is the body of a partial update.
type Patch struct {
	route.Mentions
	SK         string         `json:"sk,omitempty" doc:"must agree with the route"`
	Name       *string        `json:"name,omitempty"`
	Code       *string        `json:"code,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty" doc:"merged deeply; lists and null replace"`
	Version    int64          `json:"version,omitempty" minimum:"-1" maximum:"9007199254740991"`
	Partition  string         `json:"partition,omitempty"`
}

// body is how Body and Patch are read: the version and the attributes as they were sent.
type body struct {
	TenantCode string         `json:"tenantCode"`
	PK         string         `json:"pk"`
	ID         string         `json:"id"`
	SK         string         `json:"sk"`
	Code       *string        `json:"code"`
	Name       *string        `json:"name"`
	Attributes jsontext.Value `json:"attributes"`
	Version    jsontext.Value `json:"version"`
	Partition  string         `json:"partition"`
}

// resolve returns the declaration of the entity type that the path names. A malformed or unknown type, and one that
// belongs to a module, is fault.NotFound.
func (rs *Routes) resolve(c *route.Call) (entity.Type, error) {
	if name, err := record.ParseEntityType(c.Path("entityType")); err == nil {
		if t, ok := rs.Entities.Lookup(name); ok && !t.Owned {
			return t, nil
		}
	}
	return entity.Type{}, fault.New(fault.NotFound, "records", "there is no such entity type")
}

func (rs *Routes) mayRead(c *route.Call) error {
	t, err := rs.resolve(c)
	if err != nil {
		return err
	}
	return c.Grant.Need(t.ReadRoles)
}

func (rs *Routes) mayWrite(c *route.Call) error {
	t, err := rs.resolve(c)
	if err != nil {
		return err
	}
	return c.Grant.Need(t.WriteRoles)
}

func (rs *Routes) mayReadShared(c *route.Call) error {
	t, err := rs.resolve(c)
	if err == nil && !t.Shared {
		return fault.New(fault.NotFound, "records", "there is no such entity type")
	}
	return err
}

// partition returns the partition that a call names, in the query and in its body's partition.
func (rs *Routes) partition(c *route.Call, inBody string) (record.Partition, error) {
	t, err := rs.resolve(c)
	if err != nil {
		return record.Partition{}, err
	}
	text := c.Query("partition")
	if inBody != "" && text != "" && inBody != text {
		return record.Partition{}, fault.New(fault.InvalidRequest, "records", "partition in the query and in the body differ; send one of them")
	}
	if text == "" {
		text = inBody
	}
	var segments []string
	if text != "" {
		segments = strings.Split(text, record.Separator)
	}
	return record.NewPartition(c.Scope(), t.Name, segments...)
}

// key returns the key that the path names, checked against what the body says of it.
func (rs *Routes) key(c *route.Call, b body) (record.Key, error) {
	p, err := rs.partition(c, b.Partition)
	if err != nil {
		return record.Key{}, err
	}
	key, err := p.Key(c.Path("sk"))
	if err != nil {
		return record.Key{}, err
	}
	return key, agree(key, b)
}

func agree(key record.Key, b body) error {
	named := ""
	switch {
	case b.SK != "" && b.SK != key.SK():
		named = "sk"
	case b.PK != "" && !samePK(key, b.PK):
		named = "pk"
	case b.ID != "" && !sameID(key, b.ID):
		named = "id"
	default:
		return nil
	}
	return fault.New(fault.InvalidKey, "records", "the body's %s names another record than the route; leave it out", named)
}

// samePK compares a PK but for its tenant, which may be spelt in any case or as an alias: the guard let it pass because it is key's.
func samePK(key record.Key, pk string) bool {
	t, _, rest, err := record.SplitPK(pk)
	return err == nil && t == key.Type() && rest == key.Segments()
}

func sameID(key record.Key, id string) bool {
	pk, ok := strings.CutSuffix(id, record.Separator+key.SK())
	return ok && samePK(key, pk)
}

func (b body) input(key record.Key) (command.Input, error) {
	attributes, err := b.attributes()
	in := command.Input{Key: key, Attributes: attributes}
	if b.Name != nil {
		in.Name = *b.Name
	}
	if b.Code != nil {
		in.Code = *b.Code
	}
	return in, err
}

func (b body) attributes() (record.Attributes, error) {
	if len(b.Attributes) == 0 {
		return nil, nil
	}
	return record.ParseAttributes(b.Attributes)
}

func (rs *Routes) create(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b body
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	if len(b.Version) > 0 && string(b.Version) != "0" {
		if _, err := route.ParseVersion(string(b.Version)); err != nil {
			return route.Answer{}, err
		}
		return route.Answer{}, fault.New(fault.InvalidRequest, "records.create", "a create has version 0 or none; change a record with PUT or PATCH")
	}
	in, err := rs.newInput(c, b)
	if err != nil {
		return route.Answer{}, err
	}
	opts := c.Idempotent("")
	if c.Query("mode") != "async" {
		res, err := rs.Commands.PublishSync(ctx, c.Scope(), in, opts...)
		if err != nil {
			return route.Answer{}, err
		}
		return route.Changed(http.StatusCreated, res), nil
	}
	res, err := rs.Commands.PublishAsync(ctx, c.Scope(), in, opts...)
	if err != nil {
		return route.Answer{}, err
	}
	answer := route.Changed(http.StatusAccepted, res)
	answer.Location = c.URL() + "/" + url.PathEscape(res.Record.SK) + "/commands/" + strconv.FormatInt(res.Record.Version, 10)
	if key, err := record.ParseKey(c.Scope(), res.Record.PK, res.Record.SK); err == nil && key.Segments() != "" {
		answer.Location += "?partition=" + url.QueryEscape(key.Segments())
	}
	return answer, nil
}

// newInput returns the input of a record whose key the body names, or leaves to the server.
func (rs *Routes) newInput(c *route.Call, b body) (command.Input, error) {
	p, err := rs.partition(c, b.Partition)
	if err != nil {
		return command.Input{}, err
	}
	sk := b.SK
	if sk == "" {
		sk = record.NewID()
	}
	if !route.Nameable(sk) {
		return command.Input{}, fault.Invalid("records", fault.Field{Field: "sk", Problem: "is . or .., which no path can name; choose another"})
	}
	key, err := p.Key(sk)
	if err != nil {
		return command.Input{}, err
	}
	if err := agree(key, b); err != nil {
		return command.Input{}, err
	}
	return b.input(key)
}

func (rs *Routes) replace(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b body
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	key, err := rs.key(c, b)
	if err != nil {
		return route.Answer{}, err
	}
	version, _, fromHeader, err := c.Version(b.Version, true)
	if err != nil {
		return route.Answer{}, err
	}
	in, err := b.input(key)
	if err != nil {
		return route.Answer{}, err
	}
	in.Version = version
	res, err := rs.Commands.PublishSync(ctx, c.Scope(), in, c.Idempotent("")...)
	if err != nil {
		return route.Answer{}, route.Precondition(err, fromHeader)
	}
	if res.Created {
		return route.Changed(http.StatusCreated, res), nil
	}
	return route.Changed(http.StatusOK, res), nil
}

func (rs *Routes) update(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b body
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	attributes, err := b.attributes()
	if err != nil {
		return route.Answer{}, err
	}
	return rs.partial(ctx, c, b, command.Partial{Name: b.Name, Code: b.Code, Attributes: attributes})
}

func (rs *Routes) delete(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b body
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	deleted := true
	return rs.partial(ctx, c, b, command.Partial{IsDeleted: &deleted})
}

func (rs *Routes) partial(ctx context.Context, c *route.Call, b body, p command.Partial) (route.Answer, error) {
	key, err := rs.key(c, b)
	if err != nil {
		return route.Answer{}, err
	}
	version, _, fromHeader, err := c.Version(b.Version, true)
	if err != nil {
		return route.Answer{}, err
	}
	p.Key, p.Version = key, version
	res, err := rs.Commands.PublishPartialUpdateSync(ctx, c.Scope(), p, append(c.Idempotent(""), command.Live())...)
	if err != nil {
		return route.Answer{}, route.Precondition(err, fromHeader)
	}
	return route.Changed(http.StatusOK, res), nil
}
