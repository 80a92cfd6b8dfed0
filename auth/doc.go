// Package auth finds out who is calling: it verifies bearer tokens, and issues those of the built-in issuer.
//
// A [Verifier] takes a JSON Web Token (RFC 7519) in compact form and returns a [Principal]: the user, who is (issuer, sub),
// and what the token claims: a tenant, roles, groups. What the claims are worth for one request, with the tenant
// that it names and the memberships that stand in the store, is decided by package guard.
//
//	ring, err := auth.OpenKeyring(dir, auth.KeyringOptions{})            // the built-in issuer
//	idp, err := auth.ParseIssuer("issuer=https://idp.example,audience=shop") // an external one
//	v, err := auth.NewVerifier(auth.Config{Keyring: ring, Issuers: []auth.Issuer{idp}})
//	defer v.Close()
//	p, err := v.Verify(ctx, token)
//
// # What makes a token valid
//
//   - Its form: three parts of strict base64url, at most 16 KiB, header and payload each one JSON object with distinct names
//     in valid UTF-8. Encrypted, nested, unsigned and detached tokens are none of these, or are refused by header.
//   - Its issuer: iss equals the name of a configured one, byte for byte.
//   - Its key: kid names a usable key in that issuer's set; without kid, the set has exactly one. The algorithm is
//     the key's: Ed25519 signs by EdDSA, P-256, P-384 and P-521 by ES256, ES384 and ES512, RSA from 2048 bits by what
//     its alg says, else RS256. Symmetric keys are never used. Nothing in a token names a key or a place to find one.
//   - Its audience: aud holds the issuer's audience; without aud, token_use is "access" and client_id is the audience, as
//     Cognito writes access tokens.
//   - Its time: exp and iat are there, now is before exp and neither iat nor nbf is in the future, give or take the leeway.
//   - Its subject: 1 to 255 printable ASCII characters without #, because sub becomes part of keys.
//   - Its other claims have the forms below. A claim of another form refuses the token; it is never taken for absent.
//   - It was not revoked.
//
// All refusals look alike from outside: fault.Unauthenticated with one message, or fault.TokenExpired where age is all that
// is wrong. [ReasonOf] tells the log which part failed, in one word.
//
// # Claims
//
// The names are compared byte for byte, "custom:" standing for the issuer's prefix.
//
//	email, email_verified   e-mail address; true, false, or one of them as a string
//	custom:tenant           tenant that the token is bound to; "" for none
//	custom:role             one role that holds everywhere
//	custom:roles            JSON text [{"tenant":"acme","role":"admin"}]; without tenant, or with "", it holds everywhere
//	custom:groups           JSON text [{"tenant":"acme","groups":["sales"]}]
//	custom:user_code        user code; else cognito:username, else sub
//	idp                     in tokens of the built-in issuer: who vouches for the user
//	custom:epoch            in tokens of the built-in issuer: the life of the membership that it was issued for
//	act                     in tokens of the built-in issuer: who really calls, {"iss":…,"sub":…,"jti":…}; see [Act]
//
// The two JSON texts hold at most 1000 entries of exactly these members; any other structure refuses the token. An
// entry whose tenant is no tenant code, or whose role is no role, matches nothing and is left out. Roles are folded to lower
// case, ASCII only. A cross-tenant role counts only where it holds everywhere and its issuer may assert it. A token that
// has one beside act is refused, and so is one whose actor's issuer is not configured.
//
// # Rotation
//
// A data directory holds several keys, one of which signs. [RotateKey] makes a new one and gives those before it a time to
// end; [RetireKey] ends one at once; every [Keyring] of the directory follows within 250 ms, without a restart. What was
// verified by a key that is gone is verified again, and refused.
//
// # Speed
//
// A token seen before is looked up by its SHA-256 and costs about a microsecond; its age, its key and its revocation
// are checked again each time. A first verification costs little more than the check of the signature.
package auth
