// Package binary runs a release's binaries. A service of yours has a command for each of them, as
// examples/loyalty has.
package binary

import (
	"context"
	"fmt"
	"os"

	"github.com/ledgerline/ledgerline"
)

// All are the binaries by name.
var All = map[string]func(context.Context, ledgerline.App, ledgerline.Process) int{
	"ingest": ledgerline.RunIngest, "processor": ledgerline.RunProcessor,
	"rebuild": ledgerline.RunRebuild, "provision": ledgerline.RunProvision,
}

// Main runs the binary that the first argument names, with the others.
func Main(app ledgerline.App) {
	if len(os.Args) < 2 || All[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "want ingest, processor, rebuild or provision, and its arguments")
		os.Exit(ledgerline.ExitMisuse)
	}
	os.Args = os.Args[1:]
	ledgerline.Main(All[os.Args[0]], app)
}
