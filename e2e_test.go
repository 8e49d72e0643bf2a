package ledgerline_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestHTTPTour goes through what a client of the API meets, in order: each row is one request.
func TestHTTPTour(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c, log := newAPI(t, l.URL), newPlain(t, l.Connection)

	const place, pay = "/v1/orders/o-1/place-order", "/v1/orders/o-1/receive-payment"
	body := placing("ada", 1250)
	rows := []struct {
		name, path, body string
		headers          []string
		status           int
		code, field      string
		etag             string
		events           int // of the order o-1 in the log afterwards
	}{
		{name: "no such order yet", path: pay, body: paying(1250), status: 404, code: "order-not-found"},
		{name: "placed", path: place, body: body, headers: []string{"Idempotency-Key", "k-1"}, status: 201, etag: `"1"`, events: 1},
		{name: "same key", path: place, body: body, headers: []string{"Idempotency-Key", "k-1"}, status: 201, etag: `"1"`, events: 1},
		{name: "same key, quoted", path: place, body: body, headers: []string{"Idempotency-Key", `"k-1"`}, status: 201, etag: `"1"`, events: 1},
		{name: "same key, other body", path: place, body: placing("ada", 1251), headers: []string{"Idempotency-Key", "k-1"}, status: 422, code: "idempotency-key-reused", events: 1},
		{name: "same body, other key", path: place, body: body, headers: []string{"Idempotency-Key", "k-2"}, status: 409, code: "order-exists", events: 1},
		{name: "must not exist", path: place, body: body, headers: []string{"If-None-Match", "*"}, status: 412, code: "version-conflict", etag: `"1"`, events: 1},
		{name: "wrong version", path: pay, body: paying(1250), headers: []string{"If-Match", `"7"`}, status: 412, code: "version-conflict", etag: `"1"`, events: 1},
		{name: "weak version", path: pay, body: paying(1250), headers: []string{"If-Match", `W/"1"`}, status: 400, code: "invalid-precondition", field: "If-Match", events: 1},
		{name: "wrong amount", path: pay, body: paying(1249), status: 409, code: "amount-mismatch", events: 1},
		{name: "money as a float", path: pay, body: `{"amount":{"minor_units":12.50,"currency":"GBP"}}`, status: 422, code: "not-an-integer", field: "amount.minor_units", events: 1},
		{name: "unknown field", path: pay, body: `{"amount":{"minor_units":1250,"currency":"GBP"},"tip":1}`, status: 400, code: "invalid-command", field: "tip", events: 1},
		{name: "no JSON", path: pay, body: `{`, status: 400, code: "invalid-command", events: 1},
		{name: "unknown currency", path: pay, body: `{"amount":{"minor_units":1250,"currency":"gbp"}}`, status: 400, code: "invalid-command", field: "amount.currency", events: 1},
		{name: "unknown command", path: "/v1/orders/o-1/eat", body: `{}`, status: 404, code: "unknown-command", events: 1},
		{name: "id with a brace", path: "/v1/orders/o%7B1/place-order", body: body, status: 400, code: "invalid-id", field: "id", events: 1},
		{name: "right version", path: pay, body: paying(1250), headers: []string{"If-Match", `"1"`}, status: 201, etag: `"2"`, events: 2},
		{name: "paid twice", path: pay, body: paying(1250), status: 409, code: "order-not-placed", events: 2},
		{name: "shipped", path: "/v1/orders/o-1/ship-order", body: "", status: 201, etag: `"3"`, events: 3},
		{name: "cancelled too late", path: "/v1/orders/o-1/cancel-order", body: `{"reason":"changed my mind"}`, status: 409, code: "order-already-shipped", events: 3},
	}
	answers := map[string]answer{}
	for _, row := range rows {
		a := c.post(row.path, row.body, row.headers...)
		answers[row.name] = a
		d := a.decided(t)
		if a.Status != row.status || d.Code != row.code || d.Field != row.field {
			t.Errorf("%s: got %d %s", row.name, a.Status, a.Body)
		}
		media, position := "application/problem+json", false
		if row.status == http.StatusCreated {
			media, position = "application/json", true
		}
		if got := a.Header.Get("Content-Type"); got != media {
			t.Errorf("%s: content type %s, want %s", row.name, got, media)
		}
		if got := a.Header.Get("ETag"); got != row.etag {
			t.Errorf("%s: ETag %s, want %s", row.name, got, row.etag)
		}
		if got := a.position(); position != strings.HasPrefix(got, "order/") {
			t.Errorf("%s: Ledgerline-Position %q", row.name, got)
		}
		if got := len(log.events()["o-1"]); got != row.events {
			t.Errorf("%s: %d events of the order in the log, want %d", row.name, got, row.events)
		}
	}
	first := answers["placed"]
	for _, again := range []string{"same key", "same key, quoted"} {
		if a := answers[again]; string(a.Body) != string(first.Body) || a.position() != first.position() {
			t.Errorf("%s: answered %s at %s, the first time %s at %s", again, a.Body, a.position(), first.Body, first.position())
		}
	}
	d := first.decided(t)
	if d.Aggregate != "order" || d.ID != "o-1" || d.Version != 1 || len(d.Events) != 1 || d.Events[0].Type != "OrderPlaced" || d.Events[0].Version != 1 {
		t.Errorf("place-order answered %s", first.Body)
	}
	if a := c.get("/v1/orders/o-1/commands/" + d.CommandID); a.Status != http.StatusOK || string(a.Body) != string(first.Body) {
		t.Errorf("asked for the decision: %d %s", a.Status, a.Body)
	}
	last := answers["shipped"]
	shown := c.get("/v1/orders/o-1", "Ledgerline-Position", last.position())
	if shown.Status != http.StatusOK || !strings.HasPrefix(shown.Header.Get("ETag"), `"3-`) || !strings.Contains(string(shown.Body), `"shipped"`) {
		t.Errorf("order: %d %s %s", shown.Status, shown.Header.Get("ETag"), shown.Body)
	}
	for _, path := range []string{"/v1/orders/o-1", "/v1/customers/ada"} {
		tag := c.get(path, "Ledgerline-Position", last.position()).Header.Get("ETag")
		a := c.get(path, "Ledgerline-Position", last.position(), "If-None-Match", tag)
		if a.Status != http.StatusNotModified || tag == "" || a.Header.Get("ETag") != tag || a.Header.Get("Cache-Control") != "no-cache" || len(a.Body) > 0 {
			t.Errorf("%s that has not changed: %d %v %s", path, a.Status, a.Header, a.Body)
		}
	}
	// What a query shows is a version that a command may expect: it is refused for another reason.
	if a := c.post("/v1/orders/o-1/ship-order", "", "If-Match", shown.Header.Get("ETag")); a.decided(t).Code != "order-not-paid" {
		t.Errorf("expecting the version that was shown: %d %s", a.Status, a.Body)
	}
	for path, want := range map[string]string{
		"/v1/orders/o-2":       "404 not-found",
		"/v1/customers/nobody": "404 not-found",
		"/v1/orders":           "404 unknown-resource",
		"/v1/customers?currency=GBP&limit=0&sort=-total_spent": "400 invalid-parameter",
	} {
		if a := c.get(path); fmt.Sprint(a.Status, " ", a.decided(t).Code) != want {
			t.Errorf("GET %s: got %d %s, want %s", path, a.Status, a.Body, want)
		}
	}
}

// TestReadYourWrites has many clients write and at once query with the position of their write.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c := newAPI(t, l.URL)
	const clients, writes = 8, 25
	var group errgroup.Group
	for n := range clients {
		group.Go(func() error {
			who, spent := fmt.Sprintf("customer-%d", n), int64(0)
			for i := range writes {
				id := fmt.Sprintf("o-%d-%d", n, i)
				spent += int64(10 + i)
				a, err := c.try(http.MethodPost, "/v1/orders/"+id+"/place-order", placing(who, int64(10+i)))
				if err != nil || a.Status != http.StatusCreated {
					return fmt.Errorf("placing %s: %d %s, %w", id, a.Status, a.Body, err)
				}
				order, err := c.try(http.MethodGet, "/v1/orders/"+id, "", "Ledgerline-Position", a.position())
				if err != nil || order.Status != http.StatusOK {
					return fmt.Errorf("order %s at %s: %d %s, %w", id, a.position(), order.Status, order.Body, err)
				}
				if err := sees(c, who, a.position(), spent); err != nil {
					return err
				}
				entries, err := c.try(http.MethodGet, "/v1/customers/"+who+"/orders?limit=500", "", "Ledgerline-Position", a.position())
				if got := strings.Count(string(entries.Body), `"order_id"`); err != nil || got != i+1 {
					return fmt.Errorf("%s has %d orders listed, want %d: %w", who, got, i+1, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}

	spent := func(n int) int64 { return writes*10 + writes*(writes-1)/2 }
	list, err := pages[customer](c, "/v1/customers", ranking("3"), func() {})
	if err != nil || len(list) != clients {
		t.Fatalf("got %d customers page by page, want %d: %v", len(list), clients, err)
	}
	for i, one := range list {
		if one.spent() != spent(i) || one.Statuses.Placed != writes {
			t.Errorf("got %+v", one)
		}
		if slices.ContainsFunc(list[:i], func(o customer) bool { return o.CustomerID == one.CustomerID }) {
			t.Errorf("%s is on two pages", one.CustomerID)
		}
	}
	type entry struct {
		OrderID string `json:"order_id"`
		Status  string `json:"status"`
	}
	entries, err := pages[entry](c, "/v1/customers/customer-3/orders", url.Values{"limit": {"4"}}, func() {})
	if err != nil || len(entries) != writes {
		t.Fatalf("got %d orders page by page, want %d: %v", len(entries), writes, err)
	}
	if !slices.IsSortedFunc(entries, func(a, b entry) int { return strings.Compare(a.OrderID, b.OrderID) }) {
		t.Errorf("orders are not in order: %v", entries)
	}
}

// sees returns an error unless the customer has spent exactly so much as of the position. It asks again while
// the read model says that it is behind: on a busy machine it may be.
func sees(c *api, who, position string, pence int64) error {
	a, err := c.try(http.MethodGet, "/v1/customers/"+who, "", "Ledgerline-Position", position)
	for end := time.Now().Add(patience); err == nil && strings.Contains(string(a.Body), "read-model-behind") && time.Now().Before(end); {
		a, err = c.try(http.MethodGet, "/v1/customers/"+who, "", "Ledgerline-Position", position)
	}
	if err != nil {
		return err
	}
	if a.Status != http.StatusOK {
		return fmt.Errorf("customer %s at %s: %d %s", who, position, a.Status, a.Body)
	}
	var seen customer
	if err := json.Unmarshal(a.Body, &seen); err != nil {
		return err
	}
	if seen.spent() != pence {
		return fmt.Errorf("customer %s at %s spent %d, want %d", who, position, seen.spent(), pence)
	}
	return nil
}
