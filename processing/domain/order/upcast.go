package order

import (
	"time"

	"github.com/ledgerline/ledgerline/processing"
)

// orderPlaced is the event type with its earlier versions.
var orderPlaced = processing.TypeOf[OrderPlaced]().Since(
	processing.Upcast(func(e OrderPlaced1, _ time.Time) OrderPlaced2 {
		return OrderPlaced2{OrderID: e.OrderID, CustomerID: e.CustomerID, Amount: e.Amount}
	}),
	processing.Upcast(func(e OrderPlaced2, at time.Time) OrderPlaced {
		return OrderPlaced{OrderID: e.OrderID, CustomerID: e.CustomerID, TotalAmount: e.Amount, Discount: e.Discount, PlacedAt: at.Truncate(time.Millisecond)}
	}),
)

// OrderPlaced1 is version 1 of [OrderPlaced].
type OrderPlaced1 struct {
	OrderID    string           `avro:"order_id"`
	CustomerID string           `avro:"customer_id"`
	Amount     processing.Money `avro:"amount"`
}

// OrderPlaced2 is version 2 of [OrderPlaced]: it may have a discount.
type OrderPlaced2 struct {
	OrderID    string            `avro:"order_id"`
	CustomerID string            `avro:"customer_id"`
	Amount     processing.Money  `avro:"amount"`
	Discount   *processing.Money `avro:"discount"`
}
