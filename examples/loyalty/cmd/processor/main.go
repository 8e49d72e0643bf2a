// Command processor folds events into read models and answers queries.
package main

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples/loyalty/app"
)

func main() { ledgerline.Main(ledgerline.RunProcessor, app.App) }
