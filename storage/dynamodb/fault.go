package dynamodb

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/tenantry/tenantry/fault"
)

// How often and how fast a call is tried again: 10, 20, 40 ms and so on on average, for about six seconds in all.
const (
	maxAttempts = 12
	firstPause  = 20 * time.Millisecond
	maxPause    = time.Second
)

// rest returns a random time that grows with the attempts, so that those who met don't meet again.
func rest(attempt int) time.Duration { return rand.N(min(maxPause, firstPause<<min(attempt, 10))) }

// pause waits that long.
func pause(ctx context.Context, attempt int) error {
	t := time.NewTimer(rest(attempt))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transientCodes are the error codes, and the reasons of a cancelled transaction, of calls that had no effect and may have one
// when they are sent again.
var transientCodes = map[string]bool{
	"TransactionConflict": true, "TransactionInProgressException": true, "TransactionConflictException": true,
	"ProvisionedThroughputExceeded": true, "ProvisionedThroughputExceededException": true, "ThrottlingError": true,
	"ThrottlingException": true, "RequestLimitExceeded": true, "LimitExceededException": true, "ReplicatedWriteConflictException": true,
}

// transient reports whether a call that failed is worth sending again, and whether it may have had its effect all the same.
func transient(err error) (again, lost bool) {
	api, answered := errors.AsType[smithy.APIError](err)
	switch {
	case answered && transientCodes[api.ErrorCode()]:
		return true, api.ErrorCode() == "TransactionInProgressException"
	case answered && api.ErrorFault() == smithy.FaultServer, serverStatus.IsErrorRetryable(err).Bool():
		return true, true
	case answered:
		return false, false
	}
	_, sent := errors.AsType[*smithyhttp.ResponseError](err) // of a response that did not come, too; without credentials nothing is sent
	return sent && !errors.Is(err, context.Canceled), true
}

var serverStatus = retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{500: {}, 502: {}, 503: {}, 504: {}}}

// unidentified reports whether the SDK found no credentials, for which it has no type.
func unidentified(err error) bool {
	op, ok := errors.AsType[*smithy.OperationError](err)
	return ok && strings.HasPrefix(op.Err.Error(), "get identity:")
}

// translate returns err, of a call with ctx, as a *fault.Error or the context's own error.
func translate(ctx context.Context, err error, op string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known
	}
	if sessionless(err) {
		return fault.Wrap(err, fault.Unavailable, op, "AWS gives this process no session in the role of tenants; check the role's name, its trust policy (tenantry policy trust), and that this process may assume it")
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return fault.Wrap(err, fault.Unavailable, op, "a table of this store is missing, if the prefix is right; tenantry tables check lists those of the entity types that it is given, tenantry tables create makes them")
	}
	if unidentified(err) {
		return fault.Wrap(err, fault.Unavailable, op, "no AWS credentials are found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is given")
	}
	if again, _ := transient(err); again {
		return busy(err, op)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "AccessDeniedException", "UnrecognizedClientException", "MissingAuthenticationTokenException", "InvalidSignatureException", "ExpiredTokenException":
			return fault.Wrap(err, fault.Unavailable, op, "AWS refuses this process's credentials or what they are used for; check the environment and the role's policy")
		}
		return fault.Wrap(err, fault.Internal, op, "DynamoDB refused a call; its cause is in the log")
	}
	return fault.Wrap(err, fault.Unavailable, op, "DynamoDB can't be called; check the region, the credentials and the endpoint")
}

// sessionless reports whether a call was not sent because its session was not to be had.
func sessionless(err error) bool {
	op, ok := errors.AsType[*smithy.OperationError](err)
	for ok && op.ServiceID != sts.ServiceID {
		op, ok = errors.AsType[*smithy.OperationError](op.Err)
	}
	return ok
}

func busy(err error, op string) error {
	return fault.Wrap(err, fault.Unavailable, op, "DynamoDB does not answer or is busy; try again")
}
