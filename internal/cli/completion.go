package cli

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completion is the verb that prints a completion script.
type completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help implements kong.HelpProvider.
func (completion) Help() string {
	return `Examples:

    source <(tenantry completion bash)
    tenantry completion zsh > "${fpath[1]}/_tenantry"
    tenantry completion fish > ~/.config/fish/completions/tenantry.fish`
}

//go:embed completion
var scripts embed.FS

// Run runs the verb.
func (v completion) Run(std IO) error {
	script, err := scripts.ReadFile("completion/" + v.Shell)
	if err != nil {
		return err
	}
	_, err = std.Out.Write(script)
	return err
}

// complete is the hidden verb that the scripts call: it prints what the last of the words on the command line can become.
type complete struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run runs the verb.
func (v complete) Run(std IO, app *kong.Application) error {
	words := v.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, word := range candidates(app.Node, words) {
		if _, err := fmt.Fprintln(std.Out, word); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns what the last of words can become, ordered; nothing where that is up to the user: a file, a key, a
// text.
func candidates(node *kong.Node, words []string) []string {
	last := ""
	if n := len(words); n > 0 {
		last, words = words[n-1], words[:n-1]
	}
	if last == "=" { // bash takes --flag=value apart
		last = ""
	}
	var open *kong.Flag // the flag whose value comes next
	arguments := 0
	for _, word := range words {
		name, isFlag := strings.CutPrefix(word, "--")
		child := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		switch {
		case word == "=":
		case open != nil:
			open = nil
		case isFlag:
			if f := flagOf(node, name); f != nil && !f.IsBool() {
				open = f
			}
		case child >= 0:
			node = node.Children[child]
		default:
			arguments++
		}
	}
	var all []string
	switch {
	case open != nil:
		all = enum(open.Value)
	case strings.HasPrefix(last, "-"):
		for _, level := range node.AllFlags(true) {
			for _, f := range level {
				all = append(all, "--"+f.Name)
			}
		}
	case len(node.Children) > 0:
		for _, child := range node.Children {
			if !child.Hidden {
				all = append(all, child.Name)
			}
		}
	case arguments < len(node.Positional):
		all = enum(node.Positional[arguments])
	}
	all = slices.DeleteFunc(all, func(word string) bool { return word == "" || !strings.HasPrefix(word, last) })
	slices.Sort(all)
	return all
}

func flagOf(node *kong.Node, name string) *kong.Flag {
	for _, level := range node.AllFlags(false) {
		for _, f := range level {
			if f.Name == name {
				return f
			}
		}
	}
	return nil
}

func enum(v *kong.Value) []string { return strings.Split(v.Enum, ",") }
