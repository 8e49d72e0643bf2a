// Command provision makes topics and registers schemas.
package main

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples/loyalty/app"
)

func main() { ledgerline.Main(ledgerline.RunProvision, app.App) }
