// Command ingest decides commands and appends their events.
package main

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples/loyalty/app"
)

func main() { ledgerline.Main(ledgerline.RunIngest, app.App) }
