// Package app is the proofs' App: one aggregate whose commands make one to five events.
package app

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/prove/domain/tally"
	"github.com/ledgerline/ledgerline/prove/projection/groups"
	"github.com/ledgerline/ledgerline/prove/projection/tallies"
	"github.com/ledgerline/ledgerline/prove/schemas"
)

// App lists the aggregate. It has no read models: the write side is proven without them.
var App = ledgerline.App{
	Name:       "prove",
	Schemas:    schemas.FS,
	Aggregates: []*processing.Aggregate{tally.Decider.Erase()},
}

// Read is the App of the processors and the rebuild jobs: the same topics, and a read model of each kind.
var Read = ledgerline.App{
	Name:       App.Name,
	Schemas:    App.Schemas,
	Aggregates: App.Aggregates,
	ReadModels: []*processing.ReadModel{tallies.ReadModel(1).Erase(), groups.ReadModel(1).Erase()},
}
