package payment_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

type step = processingtest.Step[payment.State, payment.Command, payment.Event]

// commands draws few different amounts, so that orders are often paid and given back in parts, and now
// and then a malformed command.
func commands() *rapid.Generator[payment.Command] {
	return rapid.Custom(func(t *rapid.T) payment.Command {
		amount := processing.Money{
			MinorUnits: rapid.SampledFrom([]int64{200, 100, 200, 100, 200, 0, -100}).Draw(t, "amount"),
			Currency:   rapid.SampledFrom([]string{"GBP", "GBP", "GBP", "GBP", "GBP", "EUR"}).Draw(t, "currency"),
		}
		paymentID := rapid.SampledFrom([]string{"p-1", "p-1", "p-1", "p-1", "p-2", ""}).Draw(t, "payment")
		switch rapid.SampledFrom([]string{"refund", "create", "authorize", "capture", "refund", "capture"}).Draw(t, "command") {
		case "create":
			return payment.CreateOrder{Amount: amount}
		case "authorize":
			return payment.AuthorizePayment{PaymentID: paymentID, Amount: amount}
		case "capture":
			return payment.CapturePayment{PaymentID: paymentID, Amount: amount}
		default:
			return payment.IssueRefund{PaymentID: paymentID, Amount: amount}
		}
	})
}

func TestLaws(t *testing.T) {
	processingtest.CheckDecider(t, payment.Decider, commands(), onlyAllowedEdges, moneyIsConserved, refusalsChangeNothing, eventsNameTheOrder)
}

func onlyAllowedEdges(history []step) error {
	allowed := map[[2]payment.Status]bool{
		{"", payment.New}: true, {payment.New, payment.Authorized}: true, {payment.Authorized, payment.Captured}: true,
		{payment.Captured, payment.Captured}: true, {payment.Captured, payment.Refunded}: true,
	}
	for _, s := range history {
		from, to := s.Before.Status, s.After.Status
		if s.Refusal != nil {
			continue
		}
		if len(s.Events) != 1 || !allowed[[2]payment.Status{from, to}] {
			return fmt.Errorf("%T moved the order from %q to %q with %d events", s.Command, from, to, len(s.Events))
		}
	}
	return nil
}

// moneyIsConserved: after every command, in the order's currency, refunds <= captures <= authorisations
// <= the order's amount; an order is Refunded when all that was captured is given back, not before.
func moneyIsConserved(history []step) error {
	var order, authorized, captured, refunded int64
	var currency string
	for _, s := range history {
		for _, e := range s.Events {
			var amount processing.Money
			var sum *int64
			switch e := e.(type) {
			case payment.OrderCreated:
				amount, sum, currency = e.Amount, &order, e.Amount.Currency
			case payment.PaymentAuthorized:
				amount, sum = e.Amount, &authorized
			case payment.PaymentCaptured:
				amount, sum = e.Amount, &captured
			case payment.RefundIssued:
				amount, sum = e.Amount, &refunded
			}
			if amount.Currency != currency || amount.MinorUnits <= 0 {
				return fmt.Errorf("%T of %s for an order in %s", e, amount, currency)
			}
			*sum += amount.MinorUnits
		}
		all := captured > 0 && refunded == captured
		if refunded > captured || captured > authorized || authorized > order || all != (s.After.Status == payment.Refunded) {
			return fmt.Errorf("order %s of %d: %d authorised, %d captured, %d refunded", s.After.Status, order, authorized, captured, refunded)
		}
		if s.After.Amount != (processing.Money{MinorUnits: order, Currency: currency}) || s.After.CapturedMinor != captured || s.After.RefundedMinor != refunded {
			return fmt.Errorf("state %+v, events say %d %s, captured %d, refunded %d", s.After, order, currency, captured, refunded)
		}
	}
	return nil
}

func refusalsChangeNothing(history []step) error {
	for _, s := range history {
		if s.Refusal != nil && (len(s.Events) > 0 || s.Before != s.After) {
			return fmt.Errorf("refused with %s, but %+v became %+v", s.Refusal.Code, s.Before, s.After)
		}
	}
	return nil
}

func eventsNameTheOrder(history []step) error {
	var payments []string
	for _, s := range history {
		for _, e := range s.Events {
			var orderID string
			switch e := e.(type) {
			case payment.OrderCreated:
				orderID = e.OrderID
			case payment.PaymentAuthorized:
				orderID = e.OrderID
				payments = append(payments, e.PaymentID)
			case payment.PaymentCaptured:
				orderID = e.OrderID
				payments = append(payments, e.PaymentID)
			case payment.RefundIssued:
				orderID = e.OrderID
				payments = append(payments, e.PaymentID)
			}
			if orderID != s.In.ID {
				return fmt.Errorf("%T of order %s names order %q", e, s.In.ID, orderID)
			}
			if len(payments) > 0 && payments[len(payments)-1] != payments[0] {
				return fmt.Errorf("payments %q of one order", payments)
			}
		}
	}
	return nil
}
