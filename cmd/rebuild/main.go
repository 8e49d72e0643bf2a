// Command rebuild builds, verifies and switches generations of read models.
package main

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/cmd/internal/app"
)

func main() { ledgerline.Main(ledgerline.RunRebuild, app.App) }
