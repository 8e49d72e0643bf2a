package orderstatus

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
)

var (
	noon     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	placedAt = time.Date(2010, 12, 1, 8, 26, 0, 5_000_000, time.UTC)
	total    = processing.Money{MinorUnits: 1250, Currency: "GBP"}
	discount = processing.Money{MinorUnits: 250, Currency: "GBP"}

	placed    = order.OrderPlaced{OrderID: "o-1", CustomerID: "c-1", TotalAmount: total, PlacedAt: placedAt}
	paid      = order.PaymentReceived{OrderID: "o-1", CustomerID: "c-1", Amount: total}
	shipped   = order.OrderShipped{OrderID: "o-1", CustomerID: "c-1"}
	cancelled = order.OrderCancelled{OrderID: "o-1", CustomerID: "c-1", TotalAmount: total, PreviousStatus: order.Placed, Reason: "late"}
)

// foldAll folds events an hour apart from noon, keeping Version as the engine does.
func foldAll(events ...any) (OrderStatus, error) {
	var doc OrderStatus
	for i, data := range events {
		e := processing.Event{
			Aggregate: "order", AggregateID: "o-1", Type: typeOf(data), Data: data,
			Version: int64(i + 1), Time: noon.Add(time.Duration(i) * time.Hour).In(time.FixedZone("", 3600)),
		}
		if err := ReadModel.Fold(&doc, e); err != nil {
			return doc, err
		}
		doc.Version = e.Version
	}
	return doc, nil
}

func typeOf(data any) string {
	switch data.(type) {
	case order.OrderPlaced:
		return "OrderPlaced"
	case order.PaymentReceived:
		return "PaymentReceived"
	case order.OrderShipped:
		return "OrderShipped"
	case order.OrderCancelled:
		return "OrderCancelled"
	}
	return "OrderReturned"
}

func TestDocumentAfterEachEvent(t *testing.T) {
	discounted := placed
	discounted.Discount = &discount
	const about = `"order_id":"o-1","customer_id":"c-1","amount":{"minor_units":1250,"currency":"GBP"},`
	const when = `"placed_at":"2010-12-01T08:26:00.005Z"`
	for _, c := range []struct {
		name   string
		events []any
		want   string
	}{
		{"placed", []any{placed}, `{"version":1,` + about + `"status":"placed",` + when + `}`},
		{
			"placed with discount", []any{discounted},
			`{"version":1,` + about + `"discount":{"minor_units":250,"currency":"GBP"},"status":"placed",` + when + `}`,
		},
		{"paid", []any{placed, paid}, `{"version":2,` + about + `"status":"paid",` + when + `,"paid_at":"2026-03-01T13:00:00Z"}`},
		{
			"shipped", []any{placed, paid, shipped},
			`{"version":3,` + about + `"status":"shipped",` + when + `,"paid_at":"2026-03-01T13:00:00Z","shipped_at":"2026-03-01T14:00:00Z"}`,
		},
		{
			"cancelled before payment", []any{placed, cancelled},
			`{"version":2,` + about + `"status":"cancelled",` + when + `,"cancelled_at":"2026-03-01T13:00:00Z","reason":"late"}`,
		},
		{
			"cancelled after payment", []any{placed, paid, cancelled},
			`{"version":3,` + about + `"status":"cancelled",` + when + `,"paid_at":"2026-03-01T13:00:00Z","cancelled_at":"2026-03-01T14:00:00Z","reason":"late"}`,
		},
	} {
		doc, err := foldAll(c.events...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		text, err := json.Marshal(doc)
		if err != nil || string(text) != c.want {
			t.Errorf("%s: got %s, %v\nwant %s", c.name, text, err, c.want)
		}
		var back OrderStatus
		if err := json.Unmarshal(text, &back); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != c.want {
			t.Errorf("%s: read back and written: %s, %v", c.name, again, err)
		}
	}
}

func TestEventsThatCannotBeApplied(t *testing.T) {
	for _, c := range []struct {
		events []any
		want   string
	}{
		{[]any{paid}, "PaymentReceived before it was placed"},
		{[]any{shipped}, "OrderShipped before it was placed"},
		{[]any{cancelled}, "OrderCancelled before it was placed"},
		{[]any{placed, placed}, "placed twice"},
		{[]any{placed, "returned"}, "unknown event OrderReturned"},
	} {
		if doc, err := foldAll(c.events...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v and %+v", c.want, err, doc)
		}
	}
}

func TestReadModelIsWhole(t *testing.T) {
	m := ReadModel.Erase() // panics if a part is missing
	if m.Name != "order-status" || m.Collection != "orders" || !m.KeyedAsEvents || m.Buckets(12) != 12 || m.Aggregates[0] != order.Decider.Aggregate {
		t.Errorf("got %+v", m)
	}
}
