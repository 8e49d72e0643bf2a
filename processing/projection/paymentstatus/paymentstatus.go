// Package paymentstatus projects the events of an order's payment into one document per order: how far
// the payment has come and how much was authorised, captured and given back.
//
// Layout: read model payment-status, keyed by order id as the events are, so a bucket per partition. In
// Redis a document is the JSON text of a [PaymentStatus] in the field <order id> of the hash
// ledgerline:{payment-status.<generation>.<partition>}:docs.
//
// It owns what the document shows. It refuses (and so parks) an order whose events do not begin with
// OrderCreated, amounts in another currency than the order's and events of types that it does not know.
package paymentstatus

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
)

// PaymentStatus is the document of an order's payment. All amounts are in one currency.
type PaymentStatus struct {
	processing.Document
	OrderID string `json:"order_id"`
	// PaymentID is empty until a payment is authorised.
	PaymentID string `json:"payment_id,omitempty"`
	// Status is "pending" until a payment is authorised, then "authorized", "captured" and, once all that
	// was captured is given back, "refunded".
	Status string `json:"status"`
	// Amount is what the order costs.
	Amount processing.Money `json:"amount"`
	// The amounts so far, zero before.
	AuthorizedAmount processing.Money `json:"authorized_amount"`
	CapturedAmount   processing.Money `json:"captured_amount"`
	RefundedAmount   processing.Money `json:"refunded_amount"`
}

// ReadModel is payment-status.
var ReadModel = processing.Documents[PaymentStatus]{
	Name:        "payment-status",
	Collection:  "payments",
	CodeVersion: 1,
	Aggregate:   "payment",
	Fold:        fold,
}

func fold(doc *PaymentStatus, event processing.Event) error {
	_, first := event.Data.(payment.OrderCreated)
	switch {
	case first && doc.OrderID != "":
		return fmt.Errorf("folding payment of order %q: created twice", event.AggregateID)
	case !first && doc.OrderID == "":
		return fmt.Errorf("folding payment of order %q: %s before it was created", event.AggregateID, event.Type)
	}
	switch e := event.Data.(type) {
	case payment.OrderCreated:
		zero := processing.Money{Currency: e.Amount.Currency}
		doc.OrderID = e.OrderID
		doc.Status = "pending"
		doc.Amount = e.Amount
		doc.AuthorizedAmount, doc.CapturedAmount, doc.RefundedAmount = zero, zero, zero
	case payment.PaymentAuthorized:
		if err := add(&doc.AuthorizedAmount, event, e.Amount); err != nil {
			return err
		}
		doc.PaymentID = e.PaymentID
		doc.Status = "authorized"
	case payment.PaymentCaptured:
		if err := add(&doc.CapturedAmount, event, e.Amount); err != nil {
			return err
		}
		doc.Status = "captured"
	case payment.RefundIssued:
		if err := add(&doc.RefundedAmount, event, e.Amount); err != nil {
			return err
		}
		if doc.RefundedAmount == doc.CapturedAmount {
			doc.Status = "refunded"
		}
	default:
		return fmt.Errorf("folding payment of order %q: unknown event %s", event.AggregateID, event.Type)
	}
	return nil
}

// add changes nothing if it returns an error.
func add(sum *processing.Money, event processing.Event, amount processing.Money) error {
	if amount.Currency != sum.Currency {
		return fmt.Errorf("folding payment of order %q: %s of %s, the order is in %s", event.AggregateID, event.Type, amount, sum.Currency)
	}
	sum.MinorUnits += amount.MinorUnits
	return nil
}
