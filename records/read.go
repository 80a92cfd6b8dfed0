package records

import (
	"context"
	"net/http"
	"strconv"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
)

func (rs *Routes) get(ctx context.Context, c *route.Call) (route.Answer, error) {
	key, err := rs.key(c, body{})
	if err != nil {
		return route.Answer{}, err
	}
	var opts []data.Option
	if c.Flag("includeDeleted") {
		opts = append(opts, data.IncludeDeleted())
	}
	version, at := c.Query("version"), c.Query("at")
	var rec *record.Record
	switch {
	case version != "" && at != "":
		return route.Answer{}, fault.New(fault.InvalidRequest, "records.get", "version and at both name a past state; send one of them")
	case version != "":
		rec, err = rs.Data.GetVersion(ctx, c.Scope(), key, c.Int("version"))
		if err == nil && rec.IsDeleted && !c.Flag("includeDeleted") {
			err = fault.New(fault.NotFound, "records.get", "there is no such record")
		}
	case at != "":
		var moment record.Time
		if moment, err = record.ParseTime(at); err == nil {
			rec, err = rs.Data.GetAt(ctx, c.Scope(), key, moment.Time(), opts...)
		}
	default:
		rec, err = rs.Data.Get(ctx, c.Scope(), key, opts...)
	}
	if err != nil {
		return route.Answer{}, err
	}
	return route.Record(rec), nil
}

func (rs *Routes) list(ctx context.Context, c *route.Call) (route.Answer, error) {
	p, err := rs.partition(c, "")
	if err != nil {
		return route.Answer{}, err
	}
	page, err := rs.Data.List(ctx, c.Scope(), data.Query{Partition: p, Prefix: c.Query("prefix"), From: c.Query("from"), To: c.Query("to"),
		Descending: c.Query("order") == "desc", IncludeDeleted: c.Flag("includeDeleted"), Limit: int(c.Int("limit")), Cursor: c.Query("cursor")})
	if err != nil {
		return route.Answer{}, err
	}
	return route.List(page.Items, page.Cursor), nil
}

// Keys is the body of a batch get.
type Keys struct {
	route.Mentions
	SKs       []string `json:"sks" maxItems:"100"`
	Partition string   `json:"partition,omitempty"`
}

func (rs *Routes) batchGet(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b struct {
		TenantCode string   `json:"tenantCode"`
		PK         string   `json:"pk"`
		ID         string   `json:"id"`
		SKs        []string `json:"sks"`
		Partition  string   `json:"partition"`
	}
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	p, err := rs.partition(c, b.Partition)
	if err != nil {
		return route.Answer{}, err
	}
	ks := make([]record.Key, len(b.SKs))
	for i, sk := range b.SKs {
		if ks[i], err = p.Key(sk); err != nil {
			return route.Answer{}, fault.Invalid("records.get", fault.Field{Field: "sks[" + strconv.Itoa(i) + "]", Problem: fault.As(err).Msg})
		}
	}
	recs, err := rs.Data.BatchGet(ctx, c.Scope(), ks)
	if err != nil {
		return route.Answer{}, err
	}
	return route.List(recs, ""), nil
}

func (rs *Routes) history(ctx context.Context, c *route.Call) (route.Answer, error) {
	key, err := rs.key(c, body{})
	if err != nil {
		return route.Answer{}, err
	}
	page, err := rs.Data.History(ctx, c.Scope(), key, int(c.Int("limit")), c.Query("cursor"))
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, page)
}

func (rs *Routes) command(ctx context.Context, c *route.Call) (route.Answer, error) {
	key, err := rs.key(c, body{})
	if err != nil {
		return route.Answer{}, err
	}
	version, err := route.ParseVersion(c.Path("version"))
	if err != nil {
		return route.Answer{}, err
	}
	cmd, err := rs.Data.Command(ctx, c.Scope(), key, version)
	if err != nil {
		return route.Answer{}, err
	}
	var extra []string
	if rs.Waiting != nil {
		if state := rs.Waiting(cmd); state != "" {
			extra = append(extra, `"handlers":"`+state+`"`)
		}
	}
	return route.Answer{Status: http.StatusOK, JSON: record.AppendJSON(nil, cmd, record.Command, extra...)}, nil
}
