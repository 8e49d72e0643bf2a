package suite

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/examples"
)

// Figures are what one stack did on this machine, in one run. They are for comparing stacks that were
// measured in one sitting.
type Figures struct {
	Stack string `json:"stack"`
	// Commands is how many were sent and Events how many the log had of them. The rates are those of the
	// import by `ingest send`, of a processor that finds all events there and folds them into every read
	// model, and of `rebuild run` for customer-orders by the events that it reads. Each holds the start of
	// its process.
	Commands               int     `json:"commands"`
	Events                 int     `json:"events"`
	CommandsPerSecond      float64 `json:"commands_per_second"`
	EventsPerSecond        float64 `json:"events_per_second"`
	RebuildEventsPerSecond float64 `json:"rebuild_events_per_second"`
	// HTTPRate is how many commands a second were then sent over HTTP, each at its time whatever became of
	// those before; P50 and P99 are from that time to the answer, in milliseconds.
	HTTPRate int     `json:"http_rate"`
	P50      float64 `json:"http_p50_ms"`
	P99      float64 `json:"http_p99_ms"`
}

const (
	httpRate    = 100
	httpSeconds = 20
)

// Measure measures the binaries of this checkout on the services of s, with the orders of a real shop.
func Measure(t *testing.T, s *stack.Stack) Figures {
	u := &suite{stack: s, run: runID(), placed: map[string]placed{}}
	u.system = startSystem(t, s, u.run)
	u.kafka = newPlain(t, s, u.system.Prefix())
	f := Figures{Stack: string(s.Provider), HTTPRate: httpRate}
	file, n := importLines(t)
	f.Commands = n
	processor := u.system.(*processes).serving[Processor]
	if err := processor.end(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if e := u.end(t, file, Ingest, "send", "-", "--name", "figures"); e.Code != 0 || !strings.Contains(e.Stdout, fmt.Sprintf("%d accepted", n)) {
		t.Fatalf("sending: exit %d: %s%s", e.Code, e.Stdout, e.Stderr)
	}
	f.CommandsPerSecond = rate(n, began)
	inOrders := 0
	for _, topic := range []string{"order.events", "payment.events"} {
		k := len(u.kafka.read(t, u.topic(topic)))
		f.Events += k
		if topic == "order.events" {
			inOrders = k
		}
	}
	if f.Events != n {
		t.Errorf("the log has %d events of %d commands", f.Events, n)
	}

	began = time.Now()
	if err := u.system.(*processes).start(t.Context(), Processor); err != nil {
		t.Fatal(err)
	}
	await(t, "all events in the read models", func() error { return u.behind(t) })
	f.EventsPerSecond = rate(f.Events, began)

	began = time.Now()
	u.must(t, "rebuild", "run", "customer-orders")
	f.RebuildEventsPerSecond = rate(inOrders, began)

	f.P50, f.P99 = u.latency(t)
	return f
}

func rate(n int, since time.Time) float64 {
	return float64(int(float64(n) / time.Since(since).Seconds()))
}

// behind returns an error unless the active generation of every read model has reached the log's end.
func (u *suite) behind(t *testing.T) error {
	t.Helper()
	var all []struct {
		ID     string `json:"id"`
		Model  string `json:"model"`
		Active bool   `json:"active"`
		Behind int64  `json:"behind"`
	}
	if err := json.Unmarshal([]byte(u.must(t, "rebuild", "status", "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		if g.Active && g.Behind != 0 && !strings.HasSuffix(g.Model, "-snapshots") { // those are never at the end
			return fmt.Errorf("generation %s is %d behind", g.ID, g.Behind)
		}
	}
	return nil
}

// importLines makes the commands of the quickstart's import, as lines for `ingest send`.
func importLines(t *testing.T) ([]byte, int) {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(examples.OnlineRetailOrders)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	n := 0
	for _, row := range rows[1:] {
		at, kind, id, customer, amount := row[0], row[1], row[2], row[3], fmt.Sprintf(`{"minor_units":%s,"currency":"GBP"}`, row[5])
		add := func(aggregate, command, data string) {
			n++
			fmt.Fprintf(&file, `{"aggregate":%q,"id":%q,"command":%q,"data":%s}`+"\n", aggregate, id, command, data)
		}
		payment := fmt.Sprintf(`{"payment_id":"pay-%s","amount":%s}`, id, amount)
		if kind == "refund" {
			add("payment", "IssueRefund", payment)
			continue
		}
		add("order", "PlaceOrder", fmt.Sprintf(`{"customer_id":%q,"total_amount":%s,"placed_at":%q}`, customer, amount, at))
		add("order", "ReceivePayment", `{"amount":`+amount+`}`)
		add("payment", "CreateOrder", `{"amount":`+amount+`}`)
		add("payment", "AuthorizePayment", payment)
		add("payment", "CapturePayment", payment)
	}
	return file.Bytes(), n
}

// latency sends commands over HTTP at a fixed rate and returns the middle and the 99th percentile of how
// long an answer took, in milliseconds.
func (u *suite) latency(t *testing.T) (p50, p99 float64) {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: httpRate}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	const n = httpRate * httpSeconds
	took, errs := make([]time.Duration, n), make([]error, n)
	var asked sync.WaitGroup
	tick := time.NewTicker(time.Second / httpRate)
	defer tick.Stop()
	began := time.Now()
	for i := range n {
		<-tick.C
		due := began.Add(time.Duration(i+1) * time.Second / httpRate)
		asked.Go(func() {
			errs[i] = order(t.Context(), client, u.system.Commands()+"/v1/orders/"+u.id("timed-%d", i)+"/place-order")
			took[i] = time.Since(due)
		})
	}
	asked.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()/100) / 10 }
	return ms(took[n/2]), ms(took[n*99/100])
}

func order(ctx context.Context, client *http.Client, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(placing("timed", 1)))
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusCreated {
		return errors.New(answer.Status)
	}
	return nil
}
