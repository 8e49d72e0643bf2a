package customerorders_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/processingtest"
	"github.com/ledgerline/ledgerline/processing/projection/customerorders"
	"github.com/ledgerline/ledgerline/readstore"
)

var total = processing.Money{MinorUnits: 1250, Currency: "GBP"}

func event(data any) processing.Event {
	return processing.Event{
		Aggregate: "order", AggregateID: "o-1", Type: reflect.TypeOf(data).Name(), Data: data, Version: 7,
		Time: time.Date(2026, 3, 1, 13, 0, 0, 5_000_000, time.FixedZone("", 3600)),
	}
}

func sum(field string, delta int64) readstore.Op {
	return readstore.Op{Kind: readstore.AddSum, ID: "c-1", Field: field, Delta: delta}
}

func spent(delta int64) readstore.Op {
	op := sum("GBP/total_spent", delta)
	op.Rank = "total_spent:GBP"
	return op
}

func entry(status string) readstore.Op {
	return readstore.Op{
		Kind: readstore.SetEntry, ID: "c-1", Field: "o-1",
		Value: `{"order_id":"o-1","status":"` + status + `","version":7,"updated_at":"2026-03-01T12:00:00.005Z"}`,
	}
}

func TestOperationsOfEachEvent(t *testing.T) {
	cancelled := func(from order.Status) order.OrderCancelled {
		return order.OrderCancelled{OrderID: "o-1", CustomerID: "c-1", TotalAmount: total, PreviousStatus: from, Reason: "late"}
	}
	for _, c := range []struct {
		data any
		want []readstore.Op
	}{
		{
			order.OrderPlaced{OrderID: "o-1", CustomerID: "c-1", TotalAmount: total},
			[]readstore.Op{sum("GBP/orders", 1), spent(1250), sum("placed", 1), entry("placed")},
		},
		{
			order.PaymentReceived{OrderID: "o-1", CustomerID: "c-1", Amount: total},
			[]readstore.Op{sum("placed", -1), sum("paid", 1), entry("paid")},
		},
		{
			order.OrderShipped{OrderID: "o-1", CustomerID: "c-1"},
			[]readstore.Op{sum("paid", -1), sum("shipped", 1), entry("shipped")},
		},
		{
			cancelled(order.Placed),
			[]readstore.Op{sum("GBP/orders", -1), spent(-1250), sum("placed", -1), sum("cancelled", 1), entry("cancelled")},
		},
		{
			cancelled(order.Paid),
			[]readstore.Op{sum("GBP/orders", -1), spent(-1250), sum("paid", -1), sum("cancelled", 1), entry("cancelled")},
		},
	} {
		got, err := customerorders.ReadModel.Project(event(c.data))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %v\ngot  %+v\nwant %+v", c.data, err, got, c.want)
		}
	}
	for _, c := range []struct {
		data any
		want string
	}{
		{cancelled("UNKNOWN"), `unknown status "UNKNOWN"`},
		{cancelled(order.Shipped), `unknown status "SHIPPED"`},
		{struct{}{}, "unknown event"},
	} {
		if ops, err := customerorders.ReadModel.Project(event(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: want %q, got %v and %v", c.data, c.want, err, ops)
		}
	}
}

func TestView(t *testing.T) {
	for _, c := range []struct {
		sums map[string]int64
		want string
	}{
		{
			map[string]int64{
				"USD/orders": 1, "USD/total_spent": 99, "GBP/orders": 2, "GBP/total_spent": 1300, "EUR/orders": 0, "EUR/total_spent": 0,
				"placed": 1, "paid": 2, "shipped": 3, "cancelled": 4,
			},
			`{"customer_id":"c-1","currencies":[{"currency":"EUR","orders":0,"total_spent":0},` +
				`{"currency":"GBP","orders":2,"total_spent":1300},{"currency":"USD","orders":1,"total_spent":99}],` +
				`"statuses":{"placed":1,"paid":2,"shipped":3,"cancelled":4}}`,
		},
		{map[string]int64{"placed": 0}, `{"customer_id":"c-1","currencies":[],"statuses":{"placed":0,"paid":0,"shipped":0,"cancelled":0}}`},
	} {
		view, err := customerorders.ReadModel.View("c-1", c.sums)
		if err != nil {
			t.Errorf("%v: %v", c.sums, err)
			continue
		}
		if text, err := json.Marshal(view); err != nil || string(text) != c.want {
			t.Errorf("%v: %v\ngot  %s\nwant %s", c.sums, err, text, c.want)
		}
	}
	for _, field := range []string{"returned", "GBP/refunds", "/", ""} {
		if view, err := customerorders.ReadModel.View("c-1", map[string]int64{field: 1}); err == nil {
			t.Errorf("sum %q: want an error, got %+v", field, view)
		}
	}
}

// commands places orders of few customers in two currencies and takes them on to every status.
func commands() *rapid.Generator[order.Command] {
	return rapid.Custom(func(t *rapid.T) order.Command {
		amount := processing.Money{
			MinorUnits: rapid.SampledFrom([]int64{100, 250}).Draw(t, "amount"),
			Currency:   rapid.SampledFrom([]string{"GBP", "EUR"}).Draw(t, "currency"),
		}
		switch rapid.IntRange(0, 6).Draw(t, "command") {
		case 0, 1:
			return order.PlaceOrder{CustomerID: rapid.SampledFrom([]string{"c-1", "c-2"}).Draw(t, "customer"), TotalAmount: amount}
		case 2, 3:
			return order.ReceivePayment{Amount: amount}
		case 4, 5:
			return order.ShipOrder{}
		default:
			return order.CancelOrder{Reason: "late"}
		}
	})
}

func TestLaws(t *testing.T) {
	processingtest.CheckOperations(t, customerorders.ReadModel, processingtest.Log(order.Decider, commands()))
}

// TestSumsAreThoseOfTheOrders counts the orders of each customer one by one, by a way of its own.
func TestSumsAreThoseOfTheOrders(t *testing.T) {
	type known struct {
		placed order.OrderPlaced
		status string
	}
	var shipped, cancelled int
	rapid.Check(t, func(t *rapid.T) {
		orders := map[string]known{}
		got := map[string]int64{}
		entries := map[string]string{}
		for _, e := range processingtest.Log(order.Decider, commands()).Draw(t, "log") {
			k := orders[e.AggregateID]
			switch data := e.Data.(type) {
			case order.OrderPlaced:
				k = known{placed: data, status: "placed"}
			case order.PaymentReceived:
				k.status = "paid"
			case order.OrderShipped:
				k.status = "shipped"
				shipped++
			case order.OrderCancelled:
				k.status = "cancelled"
				cancelled++
			}
			orders[e.AggregateID] = k
			ops, err := customerorders.ReadModel.Project(e)
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range ops {
				if op.Kind == readstore.SetEntry {
					entries[op.ID+" "+op.Field] = op.Value
					continue
				}
				got[op.ID+" "+op.Field] += op.Delta
			}
		}
		want := map[string]int64{}
		for id, k := range orders {
			customer, currency := k.placed.CustomerID, k.placed.TotalAmount.Currency
			want[customer+" "+k.status]++
			if k.status != "cancelled" {
				want[customer+" "+currency+"/orders"]++
				want[customer+" "+currency+"/total_spent"] += k.placed.TotalAmount.MinorUnits
			}
			var e customerorders.OrderEntry
			if err := json.Unmarshal([]byte(entries[customer+" "+id]), &e); err != nil || e.Status != k.status || e.OrderID != id {
				t.Fatalf("entry of order %s, which is %s: %+v, %v", id, k.status, e, err)
			}
		}
		maps.DeleteFunc(got, func(_ string, sum int64) bool { return sum == 0 })
		if !maps.Equal(got, want) || len(entries) != len(orders) {
			t.Fatalf("got %v with %d entries, want %v with %d", got, len(entries), want, len(orders))
		}
	})
	if shipped == 0 || cancelled == 0 {
		t.Errorf("%d orders were shipped, %d cancelled: want some of each", shipped, cancelled)
	}
}

func TestReadModelIsWhole(t *testing.T) {
	m := customerorders.ReadModel.Erase() // panics if a part is missing
	if m.Name != "customer-orders" || m.Collection != "customers" || m.KeyedAsEvents || m.Buckets(12) != 16 || m.EntriesName != "orders" {
		t.Errorf("got %+v", m)
	}
}
