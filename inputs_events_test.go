package ledgerline_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline"
)

// unready starts a binary and waits until it says why it is not ready.
func unready(t *testing.T, name string, main program, conn ledgerline.Connection, words []string, more ...string) *served {
	t.Helper()
	s := begin(t, name, main, conn, more...)
	c := newAPI(t, "http://"+s.admin)
	await(t, name+" says why it is not ready", func() error { return readyzSays(c, words) })
	return s
}

// readyzSays returns an error unless /readyz refuses with all of these words.
func readyzSays(admin *api, words []string) error {
	a, err := admin.try(http.MethodGet, "/readyz", "")
	if err != nil {
		return err
	}
	for _, word := range words {
		if a.Status != http.StatusServiceUnavailable || !strings.Contains(string(a.Body), word) {
			return fmt.Errorf("it says %d %s, want %q", a.Status, a.Body, words)
		}
	}
	return nil
}

// TestBadEvents writes an event that no projection can take behind the house's back: its aggregate is parked, all
// else goes on, and the aggregate's commands fail.
func TestBadEvents(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		version int64
		event   func(*plain) []byte
		says    string // about the event
		command string // what a later command to its aggregate gets
	}{
		{"undecodable", 1, func(*plain) []byte { return []byte("\x00garbage") }, "cannot be decoded", "aggregate-unreadable"},
		{"a gap in the versions", 5, placedEvent, "the document is at version 0, the event makes version 5", "aggregate-unreadable"},
		{"cannot be applied", 1, func(p *plain) []byte {
			return p.encode("order.events-ledgerline.order.OrderShipped", map[string]any{"order_id": "o-bad", "customer_id": "ada"})
		}, "OrderShipped before it was placed", "order-not-placed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, conn := startEmbedded(t, "")
			provision(t, conn, 1) // so everything comes after the bad one
			processor := serve(t, "processor", ledgerline.RunProcessor, conn)
			ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
			c, queries, p := newAPI(t, "http://"+ingest.http), newAPI(t, "http://"+processor.http), newPlain(t, conn)
			before := c.post("/v1/orders/o-before/place-order", placing("ada", 1))
			if a := queries.get("/v1/orders/o-before", "Ledgerline-Position", before.position()); a.Status != http.StatusOK {
				t.Fatalf("the order before: %d %s", a.Status, a.Body)
			}
			bad := eventRecord("order.events", "o-bad", "ledgerline.order.Any", row.version, row.event(p))
			p.append(bad)
			after := c.post("/v1/orders/o-after/place-order", placing("ada", 1))
			if a := queries.get("/v1/orders/o-after", "Ledgerline-Position", after.position()); a.Status != http.StatusOK {
				t.Errorf("an order after it: %d %s", a.Status, a.Body)
			}
			listed := func() {
				t.Helper()
				for _, words := range [][]string{{"list"}, {"show", "order-status:order/o-bad"}} {
					told := letters(t, conn, ledgerline.ExitOK, words...)
					for _, word := range []string{"order-status:order/o-bad", fmt.Sprintf("order/0@%d", bad.Offset), row.says} {
						if !strings.Contains(told, word) {
							t.Errorf("%s says %s, want %q", words, told, word)
						}
					}
				}
			}
			listed()
			if told := letters(t, conn, ledgerline.ExitFailed, "redrive", "order-status:order/o-bad"); !strings.Contains(told, "applied: 0; that wait: 1, since event at order/0@") || !strings.Contains(told, row.says) {
				t.Errorf("a redrive that changes nothing says %s", told)
			}
			processor.stop()
			ingest.stop()

			processor = serve(t, "processor", ledgerline.RunProcessor, conn)
			ingest = serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
			c = newAPI(t, "http://"+ingest.http)
			if a := c.post("/v1/orders/o-bad/receive-payment", paying(1)); a.decided(t).Code != row.command {
				t.Errorf("a command to its aggregate: %d %s", a.Status, a.Body)
			}
			paid := c.post("/v1/orders/o-after/receive-payment", paying(1))
			if a := newAPI(t, "http://"+processor.http).get("/v1/orders/o-after", "Ledgerline-Position", paid.position()); a.Status != http.StatusOK || !strings.Contains(string(a.Body), `"version":2`) {
				t.Errorf("another order, paid: %d %s", a.Status, a.Body)
			}
			told := run(t, ledgerline.RunRebuild, conn, "run", "order-status", "--promote")
			if told.code != ledgerline.ExitOK || !strings.Contains(told.stdout, "parked aggregates, taken as they are: 1; this binary could redrive: 0") {
				t.Errorf("rebuild run: exit %d: %s%s", told.code, told.stdout, told.stderr)
			}
			listed()
		})
	}
}

// TestRedriveOfAnAggregate writes an event whose schema is registered later: the events of its aggregate wait in
// order, in all read models, and are applied once the schema is there.
func TestRedriveOfAnAggregate(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	provision(t, conn, 1)
	processor := serve(t, "processor", ledgerline.RunProcessor, conn)
	queries, p := newAPI(t, "http://"+processor.http), newPlain(t, conn)
	const subject = "order.events-ledgerline.order.OrderPlaced"
	p.evolve("order.events-ledgerline.order.OrderCancelled")
	missing := p.newest("order.events-ledgerline.order.OrderCancelled") + 1 // the id of the next schema
	placed := p.encode(subject, map[string]any{"order_id": "o-1", "customer_id": "ada", "total_amount": gbp(1), "discount": nil, "placed_at": int64(0)})
	placed = append(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(missing)), placed[5:]...), "\x06web"...)
	paid := p.encode("order.events-ledgerline.order.PaymentReceived", map[string]any{"order_id": "o-1", "customer_id": "ada", "amount": gbp(1)})
	p.append(eventRecord("order.events", "o-1", "ledgerline.order.OrderPlaced", 1, placed))
	p.append(eventRecord("order.events", "o-1", "ledgerline.order.PaymentReceived", 2, paid))
	ids := []string{"order-status:order/o-1", "customer-orders:order/o-1", "history:order/o-1"}
	await(t, "the order is parked", func() error {
		told := letters(t, conn, ledgerline.ExitOK, "list", "--aggregate", "order")
		for _, id := range ids {
			if !strings.Contains(told, id) || strings.Count(told, "schema id "+itoa(missing)) != len(ids) {
				return fmt.Errorf("%s is not in %s", id, told)
			}
		}
		return nil
	})
	letters(t, conn, ledgerline.ExitMisuse, append([]string{"redrive", "order-status:order/o-2"}, ids...)...)
	if told := letters(t, conn, ledgerline.ExitFailed, append([]string{"redrive", "--dry-run"}, ids...)...); strings.Count(told, "would be applied: 0; that wait: 2") != len(ids) {
		t.Errorf("a dry run before the schema is there: %s", told)
	}

	p.evolve(subject)
	if id := p.newest(subject); id != missing {
		t.Fatalf("the schema has id %d, want %d", id, missing)
	}
	for _, words := range [][]string{{"redrive", "--dry-run"}, {"redrive"}} {
		if told := letters(t, conn, ledgerline.ExitOK, append(words, ids...)...); strings.Count(told, "applied: 2\n") != len(ids) {
			t.Errorf("%s says %s", words, told)
		}
	}
	shipped := p.encode("order.events-ledgerline.order.OrderShipped", map[string]any{"order_id": "o-1", "customer_id": "ada"})
	p.append(eventRecord("order.events", "o-1", "ledgerline.order.OrderShipped", 3, shipped))
	await(t, "the order is shipped", func() error {
		return shows(queries, "/v1/orders/o-1", `{"status":"shipped","version":3}`, nil)
	})
	if told := letters(t, conn, ledgerline.ExitOK, "list"); strings.Contains(told, "o-1") {
		t.Errorf("still parked: %s", told)
	}
	letters(t, conn, ledgerline.ExitMisuse, "redrive", ids[0])
	for _, model := range []string{"order-status", "customer-orders", "history"} {
		if told := run(t, ledgerline.RunRebuild, conn, "verify", model); told.code != ledgerline.ExitOK {
			t.Errorf("verify %s: exit %d: %s%s", model, told.code, told.stdout, told.stderr)
		}
	}
}

func placedEvent(p *plain) []byte {
	return p.encode("order.events-ledgerline.order.OrderPlaced", map[string]any{
		"order_id": "o-bad", "customer_id": "ada", "total_amount": gbp(1), "discount": nil, "placed_at": int64(0),
	})
}

// TestEventsBelow repeats an event: what has its version already passes over it.
func TestEventsBelow(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	provision(t, conn, 1)
	processor := serve(t, "processor", ledgerline.RunProcessor, conn)
	ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	c, queries, p := newAPI(t, "http://"+ingest.http), newAPI(t, "http://"+processor.http), newPlain(t, conn)
	create, deposit, withdraw := accountRules()[0].when, act{"DepositMoney", map[string]any{"amount": gbp(500)}}, act{"WithdrawMoney", map[string]any{"amount": gbp(1)}}
	for _, a := range []act{create, deposit} {
		if got, err := postAct(c, "account", "a-1", a); err != nil || got.Status != http.StatusCreated {
			t.Fatalf("%s: %d %s, %v", a.command, got.Status, got.Body, err)
		}
	}
	p.append(eventRecord("account.events", "a-1", "ledgerline.account.MoneyDeposited", 2,
		p.encode("account.events-ledgerline.account.MoneyDeposited", map[string]any{"account_id": "a-1", "amount": gbp(500)})))
	last, err := postAct(c, "account", "a-1", withdraw)
	if err != nil || last.Status != http.StatusCreated {
		t.Fatalf("withdrawing: %d %s, %v", last.Status, last.Body, err)
	}
	if err := shows(queries, "/v1/accounts/a-1", `{"balance":{"minor_units":1499,"currency":"GBP"},"version":3}`, []string{"Ledgerline-Position", last.position()}); err != nil {
		t.Error(err)
	}
	if h := healthcheck(ledgerline.RunProcessor, processor.admin); h.code != ledgerline.ExitOK {
		t.Errorf("the processor is not ready: %s", h.stderr)
	}
	// Who decides from the log must not guess which of the two is right.
	ingest.stop()
	ingest = serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	if got, err := postAct(newAPI(t, "http://"+ingest.http), "account", "a-1", withdraw); err != nil || got.decided(t).Code != "aggregate-unreadable" || got.Status != http.StatusInternalServerError {
		t.Errorf("a command to its aggregate: %d %s, %v", got.Status, got.Body, err)
	}
}
