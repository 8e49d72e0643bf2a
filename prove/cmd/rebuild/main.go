// Command rebuild is Ledgerline's rebuild with the proofs' read models.
package main

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/prove/app"
)

func main() { ledgerline.Main(ledgerline.RunRebuild, app.Read) }
