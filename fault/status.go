package fault

import "net/http"

// statuses maps each code to its HTTP status and to the exit code of a command that fails with it.
// Exit codes: 1 a failure inside, 2 bad input, 3 refused, 4 not there, 5 conflict, 6 try again later.
var statuses = map[Code]struct{ http, exit int }{
	InvalidRequest:       {http.StatusBadRequest, 2},
	InvalidKey:           {http.StatusBadRequest, 2},
	InvalidCursor:        {http.StatusBadRequest, 2},
	TenantConflict:       {http.StatusBadRequest, 2},
	AlreadyExists:        {http.StatusBadRequest, 5},
	Unauthenticated:      {http.StatusUnauthorized, 3},
	TokenExpired:         {http.StatusUnauthorized, 3},
	TenantRequired:       {http.StatusForbidden, 3},
	TenantMismatch:       {http.StatusForbidden, 3},
	TenantForbidden:      {http.StatusForbidden, 3},
	TenantSuspended:      {http.StatusForbidden, 3},
	RoleRequired:         {http.StatusForbidden, 3},
	NotAMember:           {http.StatusForbidden, 3},
	NotFound:             {http.StatusNotFound, 4},
	MethodNotAllowed:     {http.StatusMethodNotAllowed, 2},
	NotAcceptable:        {http.StatusNotAcceptable, 2},
	Timeout:              {http.StatusRequestTimeout, 6},
	VersionConflict:      {http.StatusConflict, 5},
	IdempotencyConflict:  {http.StatusConflict, 5},
	TenantNotPurged:      {http.StatusConflict, 5},
	LastAdmin:            {http.StatusConflict, 5},
	TooLarge:             {http.StatusRequestEntityTooLarge, 2},
	UnsupportedMediaType: {http.StatusUnsupportedMediaType, 2},
	ValidationFailed:     {http.StatusUnprocessableEntity, 2},
	RateLimited:          {http.StatusTooManyRequests, 6},
	Internal:             {http.StatusInternalServerError, 1},
	Unavailable:          {http.StatusServiceUnavailable, 6},
	Behind:               {http.StatusServiceUnavailable, 6},
}

// HTTPStatus returns the status that the code answers with; 500 for a code this package doesn't know.
func (c Code) HTTPStatus() int {
	if s, ok := statuses[c]; ok {
		return s.http
	}
	return http.StatusInternalServerError
}

// ExitCode returns the exit code of a command-line verb that fails with the code; 1 for one this package doesn't know.
func (c Code) ExitCode() int {
	if s, ok := statuses[c]; ok {
		return s.exit
	}
	return 1
}

// Codes returns every code, in no particular order.
func Codes() []Code {
	all := make([]Code, 0, len(statuses))
	for c := range statuses {
		all = append(all, c)
	}
	return all
}

// HTTPStatus returns the status that e answers with.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	return e.Code.HTTPStatus()
}
