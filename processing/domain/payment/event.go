package payment

import "github.com/ledgerline/ledgerline/processing"

// Event is one of OrderCreated, PaymentAuthorized, PaymentCaptured and RefundIssued. Each carries the
// order's id, and from the authorisation on the payment's; all amounts of an order have one currency.
type Event interface{ event() }

// OrderCreated says what is to be paid for an order. Amount is positive.
type OrderCreated struct {
	OrderID string           `avro:"order_id"`
	Amount  processing.Money `avro:"amount"`
}

// PaymentAuthorized says that the order's whole amount is held.
type PaymentAuthorized struct {
	PaymentID string           `avro:"payment_id"`
	OrderID   string           `avro:"order_id"`
	Amount    processing.Money `avro:"amount"`
}

// PaymentCaptured says that the order's whole amount was taken.
type PaymentCaptured struct {
	PaymentID string           `avro:"payment_id"`
	OrderID   string           `avro:"order_id"`
	Amount    processing.Money `avro:"amount"`
}

// RefundIssued says that money was given back. Amount is positive; an order's refunds add up to at most
// what was captured.
type RefundIssued struct {
	PaymentID string           `avro:"payment_id"`
	OrderID   string           `avro:"order_id"`
	Amount    processing.Money `avro:"amount"`
}

func (OrderCreated) event()      {}
func (PaymentAuthorized) event() {}
func (PaymentCaptured) event()   {}
func (RefundIssued) event()      {}
