//go:build misuse

// A command without a scope.
package main

import (
	"context"

	"github.com/tenantry/tenantry/command"
)

func publish(ctx context.Context, commands *command.Service, in command.Input) {
	commands.PublishSync(ctx, in) // want: not enough arguments in call to commands\.PublishSync
}

func main() {}
