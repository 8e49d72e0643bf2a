// Package orderstatus projects an order's events into one document per order: where the order stands
// and when it got there.
//
// Layout: read model order-status, keyed by order id as the events are, so a bucket per partition. In
// Redis a document is the JSON text of an [OrderStatus] in the field <order id> of the hash
// ledgerline:{order-status.<generation>.<partition>}:docs.
//
// It owns what the document shows. It refuses (and so parks) an order whose events do not begin with
// OrderPlaced and events of types that it does not know.
package orderstatus

import (
	"fmt"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
)

// OrderStatus is the document of an order. Times are UTC.
type OrderStatus struct {
	processing.Document
	OrderID    string `json:"order_id"`
	CustomerID string `json:"customer_id"`
	// Amount is what the customer pays, discount taken off.
	Amount   processing.Money  `json:"amount"`
	Discount *processing.Money `json:"discount,omitempty"`
	// Status is "placed", "paid", "shipped" or "cancelled".
	Status string `json:"status"`
	// PlacedAt is when the customer placed the order. The other times are those of the events.
	PlacedAt    time.Time `json:"placed_at"`
	PaidAt      time.Time `json:"paid_at,omitzero"`
	ShippedAt   time.Time `json:"shipped_at,omitzero"`
	CancelledAt time.Time `json:"cancelled_at,omitzero"`
	// Reason is why the order was cancelled.
	Reason string `json:"reason,omitempty"`
}

// ReadModel is order-status.
var ReadModel = processing.Documents[OrderStatus]{
	Name:        "order-status",
	Collection:  "orders",
	CodeVersion: 1,
	Aggregate:   "order",
	Fold:        fold,
}

func fold(doc *OrderStatus, event processing.Event) error {
	_, first := event.Data.(order.OrderPlaced)
	switch {
	case first && doc.OrderID != "":
		return fmt.Errorf("folding order %q: placed twice", event.AggregateID)
	case !first && doc.OrderID == "":
		return fmt.Errorf("folding order %q: %s before it was placed", event.AggregateID, event.Type)
	}
	switch e := event.Data.(type) {
	case order.OrderPlaced:
		doc.OrderID = e.OrderID
		doc.CustomerID = e.CustomerID
		doc.Amount = e.TotalAmount
		doc.Discount = e.Discount
		doc.Status = "placed"
		doc.PlacedAt = e.PlacedAt.UTC()
	case order.PaymentReceived:
		doc.Status = "paid"
		doc.PaidAt = event.Time.UTC()
	case order.OrderShipped:
		doc.Status = "shipped"
		doc.ShippedAt = event.Time.UTC()
	case order.OrderCancelled:
		doc.Status = "cancelled"
		doc.CancelledAt = event.Time.UTC()
		doc.Reason = e.Reason
	default:
		return fmt.Errorf("folding order %q: unknown event %s", event.AggregateID, event.Type)
	}
	return nil
}
