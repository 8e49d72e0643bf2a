// Command two is release two's four binaries in one: go run ./two ingest serve.
package main

import (
	"github.com/ledgerline/ledgerline/examples/evolution/binary"
	"github.com/ledgerline/ledgerline/examples/evolution/two/app"
)

func main() { binary.Main(app.App) }
