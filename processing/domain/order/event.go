package order

import (
	"time"

	"github.com/ledgerline/ledgerline/processing"
)

// Event is one of OrderPlaced, PaymentReceived, OrderShipped and OrderCancelled. Each carries the ids
// and amounts that a projection with another key than the order's id needs.
type Event interface{ event() }

// OrderPlaced says that an order exists.
type OrderPlaced struct {
	OrderID    string `avro:"order_id"`
	CustomerID string `avro:"customer_id"`
	// TotalAmount is what the customer pays, discount taken off; it is positive.
	TotalAmount processing.Money `avro:"total_amount"`
	// Discount is what was taken off, nil for none.
	Discount *processing.Money `avro:"discount"`
	// PlacedAt is when the customer placed the order, in UTC and whole milliseconds. It may lie before
	// the event's own time.
	PlacedAt time.Time `avro:"placed_at"`
}

// PaymentReceived says that the order's whole total has been paid.
type PaymentReceived struct {
	OrderID    string           `avro:"order_id"`
	CustomerID string           `avro:"customer_id"`
	Amount     processing.Money `avro:"amount"`
}

// OrderShipped says that the order has left.
type OrderShipped struct {
	OrderID    string `avro:"order_id"`
	CustomerID string `avro:"customer_id"`
}

// OrderCancelled says that the order was given up before it left.
type OrderCancelled struct {
	OrderID     string           `avro:"order_id"`
	CustomerID  string           `avro:"customer_id"`
	TotalAmount processing.Money `avro:"total_amount"`
	// PreviousStatus is Placed or Paid. If a later schema has another symbol, this binary reads UNKNOWN.
	PreviousStatus Status `avro:"previous_status"`
	Reason         string `avro:"reason"`
}

func (OrderPlaced) event()     {}
func (PaymentReceived) event() {}
func (OrderShipped) event()    {}
func (OrderCancelled) event()  {}
