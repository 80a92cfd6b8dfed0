package analysis

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed allow.txt
var allowText string

// Allowance is a line of allow.txt: a package, or with the suffix _test its tests, that may use some of the functions
// that make a capability.
type Allowance struct {
	Path      string
	Functions []string
	Reason    string
}

// Allowances returns the lines of allow.txt.
func Allowances() ([]Allowance, error) { return parseAllowances(allowText) }

func parseAllowances(text string) ([]Allowance, error) {
	var all []Allowance
	number := 0
	for line := range strings.Lines(text) {
		number++
		rule, reason, _ := strings.Cut(line, "#")
		fields := strings.Fields(rule)
		if len(fields) == 0 {
			continue
		}
		a := Allowance{Path: fields[0], Functions: fields[1:], Reason: strings.TrimSpace(reason)}
		if len(a.Functions) == 0 || a.Reason == "" {
			return nil, fmt.Errorf("allow.txt:%d: a line is PATH FUNCTION… # reason", number)
		}
		for _, f := range a.Functions {
			if !slices.Contains(makers, f) {
				return nil, fmt.Errorf("allow.txt:%d: %s makes no capability; the functions that do are %s", number, f, strings.Join(makers, ", "))
			}
		}
		all = append(all, a)
	}
	return all, nil
}
