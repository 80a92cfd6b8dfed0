package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/auth"
)

// keysVerb are the verbs about the keys that sign tokens.
type keysVerb struct {
	List   keysList   `cmd:"" help:"List the keys: which one signs, and until when the others verify."`
	Rotate keysRotate `cmd:"" help:"Make a new key, which signs from now on."`
	Retire keysRetire `cmd:"" help:"End a key at once; tokens that it signed are refused."`
}

// keysIn is where the keys are, and how those that there are then are shown.
type keysIn struct {
	directory
	JSON bool `help:"Print the keys that there are then, for programs."`
}

// print prints the keys as JSON, or else by text.
func (v keysIn) print(w io.Writer, text func(keys []auth.KeyInfo) error) error {
	keys, err := auth.ListKeys(v.Data)
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
func (v keysList) Run(std IO) error {
	return v.print(std.Out, func(keys []auth.KeyInfo) error {
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
}

type keysRotate struct {
	Overlap time.Duration `default:"24h" help:"How long the keys until now still verify, as 1h; 0s ends them at once. Defaults to 24h."`
	keysIn
}

// Help implements kong.HelpProvider.
func (keysRotate) Help() string {
	return `Servers of the data directory follow within 250 ms, without a restart. Tokens that live longer than the overlap end with
it; an overlap from an earlier rotation is never lengthened. Examples:

    tenantry keys rotate --data /var/lib/tenantry
    tenantry keys rotate --overlap 0s`
}

// Run runs the verb.
func (v keysRotate) Run(std IO) error {
	made, err := auth.RotateKey(v.Data, v.Overlap)
	if err != nil {
		return err
	}
	return v.print(std.Out, func(keys []auth.KeyInfo) error {
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
	return `For a key that somebody else may have. Servers of the data directory follow within 250 ms. Example:

    tenantry keys retire w0dZ7gTqkXDoVdgfbHnGgk6oKVuKVsrWNvtVFBj3vAg`
}

// Run runs the verb.
func (v keysRetire) Run(std IO) error {
	if err := auth.RetireKey(v.Data, v.Key); err != nil {
		return err
	}
	return v.print(std.Out, func([]auth.KeyInfo) error {
		_, err := fmt.Fprintf(std.Out, "retired %s; tokens that it signed are refused\n", printable(v.Key))
		return err
	})
}
