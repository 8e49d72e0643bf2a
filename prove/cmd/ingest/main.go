// Command ingest is Ledgerline's ingest with the proofs' App.
package main

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/prove/app"
)

func main() { ledgerline.Main(ledgerline.RunIngest, app.App) }
