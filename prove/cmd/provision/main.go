// Command provision is Ledgerline's provision with the proofs' App.
package main

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/prove/app"
)

func main() { ledgerline.Main(ledgerline.RunProvision, app.App) }
