package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// backup is the verb that copies a store.
type backup struct {
	File string `arg:"" help:"Where the copy goes; it must not exist."`
	store
}

// Help implements kong.HelpProvider.
func (backup) Help() string {
	return `The copy is the store as it is at one moment; a server may go on meanwhile. The keys that sign tokens, keys.json, are not part of
it: keep them apart from it. Example:

    tenantry backup --data /var/lib/tenantry /backups/tenantry-$(date +%F).db`
}

// Run runs the verb.
func (v backup) Run(ctx context.Context, std IO) error {
	if v.isShared() {
		return fault.New(fault.InvalidRequest, "cli.backup", "a %s store is not backed up by Tenantry; use the database's own backup", v.Store)
	}
	err := v.across(ctx, std, "backup", func(app *tenantry.App, sys guard.System) error { return app.Store().Backup(ctx, sys, v.File) })
	if err != nil {
		return err
	}
	info, err := os.Stat(v.File)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.Out, "wrote %s, %d bytes\n", v.File, info.Size())
	return err
}

// restore is the verb that makes a backup a store.
type restore struct {
	File string `arg:"" help:"A file that tenantry backup wrote."`
	directory
}

// Help implements kong.HelpProvider.
func (restore) Help() string {
	return `The backup is checked first. A store that is there already is never overwritten: move it away. The keys that sign tokens, keys.json,
are not in a backup; where the directory has none, the next start makes new ones, and tokens issued before are refused. Example:

    tenantry restore /backups/tenantry-2026-11-23.db --data /var/lib/tenantry`
}

// Run runs the verb.
func (v restore) Run(ctx context.Context, std IO) error {
	if err := sqlite.Restore(ctx, v.File, v.Data); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.Out, "restored %s into %s; tenantry verify checks what is in it\n", v.File, v.Data)
	return err
}
