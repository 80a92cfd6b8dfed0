package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

// keysVerb are the verbs about the keys that sign tokens.
type keysVerb struct {
	List   keysList   `cmd:"" help:"List the keys: which one signs, and until when the others verify."`
	Rotate keysRotate `cmd:"" help:"Make a new key, which signs from now on."`
	Retire keysRetire `cmd:"" help:"End a key at once; tokens that it signed are refused."`
	Rewrap keysRewrap `cmd:"" help:"Seal the keys in a shared store under another master key."`
}

// keysIn is where the keys are, and how those that there are then are shown.
type keysIn struct {
	store
	JSON bool `help:"Print the keys that there are then, for programs."`
}

// keys are the keys of a data directory or of a shared store.
type keys struct {
	list   func() ([]auth.KeyInfo, error)
	rotate func(overlap time.Duration) (auth.KeyInfo, error)
	retire func(kid string) error
}

func (v keysIn) with(ctx context.Context, use func(keys) error) error {
	if err := v.check(); err != nil {
		return err
	}
	if v.isShared() {
		return v.withKeys(ctx, func(k auth.Keys) error {
			return use(keys{
				list:   func() ([]auth.KeyInfo, error) { return k.List(ctx) },
				rotate: func(overlap time.Duration) (auth.KeyInfo, error) { return k.Rotate(ctx, overlap) },
				retire: func(kid string) error { return k.Retire(ctx, kid) },
			})
		})
	}
	return use(keys{
		list:   func() ([]auth.KeyInfo, error) { return auth.ListKeys(v.Data) },
		rotate: func(overlap time.Duration) (auth.KeyInfo, error) { return auth.RotateKey(v.Data, overlap) },
		retire: func(kid string) error { return auth.RetireKey(v.Data, kid) },
	})
}

// print prints the keys as JSON, or else by text.
func (v keysIn) print(w io.Writer, in keys, text func(keys []auth.KeyInfo) error) error {
	keys, err := in.list()
	if err != nil {
		return err
	}
	if !v.JSON {
		return text(keys)
	}
	answer, err := json.Marshal(struct {
		Items []auth.KeyInfo `json:"items"`
	}{keys})
	if err != nil {
		return err
	}
	return raw(w, answer)
}

type keysList struct{ keysIn }

// Help implements kong.HelpProvider.
func (keysList) Help() string {
	return `No secrets are shown. Examples:

    tenantry keys list --data /var/lib/tenantry
    tenantry keys list --json | jq -r '.items[] | select(.active).kid'`
}

// Run runs the verb.
func (v keysList) Run(ctx context.Context, std IO) error {
	return v.with(ctx, func(in keys) error {
		return v.print(std.Out, in, func(keys []auth.KeyInfo) error {
			t := newTable(std.Out)
			t.row("KEY", "CREATED", "STATE", "VERIFIES UNTIL")
			for _, k := range keys {
				state := "verifies"
				if k.Active {
					state = "signs"
				}
				t.row(k.ID, moment(k.CreatedAt), state, moment(k.Retiring))
			}
			return t.w.Flush()
		})
	})
}

type keysRotate struct {
	Overlap time.Duration `default:"24h" help:"How long the keys until now still verify, as 1h; 0s ends them at once. Defaults to 24h."`
	keysIn
}

// Help implements kong.HelpProvider.
func (keysRotate) Help() string {
	return `Servers of the data directory follow within 250 ms, those of a shared store within a second, without a restart. Tokens that live longer than the overlap end with
it; an overlap from an earlier rotation is never lengthened. Examples:

    tenantry keys rotate --data /var/lib/tenantry
    tenantry keys rotate --overlap 0s`
}

// Run runs the verb.
func (v keysRotate) Run(ctx context.Context, std IO) error {
	return v.with(ctx, func(in keys) error { return v.rotate(std, in) })
}

func (v keysRotate) rotate(std IO, in keys) error {
	made, err := in.rotate(v.Overlap)
	if err != nil {
		return err
	}
	return v.print(std.Out, in, func(keys []auth.KeyInfo) error {
		if _, err := fmt.Fprintf(std.Out, "%s signs from now on\n", made.ID); err != nil {
			return err
		}
		for _, k := range keys {
			if k.Retiring.IsZero() {
				continue
			}
			if _, err := fmt.Fprintf(std.Out, "%s verifies until %s\n", printable(k.ID), moment(k.Retiring)); err != nil {
				return err
			}
		}
		return nil
	})
}

type keysRetire struct {
	Key string `arg:"" help:"Key ID, as tenantry keys list shows it. The key that signs can't be retired: rotate first."`
	keysIn
}

// Help implements kong.HelpProvider.
func (keysRetire) Help() string {
	return `For a key that somebody else may have. Servers of the data directory follow within 250 ms, those of a shared store within a second. Example:

    tenantry keys retire w0dZ7gTqkXDoVdgfbHnGgk6oKVuKVsrWNvtVFBj3vAg`
}

// Run runs the verb.
func (v keysRetire) Run(ctx context.Context, std IO) error {
	return v.with(ctx, func(in keys) error {
		if err := in.retire(v.Key); err != nil {
			return err
		}
		return v.print(std.Out, in, func([]auth.KeyInfo) error {
			_, err := fmt.Fprintf(std.Out, "retired %s; tokens that it signed are refused\n", printable(v.Key))
			return err
		})
	})
}

type keysRewrap struct{ keysIn }

// Help implements kong.HelpProvider.
func (keysRewrap) Help() string {
	return `The new master key is TENANTRY_MASTER_KEY, the one until now TENANTRY_MASTER_KEY_OLD. Servers that run go on with the keys that they have
read, and follow no rotation until they are started again with the new master key. Example:

    export TENANTRY_MASTER_KEY_OLD=$TENANTRY_MASTER_KEY TENANTRY_MASTER_KEY=$(openssl rand -base64 32)
    tenantry keys rewrap --store postgres`
}

// Run runs the verb.
func (v keysRewrap) Run(ctx context.Context, std IO) error {
	if !v.isShared() {
		return fault.New(fault.InvalidRequest, "cli.keys", "the keys of a data directory are not sealed; rewrap is for --store postgres and dynamodb")
	}
	if os.Getenv(masterKeyVariable+"_OLD") == "" {
		return fault.New(fault.InvalidRequest, "cli.keys", "%s_OLD is missing; set it to the key that the keys are sealed under until now", masterKeyVariable)
	}
	old, err := auth.ParseMasterKey(os.Getenv(masterKeyVariable + "_OLD"))
	if err != nil {
		return fault.Wrap(err, fault.InvalidRequest, "cli.keys", "%s_OLD: %s", masterKeyVariable, fault.As(err).Msg)
	}
	if err := v.withKeys(ctx, func(keys auth.Keys) error { return keys.Rewrap(ctx, old) }); err != nil {
		return err
	}
	return v.with(ctx, func(in keys) error {
		return v.print(std.Out, in, func([]auth.KeyInfo) error {
			_, err := fmt.Fprintln(std.Out, "the keys are sealed under the new master key; start the servers again with it")
			return err
		})
	})
}
