package ledgerline_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples"
)

// imported is a file of commands for `ingest send`, and what there must be of it afterwards.
type imported struct {
	lines []string
	// The types of each order's events, of the order itself and of its payment.
	orders, payments map[string][]string
	// In pence: what each customer spent, what of each order was captured and given back.
	spent, captured, refunded map[string]int64
}

// importOf makes the commands of the quickstart of the first rows of the real orders.
func importOf(t *testing.T, rows int) imported {
	t.Helper()
	table, err := csv.NewReader(bytes.NewReader(examples.OnlineRetailOrders)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range table[0] {
		column[name] = i
	}
	in := imported{
		orders: map[string][]string{}, payments: map[string][]string{},
		spent: map[string]int64{}, captured: map[string]int64{}, refunded: map[string]int64{},
	}
	for _, row := range table[1 : rows+1] {
		id, who := row[column["order_id"]], row[column["customer_id"]]
		pence, err := strconv.ParseInt(row[column["amount_pence"]], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		amount := map[string]any{"amount": gbp(pence)}
		payment := map[string]any{"payment_id": "pay-" + id, "amount": gbp(pence)}
		add := func(aggregate, command string, data map[string]any) {
			in.lines = append(in.lines, jsonText(map[string]any{"aggregate": aggregate, "id": id, "command": command, "data": data}))
			events := in.orders
			if aggregate == "payment" {
				events = in.payments
			}
			events[id] = append(events[id], "ledgerline."+aggregate+"."+eventOf[command])
		}
		if row[column["kind"]] == "refund" {
			add("payment", "IssueRefund", payment)
			in.refunded[id] += pence
			continue
		}
		add("order", "PlaceOrder", map[string]any{"customer_id": who, "total_amount": gbp(pence), "placed_at": row[column["at"]]})
		add("order", "ReceivePayment", amount)
		add("payment", "CreateOrder", amount)
		add("payment", "AuthorizePayment", payment)
		add("payment", "CapturePayment", payment)
		in.spent[who] += pence
		in.captured[id] = pence
	}
	return in
}

// check holds the log and the read models to one import.
func (in imported) check(t *testing.T, c *api, p *plain) {
	t.Helper()
	sameEvents := func(a, b map[string][]string) bool { return maps.EqualFunc(a, b, slices.Equal[[]string]) }
	if !sameEvents(p.eventsOf("order"), in.orders) || !sameEvents(p.eventsOf("payment"), in.payments) {
		t.Error("the events are not those of one import")
	}
	decisions := map[string]int{}
	for _, topic := range []string{"order.outcomes", "payment.outcomes"} {
		for _, r := range p.read(topic) {
			if o := p.decode(r.Value); o["decision"].(bool) {
				decisions[topic+fmt.Sprint(o["aggregate_id"], o["command_id"])]++
			}
		}
	}
	for id, n := range decisions {
		if n != 1 {
			t.Errorf("there are %d decisions on %s", n, id)
		}
	}
	if len(decisions) != len(in.lines) {
		t.Errorf("%d commands are decided, want %d", len(decisions), len(in.lines))
	}
	await(t, "all of it in the read models", func() error { return caughtUp(t, p.conn) })
	list, err := pages[customer](c, "/v1/customers", ranking("500"), func() {})
	spent := map[string]int64{}
	for _, one := range list {
		spent[one.CustomerID] = one.spent()
	}
	if err != nil || !maps.Equal(spent, in.spent) {
		t.Errorf("the customers spent %v, want %v; %v", spent, in.spent, err)
	}
	var group errgroup.Group
	group.SetLimit(16)
	for id, captured := range in.captured {
		refunded := in.refunded[id]
		want := fmt.Sprintf(`{"captured_amount":{"minor_units":%d,"currency":"GBP"},"refunded_amount":{"minor_units":%d,"currency":"GBP"},"version":%d}`, captured, refunded, len(in.payments[id]))
		group.Go(func() error {
			a, err := c.try(http.MethodGet, "/v1/orders/"+id, "")
			if err != nil || !strings.HasPrefix(a.Header.Get("ETag"), `"2-`) {
				return fmt.Errorf("order %s: %d %s, %w", id, a.Status, a.Body, err)
			}
			return shows(c, "/v1/payments/"+id, want, nil)
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// TestTwoImportsAtOnce has two processes send the same file line by line side by side, then once more from
// the disk: there is what one import leaves.
func TestTwoImportsAtOnce(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c, p, in := newAPI(t, l.URL), newPlain(t, l.Connection), importOf(t, 420)
	const importers = 2
	send := func(file string, stdin [importers]io.Reader, more ...string) (repeated int64) {
		t.Helper()
		var all [importers]ended
		var group errgroup.Group
		for i := range all {
			group.Go(func() error {
				args := append([]string{"send", file, "-o", "json", "--log-level", "warn"}, more...)
				all[i] = runWith(t.Context(), ledgerline.RunIngest, stdin[i], append(args, connectArgs(l.Connection)...)...)
				if pipe, ok := stdin[i].(*io.PipeReader); ok {
					return pipe.Close() // so that who writes to it ends too
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		for i, e := range all {
			var s sent
			err := json.Unmarshal([]byte(e.stdout), &s)
			if want := int64(len(in.lines)); err != nil || e.code != ledgerline.ExitOK || s.Commands != want || s.Accepted != want {
				t.Errorf("importer %d: exit %d: %+v, want %d accepted, %v: %s", i, e.code, s, want, err, e.stderr)
			}
			repeated += s.Repeated
		}
		return repeated
	}

	// No line is handed out before both importers have taken the one before.
	var readers [importers]io.Reader
	var writers [importers]*io.PipeWriter
	for i := range readers {
		readers[i], writers[i] = io.Pipe()
	}
	go func() {
		for i, line := range in.lines {
			for k := range writers { // a different one is first each time
				_, _ = io.WriteString(writers[(i+k)%importers], line+"\n") // an importer that has ended is found out above
			}
		}
		for _, w := range writers {
			_ = w.Close()
		}
	}()
	if repeated, want := send("-", readers, "--name", "orders"), int64(len(in.lines)); repeated != want {
		t.Errorf("%d commands are repeats, want the %d that the other importer had sent first", repeated, want)
	}
	in.check(t, c, p)

	file := filepath.Join(t.TempDir(), "orders")
	writeLines(t, file, in.lines)
	if repeated, want := send(file, [importers]io.Reader{}, "--restart"), int64(importers*len(in.lines)); repeated != want {
		t.Errorf("%d commands are repeats, want all %d", repeated, want)
	}
	in.check(t, c, p)
}
