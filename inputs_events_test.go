package ledgerline_test

import (
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

// TestBadEvents writes an event that no projection can take behind the house's back: the processor stops
// there and says so, passes over nothing, and the aggregate's commands fail.
func TestBadEvents(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		version int64
		event   func(*plain) []byte
		says    []string // with the event's offset
		command string   // what a later command to its aggregate gets
	}{
		{"undecodable", 1, func(*plain) []byte { return []byte("\x00garbage") }, []string{"order.events/0@%d ", "cannot be decoded"}, "aggregate-unreadable"},
		{"a gap in the versions", 5, placedEvent, []string{"order/0@%d ", "the document is at version 0, the event makes version 5"}, "aggregate-unreadable"},
		{"cannot be applied", 1, func(p *plain) []byte {
			return p.encode("order.events-ledgerline.order.OrderShipped", map[string]any{"order_id": "o-bad", "customer_id": "ada"})
		}, []string{"order/0@%d ", "OrderShipped before it was placed"}, "order-not-placed"},
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
			if a := c.post("/v1/orders/o-after/place-order", placing("ada", 1)); a.Status != http.StatusCreated {
				t.Errorf("another order: %d %s", a.Status, a.Body)
			}
			why := []string{fmt.Sprintf(row.says[0], bad.Offset), row.says[1]}
			admin := newAPI(t, "http://"+processor.admin)
			await(t, "the processor says where it stops", func() error { return readyzSays(admin, why) })
			if a := queries.get("/v1/orders/o-before"); a.Status != http.StatusOK {
				t.Errorf("what was there before: %d %s", a.Status, a.Body)
			}
			processor.stop()
			ingest.stop()

			processor = unready(t, "processor", ledgerline.RunProcessor, conn, why)
			ingest = serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
			if a := newAPI(t, "http://"+processor.http).get("/v1/orders/o-after"); a.Status != http.StatusNotFound {
				t.Errorf("what comes after the bad event: %d %s", a.Status, a.Body)
			}
			c = newAPI(t, "http://"+ingest.http)
			if a := c.post("/v1/orders/o-bad/receive-payment", paying(1)); a.decided(t).Code != row.command {
				t.Errorf("a command to its aggregate: %d %s", a.Status, a.Body)
			}
			if a := c.post("/v1/orders/o-after/receive-payment", paying(1)); a.Status != http.StatusCreated {
				t.Errorf("a command to another aggregate: %d %s", a.Status, a.Body)
			}
			told := run(t, ledgerline.RunRebuild, conn, "run", "order-status")
			for _, word := range why {
				if told.code != ledgerline.ExitFailed || !strings.Contains(told.stderr, word) {
					t.Errorf("rebuild run: exit %d: %s, want %q", told.code, told.stderr, word)
				}
			}
		})
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
