package payment

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
)

// Command is one of CreateOrder, AuthorizePayment, CapturePayment and IssueRefund.
type Command interface{ command() }

// CreateOrder says what is to be paid for a new order.
type CreateOrder struct {
	Amount processing.Money `avro:"amount"`
}

// AuthorizePayment holds the order's amount under a payment's id.
type AuthorizePayment struct {
	PaymentID string `avro:"payment_id"`
	// Amount must be the order's.
	Amount processing.Money `avro:"amount"`
}

// CapturePayment takes what was authorised: all of it, there is no part capture.
type CapturePayment struct {
	PaymentID string `avro:"payment_id"`
	// Amount must be the order's.
	Amount processing.Money `avro:"amount"`
}

// IssueRefund gives back what was captured, or a part of what is left of it.
type IssueRefund struct {
	PaymentID string `avro:"payment_id"`
	// Amount is positive. Nothing was captured in another currency than the order's, so any amount in
	// one exceeds the capture.
	Amount processing.Money `avro:"amount"`
}

func (CreateOrder) command()      {}
func (AuthorizePayment) command() {}
func (CapturePayment) command()   {}
func (IssueRefund) command()      {}

// Validate returns a *processing.FieldError if the currency is none or the amount is out of bounds.
func (c CreateOrder) Validate() error { return c.Amount.Validate("amount") }

// Validate returns a *processing.FieldError if the payment's id is none, the currency is none or the
// amount is out of bounds.
func (c AuthorizePayment) Validate() error { return validate(c.PaymentID, c.Amount) }

// Validate returns a *processing.FieldError if the payment's id is none, the currency is none or the
// amount is out of bounds.
func (c CapturePayment) Validate() error { return validate(c.PaymentID, c.Amount) }

// Validate returns a *processing.FieldError if the payment's id is none, the currency is none or the
// amount is not positive or out of bounds. A refund of nothing or less has no refusal of its own: no
// state of an order makes sense of it.
func (c IssueRefund) Validate() error {
	if err := validate(c.PaymentID, c.Amount); err != nil {
		return err
	}
	if c.Amount.MinorUnits <= 0 {
		return &processing.FieldError{Field: "amount.minor_units", Reason: fmt.Sprintf("want 1 or more, got %d", c.Amount.MinorUnits)}
	}
	return nil
}

func validate(paymentID string, amount processing.Money) error {
	if err := processing.ValidateID("payment_id", paymentID); err != nil {
		return err
	}
	return amount.Validate("amount")
}
