package ledgerline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/local"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/account"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
	"github.com/ledgerline/ledgerline/processing/projection/accountbalance"
	"github.com/ledgerline/ledgerline/processing/projection/customerorders"
	"github.com/ledgerline/ledgerline/processing/projection/orderstatus"
	"github.com/ledgerline/ledgerline/processing/projection/paymentstatus"
	"github.com/ledgerline/ledgerline/schemas"
)

// testApp is the App of cmd/internal/app, which may not be imported from here.
var testApp = ledgerline.App{
	Name:       "ledgerline",
	Schemas:    schemas.FS,
	Aggregates: []*processing.Aggregate{account.Decider.Erase(), order.Decider.Erase(), payment.Decider.Erase()},
	ReadModels: []*processing.ReadModel{
		accountbalance.ReadModel.Erase(), orderstatus.ReadModel.Erase(), customerorders.ReadModel.Erase(),
		paymentstatus.ReadModel.Erase(), processing.History("account", "order", "payment"),
	},
}

// patience is how long a condition may take to come true on a busy machine.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	// Closing a client of Kafka leaves this goroutine behind now and then: see processing/kafka.
	goleak.VerifyTestMain(tests{m}, goleak.IgnoreTopFunction("github.com/twmb/franz-go/pkg/kgo.(*fetchManager).manageFetchConcurrency"))
}

// tests drops the idle connections of the default client, which healthcheck uses, before goroutines are counted.
type tests struct{ *testing.M }

func (t tests) Run() int {
	defer http.DefaultClient.CloseIdleConnections()
	return t.M.Run()
}

// await calls try until it returns nil.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s did not come to pass in %s: %v", what, patience, err)
		}
	}
}

// transcript keeps what is written to it by several goroutines.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *transcript) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// logger returns a logger whose warnings are shown if the test fails.
func logger(t *testing.T) *slog.Logger {
	t.Helper()
	w := &transcript{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of the parts:\n%s", w)
		}
	})
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// startLocal runs a Ledgerline for the test.
func startLocal(t *testing.T) *local.Local {
	t.Helper()
	l, err := local.Start(t.Context(), local.Config{App: testApp, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return l
}

// ended is what a process left.
type ended struct {
	code           int
	stdout, stderr string
}

type program = func(context.Context, ledgerline.App, ledgerline.Process) int

// run runs a binary to its end, with the flags that l is reached by.
func run(t *testing.T, main program, conn ledgerline.Connection, args ...string) ended {
	t.Helper()
	return runWith(t.Context(), main, nil, append(args, connectArgs(conn)...)...)
}

func runWith(ctx context.Context, main program, stdin io.Reader, args ...string) ended {
	var stdout, stderr transcript
	code := main(ctx, testApp, ledgerline.Process{Args: args, Stdin: stdin, Stdout: &stdout, Stderr: &stderr})
	return ended{code, stdout.String(), stderr.String()}
}

// connectArgs returns the flags that reach c, without those that are given anyway.
func connectArgs(c ledgerline.Connection, given ...string) []string {
	var args []string
	for _, flag := range [][]string{
		{"--brokers", strings.Join(c.Brokers, ",")}, {"--registry-url", c.RegistryURL}, {"--redis-url", c.RedisURL},
		{"--ca-file", c.CAFile}, {"--kafka-user", c.KafkaUser}, {"--kafka-password-file", c.KafkaPasswordFile}, {"--kafka-sasl", c.KafkaSASL},
		{"--registry-user", c.RegistryUser}, {"--registry-password-file", c.RegistryPasswordFile},
		{"--redis-user", c.RedisUser}, {"--redis-password-file", c.RedisPasswordFile},
	} {
		if flag[1] != "" && !slices.Contains(given, flag[0]) {
			args = append(args, flag...)
		}
	}
	if c.KafkaTLS {
		args = append(args, "--kafka-tls")
	}
	return append(args, given...)
}

// lines returns the lines of what a process printed.
func lines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool { return s == "" })
}

// api is a client of the HTTP API.
type api struct {
	t      *testing.T
	url    string
	client *http.Client
}

func newAPI(t *testing.T, address string) *api {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	return &api{t: t, url: address, client: &http.Client{Transport: transport, Timeout: patience}}
}

// answer is what the API answered.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// position is what makes a query wait for the command answered here.
func (a answer) position() string { return a.Header.Get("Ledgerline-Position") }

// decided is the body of a command's answer, good or bad.
type decided struct {
	CommandID string `json:"command_id"`
	Aggregate string `json:"aggregate"`
	ID        string `json:"id"`
	Version   int64  `json:"version"`
	Events    []struct {
		ID      string `json:"id"`
		Type    string `json:"type"`
		Version int64  `json:"version"`
	} `json:"events"`
	Code   string `json:"code"`
	Field  string `json:"field"`
	Status int    `json:"status"`
}

func (a answer) decided(t *testing.T) decided {
	t.Helper()
	var d decided
	a.into(t, &d)
	return d
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("reading answer %d %s: %v", a.Status, a.Body, err)
	}
}

// try makes a request; headers come as name, value, name, value. It may be called from any goroutine.
func (c *api) try(method, path, body string, headers ...string) (answer, error) {
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			request.Header.Set(headers[i], headers[i+1])
		}
	}
	response, err := c.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, text}, err
}

func (c *api) post(path, body string, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(http.MethodPost, path, body, headers...)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c *api) get(path string, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(http.MethodGet, path, "", headers...)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// placing is the body of a place-order.
func placing(customer string, pence int64) string {
	return jsonText(map[string]any{"customer_id": customer, "total_amount": gbp(pence)})
}

// paying is the body of a receive-payment.
func paying(pence int64) string { return jsonText(map[string]any{"amount": gbp(pence)}) }

func gbp(pence int64) map[string]any {
	return map[string]any{"minor_units": pence, "currency": "GBP"}
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return string(text)
}

// customer is a customer as the API shows one.
type customer struct {
	CustomerID string `json:"customer_id"`
	Currencies []struct {
		Currency   string `json:"currency"`
		Orders     int64  `json:"orders"`
		TotalSpent int64  `json:"total_spent"`
	} `json:"currencies"`
	Statuses struct{ Placed, Paid, Shipped, Cancelled int64 } `json:"statuses"`
}

// spent is what a customer spent in pounds, in pence.
func (c customer) spent() int64 {
	for _, s := range c.Currencies {
		if s.Currency == "GBP" {
			return s.TotalSpent
		}
	}
	return 0
}

// pages reads a whole list, page by page; after each page it calls between.
func pages[T any](c *api, path string, query url.Values, between func()) ([]T, error) {
	var all []T
	for {
		a, err := c.try(http.MethodGet, path+"?"+query.Encode(), "")
		if err != nil {
			return all, err
		}
		var page struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}
		if a.Status != http.StatusOK {
			return all, errors.New("page after " + query.Get("cursor") + ": " + string(a.Body))
		}
		if err := json.Unmarshal(a.Body, &page); err != nil {
			return all, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("cursor", page.Next)
		between()
	}
}

func ranking(limit string) url.Values {
	return url.Values{"currency": {"GBP"}, "sort": {"-total_spent"}, "limit": {limit}}
}

// redisClient connects to the Redis of a Ledgerline, beside the product's store.
func redisClient(t *testing.T, address string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// load has n orders placed, of the customers c-0 to c-(customers-1) in turn, and waits for the
// decisions and until the read models show them. The order o-i costs 100+i pence.
func load(t *testing.T, l *local.Local, n, customers int) {
	t.Helper()
	aggregate, _ := testApp.Aggregate("order")
	place, _ := aggregate.Command("PlaceOrder")
	var requests iter.Seq2[processing.Request, error] = func(yield func(processing.Request, error) bool) {
		for i := range n {
			id, err := processing.CommandID("load-" + itoa(i))
			if !yield(processing.Request{
				Aggregate: aggregate, AggregateID: "o-" + itoa(i), Type: place, ID: id,
				Data: order.PlaceOrder{CustomerID: "c-" + itoa(i%customers), TotalAmount: processing.Money{MinorUnits: int64(100 + i), Currency: "GBP"}},
			}, err) {
				return
			}
		}
	}
	sent, err := ledgerline.SendAll(t.Context(), l.Sender(), requests, func(ledgerline.Sent, processing.Request, processing.Outcome) {})
	if err != nil || sent.Accepted != int64(n) {
		t.Fatalf("loading: %+v, %v", sent, err)
	}
	await(t, "what is loaded in every read model", func() error { return caughtUp(t, l.Connection) })
}

// caughtUp returns an error unless the active generation of every read model has reached the log's end.
// Those of snapshots never do.
func caughtUp(t *testing.T, conn ledgerline.Connection) error {
	t.Helper()
	for _, g := range statusOf(t, conn) {
		if g.Active && g.Behind != 0 && !strings.HasSuffix(g.Model, "-snapshots") {
			return fmt.Errorf("generation %s of %s is %d behind", g.ID, g.Model, g.Behind)
		}
	}
	return nil
}

// freeAddr returns a loopback address that nobody listens on, nor will: it is none of those that systems
// give away by themselves, as another package's test would get one.
func freeAddr(t *testing.T) string {
	t.Helper()
	ports, release, err := stack.ReservePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return "127.0.0.1:" + strconv.Itoa(ports[0])
}
