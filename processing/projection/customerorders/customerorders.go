// Package customerorders projects the events of orders into one summary per customer, with the
// customers ranked by what they spent and each order's status as an entry.
//
// Layout: read model customer-orders, keyed by customer id, sixteen buckets. Of a customer it keeps
//
//	sums     <CUR>/orders        orders in that currency that are placed and not cancelled
//	         <CUR>/total_spent   their amounts in minor units; the ranked list total_spent:<CUR>
//	         placed, paid, shipped, cancelled   orders by the status they now have, in all currencies
//	entries  <order id>          JSON text of an [OrderEntry]
//
// The counts by status are not split by currency, because OrderShipped carries no amount and every
// operation here is a function of one event. An entry holds what every event carries, no more:
// /v1/orders/{id} has the amounts.
//
// It owns the fields above. It refuses (and so parks) events of types that it does not know and a
// cancellation from a status that it does not know.
package customerorders

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/readstore"
)

// The names of the sums; the first two stand after a currency and '/'.
const (
	fieldOrders     = "orders"
	fieldTotalSpent = "total_spent"
	fieldPlaced     = "placed"
	fieldPaid       = "paid"
	fieldShipped    = "shipped"
	fieldCancelled  = "cancelled"
)

// OrderEntry is a customer's entry of one order.
type OrderEntry struct {
	OrderID string `json:"order_id"`
	// Status is "placed", "paid", "shipped" or "cancelled".
	Status string `json:"status"`
	// Version is the order's, UpdatedAt the time of its last event, in UTC.
	Version   int64     `json:"version"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ReadModel is customer-orders.
var ReadModel = processing.Operations{
	Name:        "customer-orders",
	Collection:  "customers",
	CodeVersion: 1,
	Aggregates:  []string{"order"},
	EntriesName: "orders",
	Rankings:    []processing.Ranking{{Sort: fieldTotalSpent, Parameter: "currency"}},
	Project:     project,
	View:        view,
	Shows:       reflect.TypeFor[CustomerOrderSummary](),
	Entry:       reflect.TypeFor[OrderEntry](),
}

func project(event processing.Event) ([]readstore.Op, error) {
	switch e := event.Data.(type) {
	case order.OrderPlaced:
		ops := spend(e.CustomerID, e.TotalAmount, 1)
		return move(ops, event, e.CustomerID, e.OrderID, "", fieldPlaced)
	case order.PaymentReceived:
		return move(nil, event, e.CustomerID, e.OrderID, fieldPlaced, fieldPaid)
	case order.OrderShipped:
		return move(nil, event, e.CustomerID, e.OrderID, fieldPaid, fieldShipped)
	case order.OrderCancelled:
		var from string
		switch e.PreviousStatus {
		case order.Placed:
			from = fieldPlaced
		case order.Paid:
			from = fieldPaid
		default:
			return nil, fmt.Errorf("projecting order %q: cancelled from unknown status %q", e.OrderID, e.PreviousStatus)
		}
		return move(spend(e.CustomerID, e.TotalAmount, -1), event, e.CustomerID, e.OrderID, from, fieldCancelled)
	default:
		return nil, fmt.Errorf("projecting order %q: unknown event %s", event.AggregateID, event.Type)
	}
}

// spend counts an order of amount in (sign 1) or out again (sign -1).
func spend(customer string, amount processing.Money, sign int64) []readstore.Op {
	return []readstore.Op{
		{Kind: readstore.AddSum, ID: customer, Field: amount.Currency + "/" + fieldOrders, Delta: sign},
		{
			Kind: readstore.AddSum, ID: customer, Field: amount.Currency + "/" + fieldTotalSpent, Delta: sign * amount.MinorUnits,
			Rank: fieldTotalSpent + ":" + amount.Currency,
		},
	}
}

// move adds to ops what takes an order from one status to another; from is "" for a new order.
func move(ops []readstore.Op, event processing.Event, customer, orderID, from, to string) ([]readstore.Op, error) {
	entry, err := json.Marshal(OrderEntry{OrderID: orderID, Status: to, Version: event.Version, UpdatedAt: event.Time.UTC()})
	if err != nil {
		return nil, fmt.Errorf("writing entry of order %q: %w", orderID, err)
	}
	if from != "" {
		ops = append(ops, readstore.Op{Kind: readstore.AddSum, ID: customer, Field: from, Delta: -1})
	}
	return append(ops,
		readstore.Op{Kind: readstore.AddSum, ID: customer, Field: to, Delta: 1},
		readstore.Op{Kind: readstore.SetEntry, ID: customer, Field: orderID, Value: string(entry)},
	), nil
}
