// Package examples holds data to try Ledgerline on. See README.md for where it comes from.
package examples

import _ "embed"

// OnlineRetailOrders are 8,589 orders and 1,633 refunds of a UK online retailer, as CSV.
//
//go:embed online-retail-orders.csv
var OnlineRetailOrders []byte
