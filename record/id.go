package record

import "github.com/oklog/ulid/v2"

// NewID returns a new identifier: a ULID (github.com/ulid/spec), monotonic within the process. It may be called concurrently.
func NewID() string { return ulid.Make().String() }
