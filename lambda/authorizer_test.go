package lambda_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/lambda"
)

const pool = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab12Cd34E"

// provider is the identity provider whose tokens the authorizer verifies.
type provider struct {
	private ed25519.PrivateKey
	keys    auth.KeySet
}

func newProvider(t *testing.T) provider {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return provider{private, auth.KeySet(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"p1","x":"` + base64.RawURLEncoding.EncodeToString(public) + `"}]}`)}
}

// sign returns claims as a token, as their provider writes it.
func (p provider) sign(t *testing.T, keyID string, claims map[string]string) string {
	t.Helper()
	whole := map[string]any{}
	for name, text := range claims {
		whole[name] = text
		if name == "exp" || name == "iat" {
			whole[name] = json.Number(text)
		}
	}
	payload, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: p.private, KeyID: keyID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAuthorizerClaims(t *testing.T) {
	p := newProvider(t)
	issuers := []auth.Issuer{{Name: pool, Audience: "shop", Keys: p.keys, AllTenants: true, CrossTenant: new(false)},
		{Name: "https://other.example", Audience: "shop", Keys: p.keys, AllTenants: true, CrossTenant: new(false)}}
	authorizer, err := lambda.NewAuthorizer(pool)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := authorizer.Trust(issuers)
	if err != nil {
		t.Fatal(err)
	}
	off := newWorld(t, tenantry.Config{Issuers: issuers}, nil)
	on := newWorld(t, tenantry.Config{Issuers: trusted}, authorizer)
	now := on.Clock.Now()
	claims := func() *events.APIGatewayV2HTTPRequestContextAuthorizerDescription {
		d := &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{}
		if err := json.Unmarshal(recorded(t, "authorizer.json", "EXP", seconds(now.Add(time.Hour)), "IAT", seconds(now)), d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	honest := claims().JWT.Claims
	with := func(name, value string) func(*event) {
		return func(e *event) {
			e.RequestContext.Authorizer = claims()
			e.RequestContext.Authorizer.JWT.Claims[name] = value
		}
	}
	text, err := json.Marshal(claims())
	if err != nil {
		t.Fatal(err)
	}
	forged := func(headers ...string) func(*event) {
		return func(e *event) {
			for _, name := range headers {
				e.Headers[name] = string(text)
			}
			e.Headers["x-amzn-request-context"] = `{"authorizer":` + string(text) + `}`
		}
	}
	bearer := func(token string, then func(*event)) func(*event) {
		return func(e *event) {
			e.Headers["authorization"] = "Bearer " + token
			then(e)
		}
	}
	none := func(then func(*event)) func(*event) {
		return func(e *event) {
			delete(e.Headers, "authorization")
			then(e)
		}
	}
	other := map[string]string{}
	for name, value := range honest {
		other[name] = value
	}
	other["iss"] = "https://other.example"
	for name, c := range map[string]struct {
		change    func(*event)
		off, on   int
		subjectOn string
	}{
		"the issuer's own token":                  {bearer(p.sign(t, "p1", honest), nothing), 200, 401, ""},
		"another issuer's token":                  {bearer(p.sign(t, "p1", other), nothing), 200, 200, honest["sub"]},
		"claims of the context":                   {none(with("sub", "ann")), 401, 200, "ann"},
		"claims beside a token of theirs":         {bearer(p.sign(t, "p1", honest), with("sub", "ann")), 200, 200, "ann"},
		"claims beside a token of somebody else":  {bearer(p.sign(t, "p1", other), with("sub", "ann")), 200, 200, "ann"},
		"claims of several audiences":             {none(with("aud", "[other shop]")), 401, 200, honest["sub"]},
		"claims for another audience":             {none(with("aud", "another")), 401, 401, ""},
		"claims for a list of others":             {none(with("aud", "[another one]")), 401, 401, ""},
		"claims of another configured issuer":     {none(with("iss", "https://other.example")), 401, 401, ""},
		"claims of the built-in issuer":           {none(with("iss", auth.BuiltinIssuer)), 401, 401, ""},
		"claims of nobody":                        {none(with("iss", "")), 401, 401, ""},
		"claims of another, with a good token":    {bearer(p.sign(t, "p1", other), with("iss", "https://evil.example")), 200, 401, ""},
		"claims that have expired":                {none(with("exp", seconds(now.Add(-time.Hour)))), 401, 401, ""},
		"claims that never expire":                {none(with("exp", "never")), 401, 401, ""},
		"claims that never expire, a good token":  {bearer(p.sign(t, "p1", other), with("exp", "never")), 200, 401, ""},
		"claims in headers":                       {none(forged("authorizer", "x-authorizer", "x-apigateway-context", "requestcontext", "claims", "x-amzn-oidc-data")), 401, 401, ""},
		"claims as the bearer token":              {bearer(string(text), nothing), 401, 401, ""},
		"a token signed with the key's name":      {bearer(newProvider(t).sign(t, "authorizer", honest), nothing), 401, 401, ""},
		"the issuer's token with the key's name":  {bearer(p.sign(t, "authorizer", honest), nothing), 401, 401, ""},
		"the issuer's token without a key's name": {bearer(p.sign(t, "", honest), nothing), 200, 401, ""},
		"claims of a Lambda authorizer": {none(func(e *event) {
			e.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{Lambda: map[string]any{"claims": honest, "sub": "ann"}}
		}), 401, 401, ""},
		"claims that bring the built-in's own ones": {none(with("idp", auth.BuiltinIssuer)), 401, 200, honest["sub"]},
	} {
		t.Run(name, func(t *testing.T) {
			for w, want := range map[*world]int{off: c.off, on: c.on} {
				out := w.send(w.request("none", func(e *event) {
					e.RawPath = "/api/me"
					c.change(e)
				}))
				if out.StatusCode != want {
					t.Errorf("the authorizer counts: %v; %d %s, want %d", w == on, out.StatusCode, out.Body, want)
				}
				if w == on && want == 200 && !strings.Contains(out.Body, `"`+c.subjectOn+`"`) {
					t.Errorf("who is calling is %s, want %s", out.Body, c.subjectOn)
				}
			}
		})
	}
	t.Run("no role beyond the issuer's", func(t *testing.T) {
		out := on.send(on.request("none", func(e *event) {
			none(with("custom:roles", `[{"role":"system_admin"}]`))(e)
			e.RawPath = "/api/tenant"
		}))
		if out.StatusCode != 403 {
			t.Errorf("a system admin whom the issuer may not make: %d %s", out.StatusCode, out.Body)
		}
	})
}

func TestAuthorizerOfAnIssuerThatIsNotConfigured(t *testing.T) {
	for _, name := range []string{"https://nobody.example", "", auth.BuiltinIssuer} {
		authorizer, err := lambda.NewAuthorizer(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := authorizer.Trust([]auth.Issuer{{Name: pool, Audience: "shop", Keys: auth.Discovery{}}}); !errors.Is(err, fault.ValidationFailed) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
