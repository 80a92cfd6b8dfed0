package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

// Issuer is an external issuer of tokens: an identity provider, and how far it is trusted.
type Issuer struct {
	// Name is what its tokens have as iss, compared byte for byte: "https://idp.example/pool". Required.
	Name string

	// Audience is what its tokens must have in aud; for access tokens of Cognito, which have no aud, the client ID. Required.
	Audience string

	// Keys says where its public keys are. Required.
	Keys KeySource

	// Tenants are those that it may assert, AllTenants says any. Defaults to any where it is the only external issuer;
	// with more of them one of the two must be set.
	Tenants    []tenant.Code
	AllTenants bool

	// CrossTenant says whether it may assert cross-tenant roles. Defaults to true where it is the only external issuer;
	// with more of them it must be set.
	CrossTenant *bool

	// ClaimPrefix is what the names of Tenantry's own claims begin with. Defaults to DefaultClaimPrefix.
	ClaimPrefix string
}

// ParseIssuer returns the Issuer that the flag --auth describes:
//
//	issuer=NAME,jwks=FILE or URL,audience=AUDIENCE[,tenants=acme;globex][,cross-tenant=true][,prefix=custom:]
//
// Tenants are separated by ; or +, and tenants=* stands for all. Without jwks the keys are found by OIDC discovery, for which
// the issuer is a URL. No value may hold a comma. It fails with fault.ValidationFailed; what is wrong with values that
// depend on other issuers, or on the keys, shows in NewVerifier.
func ParseIssuer(text string) (Issuer, error) {
	var iss Issuer
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		problem := ""
		switch {
		case value == "":
			problem = "has no value; write it as name=value"
		case seen[name]:
			problem = "is given twice"
		default:
			problem = iss.set(name, value)
		}
		if problem != "" {
			return Issuer{}, fault.Invalid("auth.ParseIssuer", fault.Field{Field: name, Problem: problem})
		}
		seen[name] = true
	}
	if !seen["jwks"] {
		iss.Keys = Discovery{}
	}
	for _, name := range []string{"issuer", "audience"} {
		if !seen[name] {
			return Issuer{}, fault.Invalid("auth.ParseIssuer", fault.Field{Field: name, Problem: "is missing"})
		}
	}
	return iss, nil
}

// set sets what one part of the flag names, and returns what is wrong with it.
func (iss *Issuer) set(name, value string) (problem string) {
	switch name {
	case "issuer":
		iss.Name = value
	case "audience":
		iss.Audience = value
	case "prefix":
		iss.ClaimPrefix = value
	case "jwks":
		iss.Keys = KeyFile(value)
		if strings.Contains(value, "://") {
			iss.Keys = KeyURL(value)
		}
	case "tenants":
		if value == "*" {
			iss.AllTenants = true
			return ""
		}
		for _, text := range strings.FieldsFunc(value, func(r rune) bool { return r == ';' || r == '+' }) {
			code, err := tenant.Parse(text)
			if err != nil {
				return fault.As(err).Msg
			}
			iss.Tenants = append(iss.Tenants, code)
		}
		if len(iss.Tenants) == 0 {
			return "names no tenant"
		}
	case "cross-tenant":
		if value != "true" && value != "false" {
			return "is true or false"
		}
		iss.CrossTenant = new(value == "true")
	default:
		return "is not known; there are issuer, jwks, audience, tenants, cross-tenant and prefix"
	}
	return ""
}

// check returns what keeps iss from being used. Only says whether it is the only external issuer.
func (iss *Issuer) check(only bool) (problems []fault.Field) {
	add := func(field, problem string) {
		problems = append(problems, fault.Field{Field: fmt.Sprintf("issuer %q: %s", iss.Name, field), Problem: problem})
	}
	if strings.TrimSpace(iss.Name) == "" {
		add("issuer", "is blank; it is what the tokens have as iss")
	}
	if strings.TrimSpace(iss.Audience) == "" {
		add("audience", "is blank; it is what the tokens must have in aud, or as client_id")
	}
	if iss.Keys == nil {
		add("jwks", "is missing; name a file, a URL, or discovery")
	}
	if iss.AllTenants && len(iss.Tenants) > 0 {
		add("tenants", "names some and all; choose one")
	}
	if iss.Tenants != nil && len(iss.Tenants) == 0 || slices.Contains(iss.Tenants, tenant.Code{}) {
		add("tenants", "names no tenant")
	}
	if !only && !iss.AllTenants && len(iss.Tenants) == 0 {
		add("tenants", "must be given, because there are several issuers; * stands for all")
	}
	if !only && iss.CrossTenant == nil {
		add("cross-tenant", "must be given, because there are several issuers")
	}
	return problems
}

// issuer is an Issuer at work.
type issuer struct {
	name, audience, prefix string
	builtin                bool
	allTenants             bool
	tenants                []tenant.Code
	crossTenant            bool
	keys                   keys
}

// text returns the issuer's name, "" for the nil issuer of a zero Principal.
func (iss *issuer) text() string {
	if iss == nil {
		return ""
	}
	return iss.name
}

func (iss *issuer) mayAssert(t tenant.Code) bool {
	return iss != nil && !t.IsZero() && (iss.allTenants || slices.Contains(iss.tenants, t))
}
