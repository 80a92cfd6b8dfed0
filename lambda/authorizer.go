package lambda

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

// Authorizer takes the claims that API Gateway's JWT authorizer verified, for tokens of one issuer.
//
// It adds no way past the checks of package auth: it signs what the authorizer says with a key that exists in this process only, and the
// application verifies that token like any other, with its audience, its age and what its issuer may assert. That key takes the place of
// the issuer's own, so the issuer's tokens count through the authorizer only.
type Authorizer struct {
	issuer string
	signer jose.Signer
	keys   auth.KeySet
}

// keyID names the key that claims are signed with.
const keyID = "authorizer"

// NewAuthorizer returns an Authorizer for the claims of an issuer, named as in their iss.
func NewAuthorizer(issuer string) (*Authorizer, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "lambda.NewAuthorizer", "no key can be made")
	}
	keys, err := json.Marshal(map[string]any{"keys": []map[string]string{{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": keyID,
		"x": base64.RawURLEncoding.EncodeToString(public)}}})
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "lambda.NewAuthorizer", "the key can't be described")
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: keyID}}, nil)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "lambda.NewAuthorizer", "the key can't sign")
	}
	return &Authorizer{issuer: issuer, signer: signer, keys: auth.KeySet(keys)}, nil
}

// Trust returns issuers with the Authorizer's key for its issuer. It fails with fault.ValidationFailed where that one is not among them:
// the configuration of an issuer says how far its claims are trusted, wherever they come from.
func (a *Authorizer) Trust(issuers []auth.Issuer) ([]auth.Issuer, error) {
	at := slices.IndexFunc(issuers, func(iss auth.Issuer) bool { return iss.Name == a.issuer })
	if at < 0 {
		return nil, fault.Invalid("lambda.Trust", fault.Field{Field: "--authorizer-claims", Problem: "names the issuer " + strconv.Quote(a.issuer) + ", which is not configured; name one that --auth describes"})
	}
	trusted := slices.Clone(issuers)
	trusted[at].Keys = a.keys
	return trusted, nil
}

// authorize makes the claims of a request's context its bearer token. What the client sent as one goes, where there are claims. Those of another
// issuer are a token that is not signed with that issuer's key.
func (a *Authorizer) authorize(r *http.Request, context *events.APIGatewayV2HTTPRequestContextAuthorizerDescription) error {
	if context == nil || context.JWT == nil {
		return nil // a route without an authorizer: the client's token is verified, or there is none
	}
	r.Header.Del("Authorization")
	token, err := a.token(context.JWT.Claims)
	if err != nil {
		return err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// token returns claims as a token, "" where a moment is none. API Gateway writes every claim as text: a number in digits, a list as [a b].
// Those that package auth reads as anything else than text are turned back.
func (a *Authorizer) token(texts map[string]string) (string, error) {
	claims := make(map[string]any, len(texts))
	for name, text := range texts {
		switch name {
		case "exp", "iat", "nbf":
			moment, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return "", nil
			}
			claims[name] = moment
		case "aud":
			claims[name] = text
			if list, ok := strings.CutPrefix(text, "["); ok {
				claims[name] = strings.Fields(strings.TrimSuffix(list, "]"))
			}
		default:
			claims[name] = text
		}
	}
	payload, err := json.Marshal(claims, json.Deterministic(true)) // the same claims are the same token, which is verified once
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "lambda", "the authorizer's claims can't be written")
	}
	signed, err := a.signer.Sign(payload)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "lambda", "the authorizer's claims can't be signed")
	}
	return signed.CompactSerialize()
}
