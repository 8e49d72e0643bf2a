package order_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

type step = processingtest.Step[order.State, order.Command, order.Event]

// commands draws few different amounts, so that payments often match, and now and then a malformed one.
func commands() *rapid.Generator[order.Command] {
	return rapid.Custom(func(t *rapid.T) order.Command {
		amount := processing.Money{
			MinorUnits: rapid.SampledFrom([]int64{100, 200, 0, -100}).Draw(t, "amount"),
			Currency:   rapid.SampledFrom([]string{"GBP", "EUR"}).Draw(t, "currency"),
		}
		switch rapid.SampledFrom([]string{"pay", "place", "ship", "cancel", "pay", "place", "ship"}).Draw(t, "command") {
		case "place":
			c := order.PlaceOrder{CustomerID: rapid.SampledFrom([]string{"c-1", "c-2"}).Draw(t, "customer"), TotalAmount: amount}
			c.Discount = rapid.Ptr(rapid.Just(gbp(10)), true).Draw(t, "discount")
			if rapid.Bool().Draw(t, "placed before") {
				when := time.UnixMicro(rapid.Int64Range(-1e15, 1e15).Draw(t, "placed_at"))
				c.PlacedAt = &when
			}
			return c
		case "pay":
			return order.ReceivePayment{Amount: amount}
		case "ship":
			return order.ShipOrder{}
		default:
			return order.CancelOrder{Reason: rapid.SampledFrom([]string{"late", "lost", ""}).Draw(t, "reason")}
		}
	})
}

func TestLaws(t *testing.T) {
	processingtest.CheckDecider(t, order.Decider, commands(), onlyAllowedEdges, paidAsPlaced, refusalsChangeNothing, eventsNameTheOrder)
}

func onlyAllowedEdges(history []step) error {
	allowed := map[[2]order.Status]bool{
		{"", order.Placed}: true, {order.Placed, order.Paid}: true, {order.Paid, order.Shipped}: true,
		{order.Placed, order.Cancelled}: true, {order.Paid, order.Cancelled}: true,
	}
	for _, s := range history {
		from, to := s.Before.Status, s.After.Status
		if len(s.Events) > 1 || (len(s.Events) == 1) != allowed[[2]order.Status{from, to}] {
			return fmt.Errorf("%T moved the order from %q to %q with %d events", s.Command, from, to, len(s.Events))
		}
	}
	return nil
}

func paidAsPlaced(history []step) error {
	var asked, paid processing.Money
	for _, s := range history {
		for _, e := range s.Events {
			switch e := e.(type) {
			case order.OrderPlaced:
				asked = e.TotalAmount
			case order.PaymentReceived:
				paid.MinorUnits += e.Amount.MinorUnits
				paid.Currency = e.Amount.Currency
				if paid != asked {
					return fmt.Errorf("paid %s in all for an order of %s", paid, asked)
				}
			case order.OrderShipped:
				if paid != asked {
					return fmt.Errorf("shipped with %s paid for an order of %s", paid, asked)
				}
			case order.OrderCancelled:
				if e.TotalAmount != asked || (e.PreviousStatus == order.Paid) != (paid == asked) {
					return fmt.Errorf("cancelled from %s for %s: placed for %s, paid %s", e.PreviousStatus, e.TotalAmount, asked, paid)
				}
			}
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
	var customer string
	for _, s := range history {
		for _, e := range s.Events {
			var orderID, customerID string
			switch e := e.(type) {
			case order.OrderPlaced:
				customer = e.CustomerID
				orderID, customerID = e.OrderID, e.CustomerID
				if e.PlacedAt.Location() != time.UTC || !e.PlacedAt.Equal(e.PlacedAt.Truncate(time.Millisecond)) {
					return fmt.Errorf("placed_at %v is not in UTC and milliseconds", e.PlacedAt)
				}
			case order.PaymentReceived:
				orderID, customerID = e.OrderID, e.CustomerID
			case order.OrderShipped:
				orderID, customerID = e.OrderID, e.CustomerID
			case order.OrderCancelled:
				orderID, customerID = e.OrderID, e.CustomerID
			}
			if orderID != s.In.ID || customerID != customer {
				return fmt.Errorf("%T of order %s of %s names order %q of %q", e, s.In.ID, customer, orderID, customerID)
			}
		}
	}
	return nil
}
