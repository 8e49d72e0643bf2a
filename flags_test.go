package ledgerline

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "write docs/flags.md anew")

// binaries are those whose flags are documented.
var binaries = []struct {
	name string
	cli  any
}{
	{"ingest", &ingestCLI{}}, {"processor", &processorCLI{}}, {"rebuild", &rebuildCLI{}}, {"provision", &provisionCLI{}},
}

// TestFlagsAreDocumented holds docs/flags.md to the flags that the binaries take, and one flag to one
// meaning: the same name has the same variable, default and help everywhere.
func TestFlagsAreDocumented(t *testing.T) {
	type use struct{ env, def, help string }
	meaning := map[string]use{}
	where := map[string][]string{}
	for _, b := range binaries {
		parser, err := kong.New(b.cli, kong.Vars{"version": ""})
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range parser.Model.Leaves(false) {
			for _, group := range verb.AllFlags(false) {
				for _, f := range group {
					if f.Name == "help" || f.Name == "version" {
						continue
					}
					u := use{strings.Join(f.Envs, " "), f.Default, f.Help}
					// A pointed flag of one verb may say more exactly what it does there.
					if was, ok := meaning[f.Name]; ok && (was.env != u.env || was.def != u.def) {
						t.Errorf("--%s of %s %s is %+v, elsewhere %+v", f.Name, b.name, verb.Name, u, was)
					} else if !ok {
						meaning[f.Name] = u
					}
					if !slices.Contains(where[f.Name], b.name) {
						where[f.Name] = append(where[f.Name], b.name)
					}
				}
			}
		}
	}
	var doc strings.Builder
	doc.WriteString("# Flags\n\nA flag beats its variable, which beats the default. Made by `go test . -run TestFlagsAreDocumented -update`.\n\n| flag | variable | default | what it does | where |\n|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(meaning)) {
		u := meaning[name]
		help := strings.TrimSuffix(strings.ReplaceAll(u.help, " (default "+u.def+").", "."), ".")
		fmt.Fprintf(&doc, "| `--%s` | %s | %s | %s | %s |\n", name, u.env, u.def, help, strings.Join(where[name], ", "))
	}
	const path = "docs/flags.md"
	if *update {
		if err := os.WriteFile(path, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != doc.String() {
		t.Errorf("%s is not what the binaries take; run: go test . -run TestFlagsAreDocumented -update", path)
	}
}
