package payment_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

type row = processingtest.Row[payment.Command, payment.Event]

var (
	scenario = processingtest.Scenario[payment.State, payment.Command, payment.Event]{Decider: payment.Decider, ID: "o-1"}

	created    = payment.OrderCreated{OrderID: "o-1", Amount: gbp(1250)}
	authorized = payment.PaymentAuthorized{PaymentID: "p-1", OrderID: "o-1", Amount: gbp(1250)}
	captured   = payment.PaymentCaptured{PaymentID: "p-1", OrderID: "o-1", Amount: gbp(1250)}

	create    = payment.CreateOrder{Amount: gbp(1250)}
	authorize = payment.AuthorizePayment{PaymentID: "p-1", Amount: gbp(1250)}
	capture   = payment.CapturePayment{PaymentID: "p-1", Amount: gbp(1250)}
	refund    = payment.IssueRefund{PaymentID: "p-1", Amount: gbp(1250)}
)

func gbp(pence int64) processing.Money { return processing.Money{MinorUnits: pence, Currency: "GBP"} }

func eur(cents int64) processing.Money { return processing.Money{MinorUnits: cents, Currency: "EUR"} }

func refunded(pence int64) payment.RefundIssued {
	return payment.RefundIssued{PaymentID: "p-1", OrderID: "o-1", Amount: gbp(pence)}
}

// histories leads to each status; a captured order of which a part is given back is told from one
// of which nothing is.
var histories = map[string][]payment.Event{
	"none":          nil,
	"new":           {created},
	"authorized":    {created, authorized},
	"captured":      {created, authorized, captured},
	"part refunded": {created, authorized, captured, refunded(1000), refunded(249)},
	"refunded":      {created, authorized, captured, refunded(1000), refunded(250)},
}

// matrix says for every command in every status what comes of it: a refusal or an event.
var matrix = map[string]map[payment.Command]any{
	"none": {
		create: created, authorize: payment.ErrOrderNotFound, capture: payment.ErrOrderNotFound, refund: payment.ErrOrderNotFound,
	},
	"new": {
		create: payment.ErrOrderExists, authorize: authorized, capture: payment.ErrNotAuthorized, refund: payment.ErrNotCaptured,
	},
	"authorized": {
		create: payment.ErrOrderExists, authorize: payment.ErrNotNew, capture: captured, refund: payment.ErrNotCaptured,
	},
	"captured": {
		create: payment.ErrOrderExists, authorize: payment.ErrNotNew, capture: payment.ErrNotAuthorized, refund: refunded(1250),
	},
	"part refunded": {
		create: payment.ErrOrderExists, authorize: payment.ErrNotNew, capture: payment.ErrNotAuthorized, refund: payment.ErrRefundExceedsCapture,
	},
	"refunded": {
		create: payment.ErrOrderExists, authorize: payment.ErrNotNew, capture: payment.ErrNotAuthorized, refund: payment.ErrNotCaptured,
	},
}

func TestEveryCommandInEveryStatus(t *testing.T) {
	processingtest.RunMatrix(t, scenario, processingtest.Matrix[payment.Command, payment.Event]{
		Histories: histories, Outcomes: matrix,
		Elsewhere: []*processing.Refusal{payment.ErrAmountNotPositive, payment.ErrAmountMismatch, payment.ErrPaymentMismatch},
	})
}

func TestCreateOrder(t *testing.T) {
	scenario.Run(t, []row{
		{
			Name: "the least amount", When: payment.CreateOrder{Amount: gbp(1)},
			Then: []payment.Event{payment.OrderCreated{OrderID: "o-1", Amount: gbp(1)}},
		},
		{Name: "nothing to pay", When: payment.CreateOrder{Amount: gbp(0)}, Refused: payment.ErrAmountNotPositive},
		{Name: "negative amount", When: payment.CreateOrder{Amount: gbp(-1)}, Refused: payment.ErrAmountNotPositive},
		{
			Name: "an order that exists is told so before its amount is looked at", Given: histories["new"],
			When: payment.CreateOrder{Amount: gbp(0)}, Refused: payment.ErrOrderExists,
		},
	})
}

func TestAuthorizePayment(t *testing.T) {
	of := func(amount processing.Money) payment.AuthorizePayment {
		return payment.AuthorizePayment{PaymentID: "p-1", Amount: amount}
	}
	scenario.Run(t, []row{
		{Name: "less", Given: histories["new"], When: of(gbp(1249)), Refused: payment.ErrAmountMismatch},
		{Name: "more", Given: histories["new"], When: of(gbp(1251)), Refused: payment.ErrAmountMismatch},
		{Name: "nothing", Given: histories["new"], When: of(gbp(0)), Refused: payment.ErrAmountMismatch},
		{Name: "less than nothing", Given: histories["new"], When: of(gbp(-1250)), Refused: payment.ErrAmountMismatch},
		{Name: "other currency", Given: histories["new"], When: of(eur(1250)), Refused: payment.ErrAmountMismatch},
		{Name: "wrong amount again", Given: histories["authorized"], When: of(gbp(1)), Refused: payment.ErrNotNew},
	})
}

func TestCapturePayment(t *testing.T) {
	of := func(paymentID string, amount processing.Money) payment.CapturePayment {
		return payment.CapturePayment{PaymentID: paymentID, Amount: amount}
	}
	scenario.Run(t, []row{
		{Name: "a part", Given: histories["authorized"], When: of("p-1", gbp(1249)), Refused: payment.ErrAmountMismatch},
		{Name: "more", Given: histories["authorized"], When: of("p-1", gbp(1251)), Refused: payment.ErrAmountMismatch},
		{Name: "nothing", Given: histories["authorized"], When: of("p-1", gbp(0)), Refused: payment.ErrAmountMismatch},
		{Name: "other currency", Given: histories["authorized"], When: of("p-1", eur(1250)), Refused: payment.ErrAmountMismatch},
		{Name: "other payment", Given: histories["authorized"], When: of("p-2", gbp(1250)), Refused: payment.ErrPaymentMismatch},
		{Name: "the payment comes before the amount", Given: histories["authorized"], When: of("p-2", gbp(1)), Refused: payment.ErrPaymentMismatch},
		{Name: "the status comes before the payment", Given: histories["captured"], When: of("p-2", gbp(1250)), Refused: payment.ErrNotAuthorized},
	})
}

func TestIssueRefund(t *testing.T) {
	of := func(paymentID string, amount processing.Money) payment.IssueRefund {
		return payment.IssueRefund{PaymentID: paymentID, Amount: amount}
	}
	scenario.Run(t, []row{
		{Name: "a part", Given: histories["captured"], When: of("p-1", gbp(1)), Then: []payment.Event{refunded(1)}},
		{Name: "the rest", Given: histories["part refunded"], When: of("p-1", gbp(1)), Then: []payment.Event{refunded(1)}},
		{Name: "more than all", Given: histories["captured"], When: of("p-1", gbp(1251)), Refused: payment.ErrRefundExceedsCapture},
		{Name: "more than the rest", Given: histories["part refunded"], When: of("p-1", gbp(2)), Refused: payment.ErrRefundExceedsCapture},
		{Name: "other currency", Given: histories["captured"], When: of("p-1", eur(1)), Refused: payment.ErrRefundExceedsCapture},
		{Name: "other payment", Given: histories["captured"], When: of("p-2", gbp(1)), Refused: payment.ErrPaymentMismatch},
		{Name: "the payment comes before the amount", Given: histories["captured"], When: of("p-2", gbp(1251)), Refused: payment.ErrPaymentMismatch},
		{Name: "the status comes before the payment", Given: histories["refunded"], When: of("p-2", gbp(1)), Refused: payment.ErrNotCaptured},
	})
}

func TestRefusalsSayNumbers(t *testing.T) {
	for _, c := range []struct {
		given   string
		command payment.Command
		want    string
	}{
		{"new", create, "order-exists: order is NEW, for 1250 GBP"},
		{"none", payment.CreateOrder{Amount: gbp(-3)}, "amount-not-positive: amount is -3 GBP"},
		{"new", payment.AuthorizePayment{PaymentID: "p-1", Amount: eur(7)}, "amount-mismatch: order is for 1250 GBP, authorisation is 7 EUR"},
		{"authorized", authorize, "not-new: order is AUTHORIZED, by payment p-1"},
		{"authorized", payment.CapturePayment{PaymentID: "p-1", Amount: gbp(7)}, "amount-mismatch: 1250 GBP is authorised, capture is 7 GBP"},
		{"authorized", payment.CapturePayment{PaymentID: "p-2", Amount: gbp(1250)}, "payment-mismatch: order is paid by payment p-1, not p-2"},
		{"new", capture, "not-authorized: order is NEW"},
		{"refunded", refund, "not-captured: order is REFUNDED"},
		{"captured", payment.IssueRefund{PaymentID: "p-2", Amount: gbp(1250)}, "payment-mismatch: order is paid by payment p-1, not p-2"},
		{"part refunded", refund, "refund-exceeds-capture: 1 GBP is left of what was captured, refund is 1250 GBP"},
	} {
		var state payment.State
		for _, e := range histories[c.given] {
			state = payment.Decider.Evolve(state, e)
		}
		if _, err := payment.Decider.Decide(processing.Context{ID: "o-1"}, c.command, state); err == nil || err.Error() != c.want {
			t.Errorf("%T when %s: got %v, want %s", c.command, c.given, err, c.want)
		}
	}
}

func TestRefusalKinds(t *testing.T) {
	other := map[string]processing.RefusalKind{
		"order-not-found": processing.NotFound, "amount-not-positive": processing.Unprocessable,
	}
	codes := []string{
		"order-exists", "amount-not-positive", "order-not-found", "not-new", "amount-mismatch",
		"not-authorized", "payment-mismatch", "not-captured", "refund-exceeds-capture",
	}
	var declared []string
	for _, r := range payment.Decider.Refusals {
		declared = append(declared, r.Code)
		if want := other[r.Code]; r.Kind != want { // Conflict is the zero kind
			t.Errorf("%s: kind %d, want %d", r.Code, r.Kind, want)
		}
	}
	if !slices.Equal(declared, codes) {
		t.Errorf("refusals %v, want %v", declared, codes)
	}
}

func TestUnknownCommandIsNoRefusal(t *testing.T) {
	var refusal *processing.Refusal
	if events, err := payment.Decider.Decide(processing.Context{ID: "o-1"}, nil, payment.State{}); err == nil || errors.As(err, &refusal) {
		t.Errorf("got %v, %v", events, err)
	}
}

func TestMalformedCommands(t *testing.T) {
	tooMuch := gbp(processing.MaxMinorUnits + 1)
	rows := []row{
		{Name: "order without currency", When: payment.CreateOrder{}, Invalid: "amount.currency"},
		{Name: "order out of bounds", When: payment.CreateOrder{Amount: tooMuch}, Invalid: "amount.minor_units"},
		{Name: "refund of nothing", Given: histories["captured"], When: payment.IssueRefund{PaymentID: "p-1", Amount: gbp(0)}, Invalid: "amount.minor_units"},
		{Name: "refund of less than nothing", Given: histories["captured"], When: payment.IssueRefund{PaymentID: "p-1", Amount: gbp(-1)}, Invalid: "amount.minor_units"},
		{Name: "refund of nothing without currency", Given: histories["captured"], When: payment.IssueRefund{PaymentID: "p-1"}, Invalid: "amount.currency"},
	}
	for given, with := range map[string]func(string, processing.Money) payment.Command{
		"new": func(id string, m processing.Money) payment.Command {
			return payment.AuthorizePayment{PaymentID: id, Amount: m}
		},
		"authorized": func(id string, m processing.Money) payment.Command {
			return payment.CapturePayment{PaymentID: id, Amount: m}
		},
		"captured": func(id string, m processing.Money) payment.Command {
			return payment.IssueRefund{PaymentID: id, Amount: m}
		},
	} {
		rows = append(rows,
			row{Name: given + " without payment", Given: histories[given], When: with("", gbp(1250)), Invalid: "payment_id"},
			row{Name: given + " payment with slash", Given: histories[given], When: with("p/1", gbp(1250)), Invalid: "payment_id"},
			row{Name: given + " without currency", Given: histories[given], When: with("p-1", processing.Money{MinorUnits: 1250}), Invalid: "amount.currency"},
			row{Name: given + " out of bounds", Given: histories[given], When: with("p-1", tooMuch), Invalid: "amount.minor_units"},
		)
	}
	scenario.Run(t, rows)
	for _, c := range []processing.Validator{create, authorize, capture, payment.IssueRefund{PaymentID: "p-1", Amount: gbp(1)}, payment.CreateOrder{Amount: gbp(processing.MaxMinorUnits)}} {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
