// Command rebuild builds, verifies and switches generations of read models.
package main

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples/loyalty/app"
)

func main() { ledgerline.Main(ledgerline.RunRebuild, app.App) }
