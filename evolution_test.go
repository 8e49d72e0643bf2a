package ledgerline_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"testing"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/schemas"
)

// olderOrders provisions, and returns an OrderPlaced in each version.
func olderOrders(t *testing.T, p *plain, conn ledgerline.Connection) (values [][]byte) {
	t.Helper()
	const subject = "order.events-ledgerline.order.OrderPlaced"
	wrote := []map[string]any{
		{"order_id": "o-1", "customer_id": "ada", "amount": gbp(100)},
		{"order_id": "o-2", "customer_id": "ada", "amount": gbp(20), "discount": map[string]any{"ledgerline.Money": gbp(5)}},
		{"order_id": "o-3", "customer_id": "ada", "total_amount": gbp(3), "discount": nil, "placed_at": int64(1_262_304_000_000)},
	}
	for i, fields := range wrote {
		if i == len(wrote)-1 {
			provision(t, conn, 1) // it brings the newest
		} else {
			text, err := fs.ReadFile(schemas.FS, fmt.Sprintf("order/OrderPlaced.%d.avsc", i+1))
			if err != nil {
				t.Fatal(err)
			}
			p.register(subject, string(text))
		}
		values = append(values, p.encode(subject, fields))
	}
	return values
}

// TestOlderEvents has orders in one topic whose OrderPlaced is of each version that there ever was: read models,
// recovery, rebuilds and the list of events take them all for the newest.
func TestOlderEvents(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	p := newPlain(t, conn)
	values := olderOrders(t, p, conn)
	processor := serve(t, "processor", ledgerline.RunProcessor, conn)
	ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	queries := newAPI(t, "http://"+processor.http)
	if a := newAPI(t, "http://"+ingest.http).post("/v1/orders/o-0/place-order", placing("bob", 1)); a.Status != http.StatusCreated {
		t.Fatalf("placing: %d %s", a.Status, a.Body)
	}
	ingest.stop()
	for i, value := range values {
		p.append(eventRecord("order.events", fmt.Sprintf("o-%d", i+1), "ledgerline.order.OrderPlaced", 1, value))
	}
	for id, want := range map[string]string{
		// What version 1 and 2 did not know, when it was placed, is the time of the event.
		"o-1": `{"amount":{"minor_units":100,"currency":"GBP"},"placed_at":"2026-01-02T03:04:05Z","version":1}`,
		"o-2": `{"amount":{"minor_units":20,"currency":"GBP"},"discount":{"minor_units":5,"currency":"GBP"},"placed_at":"2026-01-02T03:04:05Z","version":1}`,
		"o-3": `{"amount":{"minor_units":3,"currency":"GBP"},"placed_at":"2010-01-01T00:00:00Z","version":1}`,
	} {
		await(t, id+" as the newest version has it", func() error { return shows(queries, "/v1/orders/"+id, want, nil) })
	}
	await(t, "the customer's total", func() error {
		return shows(queries, "/v1/customers/ada", `{"currencies":[{"currency":"GBP","orders":3,"total_spent":123}]}`, nil)
	})
	var events struct{ Items []listed }
	await(t, "the list of its events", func() error {
		if a := queries.get("/v1/orders/o-1/events"); a.Status != http.StatusOK {
			return fmt.Errorf("%d %s", a.Status, a.Body)
		}
		return nil
	})
	queries.get("/v1/orders/o-1/events").into(t, &events)
	if len(events.Items) != 1 {
		t.Errorf("its events: %+v", events)
	}
	ingest = serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one") // it recovers them
	c := newAPI(t, "http://"+ingest.http)
	for id, pence := range map[string]int64{"o-1": 100, "o-2": 20, "o-3": 3} {
		if a := c.post("/v1/orders/"+id+"/receive-payment", paying(pence)); a.Status != http.StatusCreated || a.decided(t).Version != 2 {
			t.Errorf("paying %s: %d %s", id, a.Status, a.Body)
		}
	}
	for _, args := range [][]string{{"run", "order-status", "--promote"}, {"verify", "customer-orders"}} {
		if told := run(t, ledgerline.RunRebuild, conn, args...); told.code != ledgerline.ExitOK {
			t.Errorf("rebuild %v: exit %d: %s", args, told.code, told.stderr)
		}
	}
}
