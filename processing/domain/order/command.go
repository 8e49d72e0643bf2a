package order

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/ledgerline/ledgerline/processing"
)

// MaxReasonLength is the longest reason of a cancellation in bytes.
const MaxReasonLength = 1000

// Command is one of PlaceOrder, ReceivePayment, ShipOrder and CancelOrder.
type Command interface{ command() }

// PlaceOrder asks for a new order.
type PlaceOrder struct {
	CustomerID string `avro:"customer_id"`
	// TotalAmount is what the customer pays, discount taken off.
	TotalAmount processing.Money `avro:"total_amount"`
	// Discount is what was taken off, for information; nil for none.
	Discount *processing.Money `avro:"discount"`
	// PlacedAt is when the customer placed the order; nil is the time of the decision.
	PlacedAt *time.Time `avro:"placed_at"`
}

// ReceivePayment tells that the whole order has been paid.
type ReceivePayment struct {
	Amount processing.Money `avro:"amount"`
}

// ShipOrder tells that a paid order has left.
type ShipOrder struct{}

// CancelOrder asks to give up an order that has not left.
type CancelOrder struct {
	// Reason is for people: 1 to MaxReasonLength bytes of UTF-8.
	Reason string `avro:"reason" minLength:"1" maxLength:"1000"`
}

func (PlaceOrder) command()     {}
func (ReceivePayment) command() {}
func (ShipOrder) command()      {}
func (CancelOrder) command()    {}

// Validate returns a *processing.FieldError if the customer is no id, a currency is none, the discount
// is negative or in another currency than the total, or PlacedAt has no four-digit year: RFC 3339 cannot
// write any other.
func (c PlaceOrder) Validate() error {
	if err := processing.ValidateID("customer_id", c.CustomerID); err != nil {
		return err
	}
	if err := c.TotalAmount.Validate("total_amount"); err != nil {
		return err
	}
	if c.Discount != nil {
		if err := validateDiscount(*c.Discount, c.TotalAmount.Currency); err != nil {
			return err
		}
	}
	if c.PlacedAt != nil {
		if year := c.PlacedAt.UTC().Year(); year < 1 || year > 9999 {
			return &processing.FieldError{Field: "placed_at", Reason: fmt.Sprintf("want a year from 1 to 9999, got %d", year)}
		}
	}
	return nil
}

func validateDiscount(discount processing.Money, currency string) error {
	if err := discount.Validate("discount"); err != nil {
		return err
	}
	if discount.MinorUnits < 0 {
		return &processing.FieldError{Field: "discount.minor_units", Reason: fmt.Sprintf("want 0 or more, got %d", discount.MinorUnits)}
	}
	if discount.Currency != currency {
		return &processing.FieldError{Field: "discount.currency", Reason: fmt.Sprintf("want %s as in total_amount, got %s", currency, discount.Currency)}
	}
	return nil
}

// Validate returns a *processing.FieldError if the currency is none.
func (c ReceivePayment) Validate() error { return c.Amount.Validate("amount") }

// Validate returns a *processing.FieldError if the reason is empty, too long or not UTF-8.
func (c CancelOrder) Validate() error {
	switch {
	case c.Reason == "" || len(c.Reason) > MaxReasonLength:
		return &processing.FieldError{Field: "reason", Reason: fmt.Sprintf("want 1 to %d bytes, got %d", MaxReasonLength, len(c.Reason))}
	case !utf8.ValidString(c.Reason):
		return &processing.FieldError{Field: "reason", Reason: "want valid UTF-8"}
	}
	return nil
}
