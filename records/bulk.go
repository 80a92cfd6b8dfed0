package records

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
)

// MaxBulk is how many elements a bulk has at most.
const MaxBulk = 500

// inFlight is how many elements of one bulk are published at a time, which lets them share a commit.
const inFlight = 64

// Bulk is the body of a bulk: a list of records to create, or, with a version, to replace.
type Bulk []Body

// BulkAnswer is what became of one element, at its place in the list.
type BulkAnswer struct {
	Status int            `json:"status"`
	Record jsontext.Value `json:"record,omitzero"`
	Error  *BulkError     `json:"error,omitempty"`
}

// BulkError is the failure of one element.
type BulkError struct {
	Code            fault.Code    `json:"code"`
	Detail          string        `json:"detail"`
	Errors          []fault.Field `json:"errors,omitempty"`
	ExpectedVersion *int64        `json:"expectedVersion,omitempty"`
	ActualVersion   *int64        `json:"actualVersion,omitempty"`
}

func (rs *Routes) bulk(ctx context.Context, c *route.Call) (route.Answer, error) {
	inputs, err := rs.bulkInputs(c)
	if err != nil {
		return route.Answer{}, err
	}
	answers := make([]BulkAnswer, len(inputs))
	var publishing errgroup.Group
	publishing.SetLimit(inFlight)
	for _, places := range byKey(inputs) {
		publishing.Go(func() error {
			for _, i := range places {
				res, err := rs.Commands.PublishSync(ctx, c.Scope(), inputs[i], c.Idempotent(strconv.Itoa(i))...)
				answers[i] = answerOf(res, err)
			}
			return nil
		})
	}
	if err := publishing.Wait(); err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, answers)
}

// byKey returns the places of the elements that name one record together, in their order: they are published one after another.
func byKey(inputs []command.Input) [][]int {
	groups := make([][]int, 0, len(inputs))
	group := make(map[record.Key]int, len(inputs))
	for i, in := range inputs {
		g, known := group[in.Key]
		if !known {
			g = len(groups)
			group[in.Key], groups = g, append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// bulkInputs checks the whole list before anything is written.
func (rs *Routes) bulkInputs(c *route.Call) ([]command.Input, error) {
	var elements []body
	if err := c.Decode(&elements); err != nil {
		return nil, err
	}
	t, err := rs.resolve(c)
	if err != nil {
		return nil, err
	}
	inputs := make([]command.Input, len(elements))
	var problems []fault.Field
	for i, b := range elements {
		version, err := int64(0), error(nil)
		if len(b.Version) > 0 {
			version, err = route.ParseVersion(string(b.Version))
		}
		if err == nil {
			inputs[i], err = rs.newInput(c, b)
			inputs[i].Version = version
		}
		if err == nil {
			in := inputs[i]
			err = command.Check(t, &record.Record{Name: in.Name, Code: cmp.Or(in.Code, in.Key.SK()), Attributes: in.Attributes})
		}
		if err != nil {
			problems = append(problems, at(i, err)...)
		}
	}
	if len(problems) > 0 {
		return nil, fault.Invalid("records.bulk", problems...)
	}
	return inputs, nil
}

func at(i int, err error) []fault.Field {
	place := "[" + strconv.Itoa(i) + "]"
	e := fault.As(err)
	if len(e.Fields) == 0 {
		return []fault.Field{{Field: place, Problem: e.Msg}}
	}
	out := make([]fault.Field, len(e.Fields))
	for n, f := range e.Fields {
		out[n] = fault.Field{Field: place + "." + f.Field, Problem: f.Problem}
	}
	return out
}

func answerOf(res command.Result, err error) BulkAnswer {
	if e := fault.As(err); e != nil {
		out := BulkAnswer{Status: e.HTTPStatus(), Error: &BulkError{Code: e.Code, Detail: e.Msg, Errors: e.Fields}}
		if e.Versions != nil {
			out.Error.ExpectedVersion, out.Error.ActualVersion = &e.Versions.Expected, &e.Versions.Actual
		}
		return out
	}
	status := http.StatusOK
	if res.Created {
		status = http.StatusCreated
	}
	return BulkAnswer{Status: status, Record: record.AppendJSON(nil, res.Record, record.Data, `"changed":`+strconv.FormatBool(res.Changed))}
}
