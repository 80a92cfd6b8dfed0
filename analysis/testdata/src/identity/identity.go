// Package identity reads values from contexts.
package identity

import (
	"context"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/guard"
)

type (
	tenantKey  struct{}
	contextKey string
	numberKey  int
	traceKey   struct{}
)

const (
	userCode numberKey = iota
	attempt
)

const principal contextKey = "p"

var claimsKey = &struct{ name string }{"c"}

// webContext is what frameworks make of a context.
type webContext struct{ context.Context }

// request is what has a context.
type request struct{ ctx context.Context }

func (r request) Context() context.Context { return r.ctx }

// store has a Value that is no context's.
type store struct{}

func (store) Value(key any) any { return nil }

func reads(ctx context.Context, web *webContext, r request) {
	_ = ctx.Value(tenantKey{})              // want `This reads who is calling from a context, .*; take a guard.Scope`
	_ = ctx.Value(&tenantKey{})             // want `reads who is calling`
	_ = ctx.Value("tenantCode")             // want `reads who is calling`
	_ = ctx.Value(contextKey("X-USER-ID"))  // want `reads who is calling`
	_ = ctx.Value(userCode)                 // want `reads who is calling`
	_ = ctx.Value(principal)                // want `reads who is calling`
	_ = ctx.Value(claimsKey)                // want `reads who is calling`
	_ = ctx.Value(guard.Key{})              // want `reads who is calling`
	_ = ctx.Value(auth.ID(1))               // want `reads who is calling`
	_ = web.Value("identity")               // want `reads who is calling`
	_ = r.Context().Value("scope").(string) // want `reads who is calling`
	_ = (ctx.Value)(auth.PrincipalKey{})    // want `reads who is calling`

	_ = ctx.Value(traceKey{})
	_ = ctx.Value(attempt)
	_ = ctx.Value("requestId")
	_ = ctx.Value("userAgent")
	_ = ctx.Value(contextKey("User-Agent"))
	_ = store{}.Value("tenant")
}
