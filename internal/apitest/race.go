//go:build race

package apitest

import "time"

// patience is how long an answer may take: the race detector slows a server down ten times.
const patience = 20 * time.Second
