package local_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/local"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/embedded"
	"github.com/ledgerline/ledgerline/processing/projection/orderstatus"
	"github.com/ledgerline/ledgerline/schemas"
)

func TestMain(m *testing.M) {
	// Closing a client of Kafka leaves this goroutine behind now and then: see processing/kafka.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/twmb/franz-go/pkg/kgo.(*fetchManager).manageFetchConcurrency"))
}

// testApp is an App as a user of the library has one.
var testApp = ledgerline.App{
	Name: "shop", Schemas: schemas.FS,
	Aggregates: []*processing.Aggregate{order.Decider.Erase()},
	ReadModels: []*processing.ReadModel{orderstatus.ReadModel.Erase()},
}

// ask makes a request and returns status and body.
func ask(t *testing.T, method, address, body string, headers ...string) (int, string, http.Header) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

// TestStartServesAndCloseEnds uses it as soon as Start returns, on the address that it was given, and
// twice on one folder: the log is kept and the read models come back.
func TestStartServesAndCloseEnds(t *testing.T) {
	dir := t.TempDir()
	var first string
	for round := range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := local.Start(t.Context(), local.Config{App: testApp, Listener: listener, Services: embedded.Config{DataDir: dir}})
		if err != nil {
			t.Fatal(err)
		}
		if want := "http://" + listener.Addr().String(); l.URL != want {
			t.Errorf("serves on %s, want %s", l.URL, want)
		}
		body := `{"customer_id":"ada","total_amount":{"minor_units":1250,"currency":"GBP"}}`
		status, text, header := ask(t, http.MethodPost, l.URL+"/v1/orders/o-1/place-order", body, "Idempotency-Key", "k")
		if status != http.StatusCreated {
			t.Fatalf("round %d: %d %s", round, status, text)
		}
		if round == 0 {
			first = text
		} else if text != first {
			t.Errorf("the same command was answered with %s, before with %s", text, first)
		}
		status, text, _ = ask(t, http.MethodGet, l.URL+"/v1/orders/o-1", "", "Ledgerline-Position", header.Get("Ledgerline-Position"))
		var shown struct {
			CustomerID string `json:"customer_id"`
			Version    int64  `json:"version"`
		}
		if err := json.Unmarshal([]byte(text), &shown); err != nil || status != http.StatusOK || shown.CustomerID != "ada" || shown.Version != 1 {
			t.Errorf("round %d: %d %s, %v", round, status, text, err)
		}
		want := fmt.Sprintf("--brokers %s --registry-url %s --redis-url %s", l.Connection.Brokers[0], l.Connection.RegistryURL, l.Connection.RedisURL)
		if l.Flags() != want {
			t.Errorf("flags are %s, want %s", l.Flags(), want)
		}
		began := time.Now()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("closing took %s", took)
		}
		if connection, err := net.Dial("tcp", listener.Addr().String()); err == nil {
			_ = connection.Close()
			t.Error("it listens after Close")
		}
	}
}

// TestStartRefusesAnAppThatContradictsItself leaves nothing behind: TestMain looks for goroutines, and
// the listener is closed.
func TestStartRefusesAnAppThatContradictsItself(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	twice := testApp
	twice.Aggregates = append(twice.Aggregates, twice.Aggregates[0])
	if _, err := local.Start(t.Context(), local.Config{App: twice, Listener: listener}); err == nil || !strings.Contains(err.Error(), "order is listed twice") {
		t.Errorf("got %v", err)
	}
	if err := listener.Close(); err == nil {
		t.Error("the listener was left open")
	}
}
