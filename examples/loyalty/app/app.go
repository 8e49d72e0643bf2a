// Package app is this module's App: what its binaries are made of.
package app

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples/loyalty/domain/loyalty"
	"github.com/ledgerline/ledgerline/examples/loyalty/projection/pointsbalance"
	"github.com/ledgerline/ledgerline/examples/loyalty/projection/pointsbyreason"
	"github.com/ledgerline/ledgerline/examples/loyalty/schemas"
	"github.com/ledgerline/ledgerline/processing"
)

// App lists the aggregates and read models.
var App = ledgerline.App{
	Name:    "loyalty",
	Schemas: schemas.FS,
	Aggregates: []*processing.Aggregate{
		loyalty.Decider.Erase(),
	},
	ReadModels: []*processing.ReadModel{
		pointsbalance.ReadModel.Erase(),
		pointsbyreason.ReadModel.Erase(),
	},
}
