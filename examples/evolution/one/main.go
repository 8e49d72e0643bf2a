// Command one is release one's four binaries in one: go run ./one ingest serve.
package main

import (
	"github.com/ledgerline/ledgerline/examples/evolution/binary"
	"github.com/ledgerline/ledgerline/examples/evolution/one/app"
)

func main() { binary.Main(app.App) }
