package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
)

// readYourWrites has clients write and at once query with the position of their write.
func readYourWrites(t *testing.T, u *suite) {
	const clients, writes = 4, 15
	var group errgroup.Group
	var mu sync.Mutex
	for n := range clients {
		group.Go(func() error {
			who, spent := u.id("reader-%d", n), int64(0)
			for i := range writes {
				id, pence := u.id("read-%d-%d", n, i), int64(10+i)
				a, err := try(t.Context(), http.MethodPost, u.system.Commands()+"/v1/orders/"+id+"/place-order", placing(who, pence))
				if err != nil || a.Status != http.StatusCreated {
					return fmt.Errorf("placing %s: %s, %w", id, a, err)
				}
				mu.Lock()
				u.placed[id] = placed{who, pence, a.position()}
				mu.Unlock()
				order, err := try(t.Context(), http.MethodGet, u.system.Queries()+"/v1/orders/"+id, "", "Ledgerline-Position", a.position())
				if err != nil || order.Status != http.StatusOK {
					return fmt.Errorf("order %s at %s: %s, %w", id, a.position(), order, err)
				}
				spent += pence
				if err := u.sees(t.Context(), who, a.position(), spent); err != nil {
					return err
				}
				entries, err := try(t.Context(), http.MethodGet, u.system.Queries()+"/v1/customers/"+who+"/orders?limit=500", "", "Ledgerline-Position", a.position())
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
	all, err := list[customer](t.Context(), u, "/v1/customers", url.Values{"currency": {"GBP"}, "sort": {"-total_spent"}, "limit": {"3"}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int64{}
	for i, one := range all {
		if _, twice := seen[one.CustomerID]; twice || i > 0 && one.spent() > all[i-1].spent() {
			t.Errorf("%s is twice in the ranking, or in the wrong place", one.CustomerID)
		}
		seen[one.CustomerID] = one.spent()
	}
	for n := range clients {
		if got, want := seen[u.id("reader-%d", n)], int64(writes*10+writes*(writes-1)/2); got != want {
			t.Errorf("reader %d spent %d in the ranking, want %d", n, got, want)
		}
	}
}

// eventsByAggregate lists the events of one account, over HTTP and by rebuild.
func eventsByAggregate(t *testing.T, u *suite) {
	id := u.id("listed")
	var position string
	for _, command := range [][2]string{
		{"create-account", `{"account_name":"Ada","initial_balance":{"minor_units":100,"currency":"GBP"}}`},
		{"deposit-money", paying(50)}, {"withdraw-money", paying(30)},
	} {
		a := u.post(t, "/v1/accounts/"+id+"/"+command[0], command[1])
		if a.Status != http.StatusCreated {
			t.Fatalf("%s: %s", command[0], a)
		}
		position = a.position()
	}
	if a := u.get(t, "/v1/accounts/"+id, "Ledgerline-Position", position); !strings.Contains(string(a.Body), `"balance":{"minor_units":120,"currency":"GBP"}`) {
		t.Errorf("the account is shown as %s", a)
	}
	type event struct {
		Type    string `json:"type"`
		Version int64  `json:"version"`
	}
	want := []event{{"AccountCreated", 1}, {"MoneyDeposited", 2}, {"MoneyWithdrawn", 3}}
	var page struct {
		Items []event `json:"items"`
	}
	u.get(t, "/v1/accounts/"+id+"/events", "Ledgerline-Position", position).into(t, &page)
	if fmt.Sprint(page.Items) != fmt.Sprint(want) {
		t.Errorf("got events %v", page.Items)
	}
	var printed []event
	for line := range strings.Lines(u.must(t, "rebuild", "events", "account", id, "-o", "json")) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		printed = append(printed, e)
	}
	if fmt.Sprint(printed) != fmt.Sprint(want) {
		t.Errorf("rebuild prints events %v", printed)
	}
}

// sent is how many commands sendFile sends, an order each of the same customers.
const sent, sentCustomers = 2000, 20

// sendFile sends many commands at once, and again: they are decided once.
func sendFile(t *testing.T, u *suite) {
	var file bytes.Buffer
	for i := range sent {
		id, who := u.id("sent-%d", i), u.id("sent-to-%d", i%sentCustomers)
		fmt.Fprintf(&file, `{"aggregate":"order","id":%q,"command":"PlaceOrder","data":%s}`+"\n", id, placing(who, int64(100+i)))
	}
	for round := range 2 {
		e := u.end(t, file.Bytes(), Ingest, "send", "-", "--name", u.id("file"), "-o", "json")
		var got struct{ Commands, Accepted, Repeated int }
		lines := strings.Split(strings.TrimSpace(e.Stdout), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil || e.Code != 0 {
			t.Fatalf("round %d: exit %d, %v: %s%s", round, e.Code, err, e.Stdout, e.Stderr)
		}
		if got.Commands != sent || got.Accepted != sent || got.Repeated != round*sent {
			t.Errorf("round %d: %s", round, e.Stdout)
		}
	}
	for i := range sent {
		u.placed[u.id("sent-%d", i)] = placed{customer: u.id("sent-to-%d", i%sentCustomers), pence: int64(100 + i)}
	}
}
