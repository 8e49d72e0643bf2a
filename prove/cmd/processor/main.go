// Command processor is Ledgerline's processor with the proofs' read models.
package main

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/prove/app"
)

func main() { ledgerline.Main(ledgerline.RunProcessor, app.Read) }
