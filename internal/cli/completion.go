package cli

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tenantry/tenantry/client"
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
func (v complete) Run(ctx context.Context, std IO, app *kong.Application) error {
	words := v.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, word := range candidates(app.Node, words, func() []string { return tenantCodes(ctx, words) }) {
		if _, err := fmt.Fprintln(std.Out, word); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns what the last of words can become, ordered; nothing where that is up to the user: a file, a key, a
// text. Tenants returns the codes of tenants, where one of them can come.
func candidates(node *kong.Node, words []string, tenants func() []string) []string {
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
		all = values(open.Value, tenants)
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
		all = values(node.Positional[arguments], tenants)
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

// values returns what v can be, where that is known.
func values(v *kong.Value, tenants func() []string) []string {
	if v.Target.Type() == reflect.TypeFor[code]() {
		return tenants()
	}
	return strings.Split(v.Enum, ",")
}

// completionTime bounds what a user waits for the codes of tenants, and maxCompleted how many there are of them.
const (
	completionTime = 2 * time.Second
	maxCompleted   = 1000
)

// tenantCodes returns the codes of the tenants that the words' server or store has, none where it can't be asked: completion says
// nothing of failures.
func tenantCodes(ctx context.Context, words []string) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	t := target{Server: given(words, "server", "TENANTRY_SERVER"), Token: given(words, "token", "TENANTRY_TOKEN"),
		store: store{directory{cmp.Or(given(words, "data", "TENANTRY_DATA"), "tenantry-data")}, engine{
			Store: cmp.Or(given(words, "store", "TENANTRY_STORE"), "sqlite"), StoreURL: given(words, "store-url", "TENANTRY_STORE_URL"),
			tables: tables{DynamoDBEndpoint: given(words, "dynamodb-endpoint", "TENANTRY_DYNAMODB_ENDPOINT"), TablePrefix: given(words, "table-prefix", "TENANTRY_TABLE_PREFIX")}}}}
	var codes []string
	_ = t.withClient(ctx, IO{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}, false, func(c *client.Client) error {
		page, err := c.Tenants(ctx, client.Paging{Limit: maxCompleted})
		for _, rec := range page.Items {
			codes = append(codes, rec.TenantCode)
		}
		return err
	})
	return codes
}

// given returns the value of a flag among words, else of a variable.
func given(words []string, flag, variable string) string {
	for i, word := range words {
		if v, ok := strings.CutPrefix(word, "--"+flag+"="); ok {
			return v
		}
		if word == "--"+flag && i+1 < len(words)-1 {
			if words[i+1] == "=" && i+2 < len(words)-1 { // bash takes --flag=value apart
				return words[i+2]
			}
			return words[i+1]
		}
	}
	return os.Getenv(variable)
}
