// Package app is this repository's own App: what its binaries are made of.
package app

import (
	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/account"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
	"github.com/ledgerline/ledgerline/processing/projection/accountbalance"
	"github.com/ledgerline/ledgerline/processing/projection/customerorders"
	"github.com/ledgerline/ledgerline/processing/projection/orderstatus"
	"github.com/ledgerline/ledgerline/processing/projection/paymentstatus"
	"github.com/ledgerline/ledgerline/schemas"
)

// App lists the aggregates and read models.
var App = ledgerline.App{
	Name:    "ledgerline",
	Schemas: schemas.FS,
	Aggregates: []*processing.Aggregate{
		account.Decider.Erase(),
		order.Decider.Erase(),
		payment.Decider.Erase(),
	},
	ReadModels: []*processing.ReadModel{
		accountbalance.ReadModel.Erase(),
		orderstatus.ReadModel.Erase(),
		customerorders.ReadModel.Erase(),
		paymentstatus.ReadModel.Erase(),
		processing.History("account", "order", "payment"),
	},
}
