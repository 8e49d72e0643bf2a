package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/cmd/internal/app"
	"github.com/ledgerline/ledgerline/local"
	"github.com/ledgerline/ledgerline/processing/projection/customerorders"
	"github.com/ledgerline/ledgerline/processing/projection/paymentstatus"
)

// report is what the read models say.
type report struct {
	orders, customers, total    int64
	captured, refunds, refunded int64
	best                        []customerorders.CustomerOrderSummary
}

// pageSize is how many customers one query returns.
const pageSize = 500

// readBack asks the read models: the customers by pages, best first, as any client would, and the
// payments one by one, as they are stored.
func readBack(ctx context.Context, api string, rebuild *ledgerline.Rebuild) (report, error) {
	var r report
	if err := r.readCustomers(ctx, api); err != nil {
		return r, err
	}
	err := rebuild.Documents(ctx, paymentstatus.ReadModel.Name, func(id, text string) error {
		var p paymentstatus.PaymentStatus
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return fmt.Errorf("reading payment of %s: %w", id, err)
		}
		r.captured += p.CapturedAmount.MinorUnits
		r.refunded += p.RefundedAmount.MinorUnits
		// A payment's first three events create, authorise and capture it; each one more is a refund.
		r.refunds += max(p.Version-3, 0)
		return nil
	})
	return r, err
}

func (r *report) readCustomers(ctx context.Context, api string) error {
	cursor := ""
	for {
		var page struct {
			Items []customerorders.CustomerOrderSummary `json:"items"`
			Next  string                                `json:"next"`
		}
		query := url.Values{"currency": {currency}, "sort": {"-total_spent"}, "limit": {strconv.Itoa(pageSize)}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if err := get(ctx, api+"/v1/customers?"+query.Encode(), &page); err != nil {
			return err
		}
		for _, c := range page.Items {
			r.customers++
			for _, sums := range c.Currencies {
				r.orders += sums.Orders
				r.total += sums.TotalSpent
			}
			if len(r.best) < 10 {
				r.best = append(r.best, c)
			}
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

func get(ctx context.Context, address string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return fmt.Errorf("querying %s: %w", address, err)
	}
	return nil
}

func (r report) print(out io.Writer, s Summary) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "best customers\torders\tspent\t")
	for _, c := range r.best {
		for _, sums := range c.Currencies {
			fmt.Fprintf(w, "%s\t%d\t%s %s\t\n", c.CustomerID, sums.Orders, decimal(sums.TotalSpent), sums.Currency)
		}
	}
	fmt.Fprintf(w, "all %d\t%d\t%s %s\t\n", r.customers, r.orders, decimal(r.total), currency)
	_ = w.Flush()
	fmt.Fprintf(out, "\ncaptured %s %s, of which %d refunds gave back %s\n", decimal(r.captured), currency, r.refunds, decimal(r.refunded))
	fmt.Fprintf(out, "decided %d commands at %.0f/s, folded their events at %.0f/s, rebuilt at %.0f events/s\n", s.Commands, s.CommandsPerSecond, s.EventsPerSecond, s.RebuildEventsPerSecond)
}

// decimal writes pence as pounds.
func decimal(minor int64) string {
	return fmt.Sprintf("%d.%02d", minor/100, minor%100)
}

// suggest prints lines to try.
func (f flags) suggest(_ context.Context, l *local.Local, r report, out io.Writer) {
	customer := "17850"
	if len(r.best) > 0 {
		customer = r.best[0].CustomerID
	}
	fmt.Fprintf(out, `
try, in another terminal:

  curl -si --json '{"customer_id":"%[2]s","total_amount":{"minor_units":1250,"currency":"GBP"}}' \
       -H 'Idempotency-Key: my-first' %[1]s/v1/orders/o-1/place-order
  curl -s %[1]s/v1/orders/o-1
  curl -s %[1]s/v1/customers/%[2]s
  curl -s '%[1]s/v1/customers?currency=GBP&sort=-total_spent&limit=3'

  %[3]s
  kcat -C -b %[4]s -t order.events -p 0 -o beginning -c 3 -f '%%k %%h\n' -e

  go run ./cmd/rebuild run customer-orders --promote %[5]s
  go run ./cmd/rebuild status %[5]s

Ctrl-C ends it.
`, l.URL, customer, keyLine(l, customer), l.Connection.Brokers[0], f.connectFlags(l))
}

// connectFlags are needed only where a default port was taken.
func (flags) connectFlags(l *local.Local) string {
	if l.Connection.Brokers[0] == "127.0.0.1:9092" && strings.HasSuffix(l.Connection.RegistryURL, ":8081") && strings.HasSuffix(l.Connection.RedisURL, ":6379") {
		return ""
	}
	return l.Flags()
}

// keyLine is what `processor key` prints.
func keyLine(l *local.Local, customer string) string {
	var b strings.Builder
	args := append([]string{"key", "customer-orders", customer}, strings.Fields(l.Flags())...)
	ledgerline.RunProcessor(context.Background(), app.App, ledgerline.Process{Args: args, Stdout: &b, Stderr: io.Discard})
	return strings.TrimSpace(b.String())
}

// listen listens on addr, or on the next free port above it.
func listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--http-addr %s: %w", addr, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("--http-addr %s: %w", addr, err)
	}
	if n == 0 {
		return net.Listen("tcp", addr)
	}
	for i := range 20 {
		if listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(n+i))); err == nil {
			return listener, nil
		}
	}
	return nil, fmt.Errorf("no free port from %s on: set --http-addr", addr)
}
