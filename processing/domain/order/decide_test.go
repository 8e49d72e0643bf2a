package order_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

type row = processingtest.Row[order.Command, order.Event]

var (
	at       = time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)
	atMillis = time.Date(2026, 3, 1, 12, 0, 0, 123_000_000, time.UTC)
	scenario = processingtest.Scenario[order.State, order.Command, order.Event]{Decider: order.Decider, ID: "o-1", At: at}

	placed          = order.OrderPlaced{OrderID: "o-1", CustomerID: "c-1", TotalAmount: gbp(1250), PlacedAt: atMillis}
	paid            = order.PaymentReceived{OrderID: "o-1", CustomerID: "c-1", Amount: gbp(1250)}
	shipped         = order.OrderShipped{OrderID: "o-1", CustomerID: "c-1"}
	cancelledPlaced = cancelledFrom(order.Placed)
	cancelledPaid   = cancelledFrom(order.Paid)

	place  = order.PlaceOrder{CustomerID: "c-1", TotalAmount: gbp(1250)}
	pay    = order.ReceivePayment{Amount: gbp(1250)}
	ship   = order.ShipOrder{}
	cancel = order.CancelOrder{Reason: "changed my mind"}
)

func gbp(pence int64) processing.Money { return processing.Money{MinorUnits: pence, Currency: "GBP"} }

func eur(cents int64) processing.Money { return processing.Money{MinorUnits: cents, Currency: "EUR"} }

func cancelledFrom(previous order.Status) order.OrderCancelled {
	return order.OrderCancelled{
		OrderID: "o-1", CustomerID: "c-1", TotalAmount: gbp(1250), PreviousStatus: previous, Reason: "changed my mind",
	}
}

// histories leads to each status; the two ways to be cancelled are told apart.
var histories = map[string][]order.Event{
	"none":                nil,
	"placed":              {placed},
	"paid":                {placed, paid},
	"shipped":             {placed, paid, shipped},
	"cancelled":           {placed, cancelledPlaced},
	"cancelled from paid": {placed, paid, cancelledPaid},
}

// matrix says for every command in every status what comes of it: a refusal or an event.
var matrix = map[string]map[order.Command]any{
	"none": {
		place: placed, pay: order.ErrOrderNotFound, ship: order.ErrOrderNotFound, cancel: order.ErrOrderNotFound,
	},
	"placed": {
		place: order.ErrOrderExists, pay: paid, ship: order.ErrOrderNotPaid, cancel: cancelledPlaced,
	},
	"paid": {
		place: order.ErrOrderExists, pay: order.ErrOrderNotPlaced, ship: shipped, cancel: cancelledPaid,
	},
	"shipped": {
		place: order.ErrOrderExists, pay: order.ErrOrderNotPlaced, ship: order.ErrOrderNotPaid, cancel: order.ErrAlreadyShipped,
	},
	"cancelled": {
		place: order.ErrOrderExists, pay: order.ErrOrderNotPlaced, ship: order.ErrOrderNotPaid, cancel: order.ErrAlreadyCancelled,
	},
	"cancelled from paid": {
		place: order.ErrOrderExists, pay: order.ErrOrderNotPlaced, ship: order.ErrOrderNotPaid, cancel: order.ErrAlreadyCancelled,
	},
}

func TestEveryCommandInEveryStatus(t *testing.T) {
	processingtest.RunMatrix(t, scenario, processingtest.Matrix[order.Command, order.Event]{
		Histories: histories, Outcomes: matrix,
		Elsewhere: []*processing.Refusal{order.ErrAmountMismatch, order.ErrAmountNotPositive},
	})
}

func TestPlaceOrder(t *testing.T) {
	discount := gbp(250)
	elsewhere := time.Date(2010, 12, 1, 10, 26, 0, 999_999, time.FixedZone("", 2*60*60))
	with := func(change func(*order.OrderPlaced)) []order.Event {
		e := placed
		change(&e)
		return []order.Event{e}
	}
	scenario.Run(t, []row{
		{
			Name: "placed_at is kept, in UTC and milliseconds",
			When: order.PlaceOrder{CustomerID: "c-1", TotalAmount: gbp(1250), PlacedAt: &elsewhere},
			Then: with(func(e *order.OrderPlaced) { e.PlacedAt = time.Date(2010, 12, 1, 8, 26, 0, 0, time.UTC) }),
		},
		{
			Name: "discount is kept and not taken off again",
			When: order.PlaceOrder{CustomerID: "c-1", TotalAmount: gbp(1250), Discount: &discount},
			Then: with(func(e *order.OrderPlaced) { e.Discount = &discount }),
		},
		{
			Name: "the least amount", When: order.PlaceOrder{CustomerID: "c-1", TotalAmount: gbp(1)},
			Then: with(func(e *order.OrderPlaced) { e.TotalAmount = gbp(1) }),
		},
		{Name: "nothing to pay", When: order.PlaceOrder{CustomerID: "c-1", TotalAmount: gbp(0)}, Refused: order.ErrAmountNotPositive},
		{Name: "negative amount", When: order.PlaceOrder{CustomerID: "c-1", TotalAmount: gbp(-1)}, Refused: order.ErrAmountNotPositive},
		{
			Name: "an order that exists is told so before its amount is looked at", Given: histories["placed"],
			When: order.PlaceOrder{CustomerID: "c-1", TotalAmount: gbp(0)}, Refused: order.ErrOrderExists,
		},
	})
}

func TestReceivePayment(t *testing.T) {
	scenario.Run(t, []row{
		{Name: "less", Given: histories["placed"], When: order.ReceivePayment{Amount: gbp(1249)}, Refused: order.ErrAmountMismatch},
		{Name: "more", Given: histories["placed"], When: order.ReceivePayment{Amount: gbp(1251)}, Refused: order.ErrAmountMismatch},
		{Name: "other currency", Given: histories["placed"], When: order.ReceivePayment{Amount: eur(1250)}, Refused: order.ErrAmountMismatch},
		{Name: "wrong amount again", Given: histories["paid"], When: order.ReceivePayment{Amount: gbp(1)}, Refused: order.ErrOrderNotPlaced},
	})
}

func TestRefusalsSayNumbers(t *testing.T) {
	for _, c := range []struct {
		given   string
		command order.Command
		want    string
	}{
		{"placed", order.ReceivePayment{Amount: eur(7)}, "amount-mismatch: order is for 1250 GBP, payment is 7 EUR"},
		{"none", order.PlaceOrder{TotalAmount: gbp(-3)}, "amount-not-positive: total_amount is -3 GBP"},
		{"placed", order.PlaceOrder{TotalAmount: gbp(1)}, "order-exists: order is PLACED, for 1250 GBP"},
		{"placed", order.ShipOrder{}, "order-not-paid: order is PLACED, for 1250 GBP"},
		{"shipped", order.ReceivePayment{Amount: gbp(1250)}, "order-not-placed: order is SHIPPED"},
	} {
		var state order.State
		for _, e := range histories[c.given] {
			state = order.Decider.Evolve(state, e)
		}
		if _, err := order.Decider.Decide(processing.Context{At: at, ID: "o-1"}, c.command, state); err == nil || err.Error() != c.want {
			t.Errorf("%T when %s: got %v, want %s", c.command, c.given, err, c.want)
		}
	}
}

func TestRefusalKinds(t *testing.T) {
	other := map[string]processing.RefusalKind{
		"order-not-found": processing.NotFound, "amount-not-positive": processing.Unprocessable,
	}
	codes := []string{
		"order-exists", "order-not-found", "amount-not-positive", "order-not-placed",
		"amount-mismatch", "order-not-paid", "order-already-shipped", "order-already-cancelled",
	}
	var declared []string
	for _, r := range order.Decider.Refusals {
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
	if events, err := order.Decider.Decide(processing.Context{At: at, ID: "o-1"}, nil, order.State{}); err == nil || errors.As(err, &refusal) {
		t.Errorf("got %v, %v", events, err)
	}
}

func TestMalformedCommands(t *testing.T) {
	placeWith := func(change func(*order.PlaceOrder)) order.PlaceOrder {
		c := place
		change(&c)
		return c
	}
	discount := func(m processing.Money) order.PlaceOrder {
		return placeWith(func(c *order.PlaceOrder) { c.Discount = &m })
	}
	placedAt := func(year int) order.PlaceOrder {
		when := time.Date(year, 12, 31, 23, 0, 0, 0, time.FixedZone("", -2*60*60))
		return placeWith(func(c *order.PlaceOrder) { c.PlacedAt = &when })
	}
	scenario.Run(t, []row{
		{Name: "no customer", When: placeWith(func(c *order.PlaceOrder) { c.CustomerID = "" }), Invalid: "customer_id"},
		{Name: "customer with slash", When: placeWith(func(c *order.PlaceOrder) { c.CustomerID = "c/1" }), Invalid: "customer_id"},
		{Name: "no currency", When: placeWith(func(c *order.PlaceOrder) { c.TotalAmount.Currency = "" }), Invalid: "total_amount.currency"},
		{Name: "discount without currency", When: discount(processing.Money{}), Invalid: "discount.currency"},
		{Name: "negative discount", When: discount(gbp(-1)), Invalid: "discount.minor_units"},
		{Name: "discount in another currency", When: discount(eur(1)), Invalid: "discount.currency"},
		{Name: "year 10000 in UTC", When: placedAt(9999), Invalid: "placed_at"},
		{Name: "year 0", When: placedAt(-1), Invalid: "placed_at"},
		{Name: "payment without currency", Given: histories["placed"], When: order.ReceivePayment{}, Invalid: "amount.currency"},
		{Name: "no reason", Given: histories["placed"], When: order.CancelOrder{}, Invalid: "reason"},
		{Name: "reason too long", Given: histories["placed"], When: order.CancelOrder{Reason: strings.Repeat("x", 1001)}, Invalid: "reason"},
		{Name: "reason is no UTF-8", Given: histories["placed"], When: order.CancelOrder{Reason: "\xff"}, Invalid: "reason"},
	})
	for _, c := range []processing.Validator{
		discount(gbp(0)), placedAt(9998), placedAt(0), order.CancelOrder{Reason: strings.Repeat("é", 500)},
	} {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
