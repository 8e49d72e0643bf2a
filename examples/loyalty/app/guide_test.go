package app_test

import (
	"testing"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples/internal/guidetest"
	"github.com/ledgerline/ledgerline/examples/loyalty/app"
)

// TestGuide holds the guide to this module.
func TestGuide(t *testing.T) {
	seen := guidetest.Check(t, guidetest.Guide{
		Page: "testdata/guide.md", Module: "..",
		Programs: map[string]guidetest.Program{
			"./cmd/ingest": {App: app.App, Run: ledgerline.RunIngest}, "./cmd/processor": {App: app.App, Run: ledgerline.RunProcessor},
			"./cmd/rebuild": {App: app.App, Run: ledgerline.RunRebuild}, "./cmd/provision": {App: app.App, Run: ledgerline.RunProvision},
		},
	})
	if seen.Excerpts < 10 || seen.Requests < 4 || seen.Programs < 6 || seen.Outputs < 1 {
		t.Errorf("found %+v in the guide: the test does not see them", seen)
	}
}
