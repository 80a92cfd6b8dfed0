//go:build !race

package apitest

import "time"

// patience is how long an answer may take.
const patience = 2 * time.Second
