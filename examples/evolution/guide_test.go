// Package evolution_test holds docs/guides/changing-a-running-system.md to the two releases in this module.
package evolution_test

import (
	"testing"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples/evolution/binary"
	one "github.com/ledgerline/ledgerline/examples/evolution/one/app"
	two "github.com/ledgerline/ledgerline/examples/evolution/two/app"
	"github.com/ledgerline/ledgerline/examples/internal/guidetest"
)

// TestGuide does what the guide says, each section anew.
func TestGuide(t *testing.T) {
	programs := map[string]guidetest.Program{}
	for release, app := range map[string]ledgerline.App{"one": one.App, "two": two.App} {
		for name, run := range binary.All {
			programs["./"+release+" "+name] = guidetest.Program{App: app, Run: run}
		}
	}
	seen := guidetest.Check(t, guidetest.Guide{Page: "testdata/guide.md", Module: ".", Programs: programs, Anew: true})
	if seen.Excerpts < 10 || seen.Requests < 20 || seen.Programs < 40 || seen.Outputs < 10 {
		t.Errorf("found %+v in the guide: the test does not see them", seen)
	}
}
