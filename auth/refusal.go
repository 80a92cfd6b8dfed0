package auth

import (
	"errors"

	"github.com/tenantry/tenantry/fault"
)

// Reason says in one stable word why a token was refused: the part of its form, the header parameter or the claim that
// failed. It is for logs and metrics; whoever sent the token learns nothing but fault.Unauthenticated. Reasons hold
// nothing that a token says.
type Reason string

// Error makes a Reason the cause of a [fault.Error].
func (r Reason) Error() string { return string(r) }

// The reasons that are not the name of a claim.
const (
	badForm      Reason = "form"      // not three parts of base64url, too long, or not JSON objects
	badHeader    Reason = "header"    // a parameter that changes what the token means
	badAlgorithm Reason = "alg"       // not the algorithm of the key
	unknownKey   Reason = "kid"       // not a key of the issuer
	badSignature Reason = "signature" // not made by that key
	revoked      Reason = "revoked"
)

const op = "auth.Verify"

// ReasonOf returns why Verify refused a token, "" for an error that is not a refusal.
func ReasonOf(err error) Reason {
	r, _ := errors.AsType[Reason](err)
	return r
}

// reasonOr returns the Reason inside err, or else the fallback.
func reasonOr(fallback Reason, err error) Reason {
	if r := ReasonOf(err); r != "" {
		return r
	}
	return fallback
}

// refuse returns the error for a token that is not valid. Its message is one constant, whatever the reason.
func refuse(r Reason) error {
	return fault.Wrap(r, fault.Unauthenticated, op, "a valid token is required; send it as Authorization: Bearer <token>")
}

// expired returns the error for a token that is valid but for its age.
func expired() error {
	return fault.Wrap(Reason("exp"), fault.TokenExpired, op, "the token has expired; obtain a new one")
}

// undecided returns the error for a token of which isn't known whether it was revoked.
func undecided(cause error) error {
	err := fault.Wrap(cause, fault.Unavailable, op, "whether the token was revoked can't be told at the moment; try again later")
	err.RetryAfter = retryEvery
	return err
}

// unavailable returns the error for keys that could never be loaded. Whether the token is valid isn't known.
func unavailable(cause error) error {
	err := fault.Wrap(cause, fault.Unavailable, op, "the keys of the token's issuer can't be loaded at the moment; try again later")
	err.RetryAfter = retryEvery
	return err
}
