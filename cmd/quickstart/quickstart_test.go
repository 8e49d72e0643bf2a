package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/ledgerline/ledgerline/examples"
)

func TestMain(m *testing.M) {
	// Closing a client of Kafka leaves this goroutine behind now and then: see processing/kafka.
	goleak.VerifyTestMain(tests{m}, goleak.IgnoreTopFunction("github.com/twmb/franz-go/pkg/kgo.(*fetchManager).manageFetchConcurrency"))
}

// tests drops the idle connections of the default client before goroutines are counted.
type tests struct{ *testing.M }

func (t tests) Run() int {
	defer http.DefaultClient.CloseIdleConnections()
	return t.M.Run()
}

// patience is how long a run may take on a busy machine with the race detector.
const patience = 2 * time.Minute

// transcript keeps what is written to it, and lets a test wait for it.
type transcript struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newTranscript() *transcript { return &transcript{changed: make(chan struct{}, 1)} }

func (w *transcript) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
	return w.text.Write(b)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// lastLine returns the summary on the last line, and fails on anything else after or in it.
func lastLine(t *testing.T, stdout string) Summary {
	t.Helper()
	all := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	var s Summary
	d := json.NewDecoder(strings.NewReader(all[len(all)-1]))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil || d.More() {
		t.Fatalf("the last line is %q: %v", all[len(all)-1], err)
	}
	return s
}

func (s Summary) withoutRates() Summary {
	s.CommandsPerSecond, s.EventsPerSecond, s.RebuildEventsPerSecond = 0, 0, 0
	return s
}

// once runs with --once --json on a file.
func once(t *testing.T, file string) Summary {
	t.Helper()
	var stdout, stderr bytes.Buffer
	f := flags{Once: true, JSON: true, Data: file, HTTPAddr: "127.0.0.1:0"}
	if err := f.run(t.Context(), &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	if n := strings.Count(stdout.String(), "\n"); n != 1 {
		t.Errorf("%d lines on stdout, want the JSON alone: %s", n, &stdout)
	}
	if !strings.Contains(stderr.String(), "best customers") {
		t.Errorf("no table on stderr: %s", &stderr)
	}
	return lastLine(t, stdout.String())
}

// TestFullRun imports all orders and serves; what it says is what is in Redis.
func TestFullRun(t *testing.T) {
	stdout, stderr := newTranscript(), newTranscript()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan error, 1)
	go func() {
		ended <- flags{JSON: true, HTTPAddr: "127.0.0.1:8080"}.run(ctx, stdout, stderr)
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for !strings.Contains(stderr.String(), "Ctrl-C ends it") {
		select {
		case <-stderr.changed:
		case err := <-ended:
			t.Fatalf("ended: %v\n%s", err, stderr)
		case <-timeout.C:
			t.Fatalf("it does not serve after %s: %s", patience, stderr)
		}
	}
	got := lastLine(t, stdout.String())
	want := Summary{
		Commands: 44578, Accepted: 44578, Orders: 8589, Customers: 2931, TotalSpentMinor: 388897174,
		CapturedMinor: 388897174, Refunds: 1633, RefundedMinor: 16665033, RebuildVerified: true,
	}
	if got.withoutRates() != want || got.CommandsPerSecond <= 0 || got.EventsPerSecond <= 0 || got.RebuildEventsPerSecond <= 0 {
		t.Errorf("got %+v, want %+v and rates", got, want)
	}
	customers, orders, total := sumsInRedis(t, stderr.String())
	if customers != want.Customers || orders != want.Orders || total != want.TotalSpentMinor {
		t.Errorf("Redis holds %d customers, %d orders and %d pence", customers, orders, total)
	}
	captured, refunded := paymentsInRedis(t, stderr.String())
	if captured != want.CapturedMinor || refunded != want.RefundedMinor {
		t.Errorf("Redis holds %d pence captured and %d refunded", captured, refunded)
	}
	// What it suggests works: the API line is there and answers.
	api := regexp.MustCompile(`http://127\.0\.0\.1:\d+/v1/customers/\d+`).FindString(stderr.String())
	response, err := http.Get(api)
	if err != nil {
		t.Fatalf("asking %s: %v", api, err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", api, response.Status)
	}
	for _, line := range []string{"redis-cli -u redis://127.0.0.1:", "kcat -C -b 127.0.0.1:", "go run ./cmd/rebuild run customer-orders --promote"} {
		if !strings.Contains(stderr.String(), line) {
			t.Errorf("it does not suggest %s: %s", line, stderr)
		}
	}

	began := time.Now()
	interrupt()
	if err := <-ended; err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Ctrl-C took %s", took)
	}
}

// sumsInRedis adds up the sums of all buckets of the active generation, with a reader that knows the
// public keys and nothing of the product's code.
func sumsInRedis(t *testing.T, stderr string) (customers, orders, total int64) {
	t.Helper()
	ctx, client := t.Context(), redisOf(t, stderr)
	active, err := client.Get(ctx, "ledgerline:{customer-orders}:active").Result()
	if err != nil {
		t.Fatal(err)
	}
	for bucket := range 16 {
		sums, err := client.HGetAll(ctx, fmt.Sprintf("ledgerline:{customer-orders.%s.%d}:sums", active, bucket)).Result()
		if err != nil {
			t.Fatal(err)
		}
		for field, text := range sums {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case strings.HasSuffix(field, "/GBP/total_spent"):
				customers, total = customers+1, total+n
			case strings.HasSuffix(field, "/GBP/orders"):
				orders += n
			}
		}
	}
	return customers, orders, total
}

// paymentsInRedis adds up the documents of all buckets of the active generation, in the same way.
func paymentsInRedis(t *testing.T, stderr string) (captured, refunded int64) {
	t.Helper()
	ctx, client := t.Context(), redisOf(t, stderr)
	active, err := client.Get(ctx, "ledgerline:{payment-status}:active").Result()
	if err != nil {
		t.Fatal(err)
	}
	for partition := range 12 {
		documents, err := client.HVals(ctx, fmt.Sprintf("ledgerline:{payment-status.%s.%d}:docs", active, partition)).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range documents {
			type money struct {
				MinorUnits int64 `json:"minor_units"`
			}
			var payment struct {
				CapturedAmount money `json:"captured_amount"`
				RefundedAmount money `json:"refunded_amount"`
			}
			if err := json.Unmarshal([]byte(text), &payment); err != nil {
				t.Fatal(err)
			}
			captured += payment.CapturedAmount.MinorUnits
			refunded += payment.RefundedAmount.MinorUnits
		}
	}
	return captured, refunded
}

// redisOf connects to the Redis that a run says it has.
func redisOf(t *testing.T, stderr string) *redis.Client {
	t.Helper()
	address := regexp.MustCompile(`redis://[0-9.:]+`).FindString(stderr)
	options, err := redis.ParseURL(address)
	if err != nil {
		t.Fatalf("%q: %v", address, err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// exampleRows returns the header and the first rows of the built-in file.
func exampleRows(t *testing.T, n int) [][]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(examples.OnlineRetailOrders)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[:n+1]
}

func writeRows(t *testing.T, rows [][]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orders.csv")
	var text bytes.Buffer
	if err := csv.NewWriter(&text).WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFiguresFollowTheFile runs on a cut of the file, with one amount as it is and changed.
func TestFiguresFollowTheFile(t *testing.T) {
	rows := exampleRows(t, 500)
	column := func(name string) int { return slices.Index(rows[0], name) }
	want := Summary{RebuildVerified: true}
	customers := map[string]bool{}
	changed := -1
	for i, row := range rows[1:] {
		pence, err := strconv.ParseInt(row[column("amount_pence")], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if row[column("kind")] == "refund" {
			want.Refunds++
			want.RefundedMinor += pence
			want.Commands++
			continue
		}
		want.Orders++
		want.Commands += 5
		want.TotalSpentMinor += pence
		customers[row[column("customer_id")]] = true
		changed = i + 1
	}
	want.Accepted, want.Customers, want.CapturedMinor = want.Commands, int64(len(customers)), want.TotalSpentMinor
	if want.Refunds == 0 {
		t.Fatal("the cut has no refund")
	}
	if got := once(t, writeRows(t, rows)).withoutRates(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}

	pence, _ := strconv.ParseInt(rows[changed][column("amount_pence")], 10, 64)
	rows[changed][column("amount_pence")] = strconv.FormatInt(pence+4711, 10)
	want.TotalSpentMinor += 4711
	want.CapturedMinor += 4711
	if got := once(t, writeRows(t, rows)).withoutRates(); got != want {
		t.Errorf("with one amount 4711 more: got %+v, want %+v", got, want)
	}
}

// TestBadFiles says where a file is wrong, before anything is started.
func TestBadFiles(t *testing.T) {
	header := "at,kind,order_id,customer_id,country,amount_pence,lines,credit_note\n"
	for name, row := range map[string]struct{ text, want string }{
		"empty":           {"", "EOF"},
		"no amounts":      {"at,kind,order_id,customer_id\n", `no column "amount_pence"`},
		"an amount":       {header + "2010-12-01T08:26:00Z,order,5,1,UK,13.5,7,\n", "order 5 at line 2: amount_pence"},
		"a kind":          {header + "2010-12-01T08:26:00Z,gift,5,1,UK,13,7,\n", "order 5 at line 2: kind"},
		"a time":          {header + "yesterday,order,5,1,UK,13,7,\n", "order 5 at line 2: "},
		"a row too short": {header + "2010-12-01T08:26:00Z,order,5\n", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "orders.csv")
			if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			err := flags{Once: true, JSON: true, Data: path, HTTPAddr: "127.0.0.1:0"}.run(t.Context(), &stdout, &stderr)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error that says %s", err, row.want)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout has %s", &stdout)
			}
		})
	}
}

// TestTakenPorts runs beside another quickstart, each on ports of its own.
func TestTakenPorts(t *testing.T) {
	first, err := listen("127.0.0.1:18080")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := listen(first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if first.Addr().String() == second.Addr().String() {
		t.Errorf("both listen on %s", first.Addr())
	}
	for _, bad := range []string{"8080", "127.0.0.1:http-alt-x"} {
		if listener, err := listen(bad); err == nil {
			t.Errorf("listens on %s as %s", bad, listener.Addr())
		} else if !strings.Contains(err.Error(), "--http-addr") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestInterruptedImport ends in the middle of the import, in good order.
func TestInterruptedImport(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stdout, stderr := newTranscript(), newTranscript()
	ended := make(chan error, 1)
	go func() { ended <- flags{Once: true, JSON: true, HTTPAddr: "127.0.0.1:0"}.run(ctx, stdout, stderr) }()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for !strings.Contains(stderr.String(), "API:") {
		select {
		case <-stderr.changed:
		case err := <-ended:
			t.Fatalf("ended: %v\n%s", err, stderr)
		case <-timeout.C:
			t.Fatal("it does not start")
		}
	}
	began := time.Now()
	interrupt()
	if err := <-ended; err == nil || ctx.Err() == nil {
		t.Errorf("got %v, want the context's error", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Ctrl-C took %s", took)
	}
	if stdout.String() != "" {
		t.Errorf("stdout has %s", stdout)
	}
}
