package suite

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// folded is an order as its events make it.
type folded struct {
	customer, status string
	pence, version   int64
}

// everythingAddsUp recomputes from the log what this run must have left: each command is decided once, each
// order that was answered with 201 is placed once, and what Redis and the API show is the sum of the events.
func everythingAddsUp(t *testing.T, u *suite) {
	decisions := map[string]int{}
	accepted := 0
	for _, r := range u.kafka.read(t, u.topic("order.outcomes")) {
		o := u.kafka.decode(t, r.Value)
		if id := o["aggregate_id"].(string); strings.HasSuffix(id, u.run) && o["decision"].(bool) {
			decisions[fmt.Sprint(id, " ", o["command_id"])]++
			accepted += len(o["events"].([]any))
		}
	}
	for command, n := range decisions {
		if n != 1 {
			t.Errorf("%s is decided %d times", command, n)
		}
	}
	orders, events := u.fold(t)
	if events != accepted {
		t.Errorf("the log has %d events, the outcomes name %d", events, accepted)
	}
	for id, p := range u.placed {
		if o := orders[id]; o.customer != p.customer || o.pence != p.pence {
			t.Errorf("order %s was placed by %s for %d, and is %+v in the log", id, p.customer, p.pence, o)
		}
	}
	u.comparesOrders(t, orders)
	u.comparesCustomers(t, orders)
	u.verified(t)
	t.Logf("%d decisions, %d events, %d orders, %d of them answered", len(decisions), events, len(orders), len(u.placed))
}

// fold reads the events of this run's orders.
func (u *suite) fold(t *testing.T) (map[string]folded, int) {
	t.Helper()
	orders, events := map[string]folded{}, 0
	for _, r := range u.kafka.read(t, u.topic("order.events")) {
		id := string(r.Key)
		if !strings.HasSuffix(id, u.run) {
			continue
		}
		events++
		o := orders[id]
		o.version++
		switch e := u.kafka.decode(t, r.Value); strings.TrimPrefix(headerOf(r, "ce_type"), "ledgerline.order.") {
		case "OrderPlaced":
			o.customer, o.status = e["customer_id"].(string), "placed"
			o.pence = e["total_amount"].(map[string]any)["minor_units"].(int64)
		case "PaymentReceived":
			o.status = "paid"
		case "OrderShipped":
			o.status = "shipped"
		case "OrderCancelled":
			o.status = "cancelled"
		}
		orders[id] = o
	}
	return orders, events
}

// comparesOrders reads every order out of Redis, as a user with a Redis client would.
func (u *suite) comparesOrders(t *testing.T, orders map[string]folded) {
	t.Helper()
	client, err := u.stack.Redis()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	g := u.active(t, "order-status")
	got := map[string]folded{}
	for bucket := range g.Buckets {
		docs, err := client.HGetAll(t.Context(), fmt.Sprintf("%sledgerline:{order-status.%s.%d}:docs", u.system.Prefix(), g.ID, bucket)).Result()
		if err != nil {
			t.Fatal(err)
		}
		for id, text := range docs {
			var doc struct {
				CustomerID string `json:"customer_id"`
				Status     string `json:"status"`
				Version    int64  `json:"version"`
				Amount     struct {
					MinorUnits int64 `json:"minor_units"`
				} `json:"amount"`
			}
			if err := json.Unmarshal([]byte(text), &doc); err != nil {
				t.Fatalf("order %s is %s in Redis: %v", id, text, err)
			}
			if strings.HasSuffix(id, u.run) {
				got[id] = folded{doc.CustomerID, doc.Status, doc.Amount.MinorUnits, doc.Version}
			}
		}
	}
	if len(got) != len(orders) {
		t.Errorf("Redis has %d orders, the log %d", len(got), len(orders))
	}
	wrong := 0
	for id, want := range orders {
		if got[id] != want {
			if wrong++; wrong <= 5 { // they may all be
				t.Errorf("order %s is %+v in Redis, its events make it %+v", id, got[id], want)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d orders are wrong in Redis", wrong, len(orders))
	}
}

// comparesCustomers asks the API for every customer.
func (u *suite) comparesCustomers(t *testing.T, orders map[string]folded) {
	t.Helper()
	spent, counts := map[string]int64{}, map[string]int64{}
	for _, o := range orders {
		counts[o.customer]++
		if o.status != "cancelled" {
			spent[o.customer] += o.pence
		}
	}
	var customers []string
	for who := range spent {
		if strings.HasSuffix(who, u.run) { // others may have orders of other runs
			customers = append(customers, who)
		}
	}
	slices.Sort(customers)
	for _, who := range customers {
		a, err := try(t.Context(), http.MethodGet, u.system.Queries()+"/v1/customers/"+who, "")
		if err != nil {
			t.Fatal(err)
		}
		var c customer
		if err := json.Unmarshal(a.Body, &c); err != nil || a.Status != http.StatusOK {
			t.Errorf("customer %s: %s, %v", who, a, err)
			continue
		}
		if n := c.Statuses.Placed + c.Statuses.Paid + c.Statuses.Shipped + c.Statuses.Cancelled; c.spent() != spent[who] || n != counts[who] {
			t.Errorf("customer %s spent %d with %d orders, the log says %d and %d", who, c.spent(), n, spent[who], counts[who])
		}
	}
}
