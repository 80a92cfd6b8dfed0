package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry"
)

// version is the verb that prints what the program is.
type version struct{ output }

// Help implements kong.HelpProvider.
func (version) Help() string {
	return `Examples:

    tenantry version
    tenantry version --json`
}

// Run runs the verb.
func (v version) Run(std IO) error {
	about := struct {
		Version  string `json:"version"`
		Commit   string `json:"commit,omitzero"` // with + where files differ from it
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{tenantry.Version(), commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if v.JSON {
		text, err := json.Marshal(about)
		if err != nil {
			return err
		}
		return raw(std.Out, text)
	}
	text := "tenantry " + about.Version
	if about.Commit != "" {
		text += " (" + about.Commit + ")"
	}
	_, err := fmt.Fprintf(std.Out, "%s, %s, %s\n", text, about.Go, about.Platform)
	return err
}

func commit() (revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	modified := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+"
		}
	}
	return revision + modified
}
