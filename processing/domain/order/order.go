// Package order decides what happens to an order: it is placed, paid in one sum and shipped, or
// cancelled before it is shipped.
//
// It owns the rules of one order and nothing else: it knows no customer's other orders, no stock and no
// payment provider, and it moves no money. It refuses part payments, payments in another currency than
// the order's, and every change of a shipped or cancelled order.
package order

import "github.com/ledgerline/ledgerline/processing"

// Status is how far an order has come. The zero Status is that of an order that does not exist.
type Status string

// The statuses of an order: Placed → Paid → Shipped, or Cancelled from Placed or Paid. The values are
// symbols of the Avro enum in [OrderCancelled].
const (
	Placed    Status = "PLACED"
	Paid      Status = "PAID"
	Shipped   Status = "SHIPPED"
	Cancelled Status = "CANCELLED"
)

// State is what deciding the next command takes. The zero State is an order that does not exist.
type State struct {
	Status     Status
	CustomerID string
	// TotalAmount is what the customer pays, discount taken off.
	TotalAmount processing.Money
}

// The refusals of an order.
var (
	ErrOrderExists       = processing.Refuse("order-exists", processing.Conflict)
	ErrOrderNotFound     = processing.Refuse("order-not-found", processing.NotFound)
	ErrAmountNotPositive = processing.Refuse("amount-not-positive", processing.Unprocessable)
	ErrOrderNotPlaced    = processing.Refuse("order-not-placed", processing.Conflict)
	ErrAmountMismatch    = processing.Refuse("amount-mismatch", processing.Conflict)
	ErrOrderNotPaid      = processing.Refuse("order-not-paid", processing.Conflict)
	ErrAlreadyShipped    = processing.Refuse("order-already-shipped", processing.Conflict)
	ErrAlreadyCancelled  = processing.Refuse("order-already-cancelled", processing.Conflict)
)

// Decider is the order aggregate.
var Decider = processing.Decider[State, Command, Event]{
	Aggregate:  "order",
	Collection: "orders",
	Commands: []processing.Type{
		processing.TypeOf[PlaceOrder](),
		processing.TypeOf[ReceivePayment](),
		processing.TypeOf[ShipOrder](),
		processing.TypeOf[CancelOrder](),
	},
	Events: []processing.Type{
		orderPlaced,
		processing.TypeOf[PaymentReceived](),
		processing.TypeOf[OrderShipped](),
		processing.TypeOf[OrderCancelled](),
	},
	Refusals: []*processing.Refusal{
		ErrOrderExists, ErrOrderNotFound, ErrAmountNotPositive, ErrOrderNotPlaced,
		ErrAmountMismatch, ErrOrderNotPaid, ErrAlreadyShipped, ErrAlreadyCancelled,
	},
	Decide: decide,
	Evolve: evolve,
}
