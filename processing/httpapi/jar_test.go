package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
)

// The aggregate of these tests is a jar: coins go in.
type (
	PutCoin  struct{ Amount int64 }
	BreakJar struct{}
	CoinPut  struct{ Amount int64 }
)

func (c PutCoin) Validate() error {
	if c.Amount > 1000 {
		return &processing.FieldError{Field: "amount", Reason: "want at most 1000"}
	}
	return nil
}

var (
	errJarBroken = processing.Refuse("jar-broken", processing.Conflict)
	errNoJar     = processing.Refuse("jar-not-found", processing.NotFound)
	errNotMoney  = processing.Refuse("not-money", processing.Unprocessable)
)

func jar() *processing.Aggregate {
	return processing.Decider[int64, any, any]{
		Aggregate: "jar", Collection: "jars",
		Commands: []processing.Type{processing.TypeOf[PutCoin](), processing.TypeOf[BreakJar]()},
		Events:   []processing.Type{processing.TypeOf[CoinPut]()},
		Refusals: []*processing.Refusal{errJarBroken, errNoJar, errNotMoney},
		Decide:   func(processing.Context, any, int64) ([]any, error) { return nil, nil },
		Evolve:   func(state int64, _ any) int64 { return state },
	}.Erase()
}

// sender answers with what a test sets, and keeps what it was asked.
type sender struct {
	send     func(context.Context, processing.Request) (processing.Outcome, error)
	decision func() (processing.Outcome, error)
	got      []processing.Request
	asked    []string
}

func (s *sender) Send(ctx context.Context, r processing.Request) (processing.Outcome, error) {
	s.got = append(s.got, r)
	return s.send(ctx, r)
}

func (s *sender) Decision(_ context.Context, aggregate, id, commandID string, since time.Time) (processing.Outcome, error) {
	s.asked = append(s.asked, aggregate+" "+id+" "+commandID+" "+since.Format(time.RFC3339))
	return s.decision()
}

func answers(o processing.Outcome, err error) *sender {
	return &sender{
		send: func(_ context.Context, r processing.Request) (processing.Outcome, error) {
			o.CommandID, o.Aggregate, o.AggregateID = r.ID, r.Aggregate.Name, r.AggregateID
			return o, err
		},
		decision: func() (processing.Outcome, error) { return o, err },
	}
}

func accepted() processing.Outcome {
	return processing.Outcome{
		CommandID: someID, Aggregate: "jar", AggregateID: "j-1",
		Status: processing.Accepted, Version: 3, Partition: 2, CommandOffset: 1207,
		Events: []processing.EventRef{{ID: "e-1", Type: "CoinPut", Version: 3}},
	}
}

func refused(r *processing.Refusal, version int64) processing.Outcome {
	return processing.Outcome{CommandID: someID, Status: processing.Refused, Code: r.Code, Detail: "because", Version: version}
}

func failed(code string) processing.Outcome {
	return processing.Outcome{CommandID: someID, Status: processing.Failed, Code: code, Detail: "because"}
}

// undeclared is the code of a refusal that the domain forgot to declare: no description allows it.
const undeclared = "never-declared"

const someID = "0190a7c4-7c1d-7f3a-8b1e-5a2f3c4d5e6f"

func decodeJSON(_ *processing.Aggregate, t processing.Type, body []byte) (any, error) {
	var fields map[string]json.Number
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, fmt.Errorf("reading body: %w", err)
	}
	pointer := t.New()
	for name, value := range fields {
		n, err := value.Int64()
		switch {
		case name != "amount":
			return nil, &processing.FieldError{Field: name, Reason: "unknown field"}
		case err != nil:
			return nil, fmt.Errorf("%w: %w", &processing.FieldError{Field: name, Reason: value.String()}, httpapi.ErrFractional)
		}
		pointer.(*PutCoin).Amount = n
	}
	return t.Value(pointer), nil
}

func commandMux(t *testing.T, s *sender) *http.ServeMux {
	t.Helper()
	commands, err := httpapi.NewCommands(httpapi.CommandsConfig{
		Aggregates: []*processing.Aggregate{jar()}, Sender: s, DecodeJSON: decodeJSON, JSONSchema: jarSchema, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	commands.Register(mux)
	return mux
}

// call makes a request; headers are "Name: value". The answer must be as the mux describes it.
func call(t *testing.T, mux *http.ServeMux, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	described(t, mux).check(t, mux, r, body, w)
	return w
}

// body reads a JSON body, which must end in one newline.
func body(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	if text := w.Body.String(); !strings.HasSuffix(text, "}\n") {
		t.Fatalf("body %q does not end in a newline", text)
	}
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code string) map[string]any {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	m := body(t, w)
	if m["code"] != code || m["status"] != float64(status) || m["type"] != "about:blank" || m["title"] != http.StatusText(status) {
		t.Errorf("problem %v, want %d %s", m, status, code)
	}
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "1" {
		t.Error("503 without Retry-After")
	}
	return m
}
