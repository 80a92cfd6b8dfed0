package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMutantsAreCurrent finds entries that no longer fit the code they are to break.
func TestMutantsAreCurrent(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants {
		if names[m.name] {
			t.Errorf("two mutants are named %q", m.name)
		}
		names[m.name] = true
		source, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(m.file)))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := m.apply(string(source)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if len(m.test) == 0 {
			t.Errorf("%s names no test", m.name)
		}
	}
}

func TestApply(t *testing.T) {
	for _, tt := range []struct{ name, source, old, new, want string }{
		{"once", "a == b", "==", "!=", "a != b"},
		{"absent", "a == b", "<", ">", ""},
		{"twice", "a == b == c", "==", "!=", ""},
		{"no change", "a == b", "==", "==", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mutant{old: tt.old, new: tt.new}.apply(tt.source)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q and error %v, want %q", got, err, tt.want)
			}
		})
	}
}
