// Package app is release one: what its binaries are made of.
package app

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples/evolution/one/domain/parcel"
	"github.com/ledgerline/ledgerline/examples/evolution/one/projection/parcelstatus"
	"github.com/ledgerline/ledgerline/examples/evolution/one/schemas"
	"github.com/ledgerline/ledgerline/processing"
)

// App lists the aggregate and the read models.
var App = ledgerline.App{
	Name:       "parcels",
	Schemas:    schemas.FS,
	Aggregates: []*processing.Aggregate{parcel.Decider.Erase()},
	ReadModels: []*processing.ReadModel{
		parcelstatus.ReadModel.Erase(),
		processing.History("parcel"),
	},
}
