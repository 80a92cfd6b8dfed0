package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Page is a part of a list.
type Page[T any] struct {
	Items  []T
	Cursor string // for the next page; "" where there is none
	Answer
}

// Paging says which part of a list.
type Paging struct {
	Limit  int    // 1 to 1000; 0 is the server's default, 100
	Cursor string // of the page before; "" begins
}

func (p Paging) values() url.Values {
	query := url.Values{}
	if p.Limit != 0 {
		query.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.Cursor != "" {
		query.Set("cursor", p.Cursor)
	}
	return query
}

// page reads one page.
func page[T any, P answered[T]](ctx context.Context, c *Client, r request) (Page[T], error) {
	var body struct {
		Items  []jsontext.Value `json:"items"`
		Cursor string           `json:"cursor"`
	}
	answer, err := c.call(ctx, r, &body)
	if err != nil {
		return Page[T]{}, err
	}
	out := Page[T]{Items: make([]T, len(body.Items)), Cursor: body.Cursor, Answer: answer}
	for i, text := range body.Items {
		if err := c.decode(r.method+" "+r.path, text, &out.Items[i]); err != nil {
			return Page[T]{}, err
		}
		P(&out.Items[i]).set(Answer{JSON: text})
	}
	return out, nil
}

// all goes through the pages of a list. It ends after the first failure, which it yields.
func all[T any](p Paging, next func(Paging) (Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			got, err := next(p)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, it := range got.Items {
				if !yield(it, nil) {
					return
				}
			}
			if got.Cursor == "" {
				return
			}
			p.Cursor = got.Cursor
		}
	}
}
