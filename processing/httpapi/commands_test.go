package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
)

func TestAcceptedCommand(t *testing.T) {
	s := answers(accepted(), nil)
	parent := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	w := call(t, commandMux(t, s), "POST", "/v1/jars/j-1/put-coin", `{"amount":5}`,
		"Content-Type: application/json; charset=utf-8", "traceparent: "+parent, "Idempotency-Key: "+strings.ToUpper(someID))
	if w.Code != http.StatusCreated || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if w.Header().Get("ETag") != `"3"` || w.Header().Get("Ledgerline-Position") != "jar/2@1207" {
		t.Errorf("headers %v", w.Header())
	}
	want := `{"command_id":"` + someID + `","aggregate":"jar","id":"j-1","version":3,"events":[{"id":"e-1","type":"CoinPut","version":3}]}` + "\n"
	if got := w.Body.String(); got != want {
		t.Errorf("body %s want %s", got, want)
	}
	got := s.got[0]
	if got.Data != (PutCoin{Amount: 5}) || got.AggregateID != "j-1" || got.Type.Name != "PutCoin" || got.TraceParent != parent || got.Expected != nil {
		t.Errorf("request %+v", got)
	}
}

func TestAcceptedCommandWithoutEventsHasNoPosition(t *testing.T) {
	w := call(t, commandMux(t, answers(processing.Outcome{Status: processing.Accepted}, nil)), "POST", "/v1/jars/j-1/break-jar", "", "traceparent: nonsense")
	if w.Code != http.StatusCreated || w.Header().Get("ETag") != "" || w.Header().Get("Ledgerline-Position") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if events, ok := body(t, w)["events"].([]any); !ok || len(events) != 0 {
		t.Errorf("events want an empty list: %s", w.Body)
	}
}

func TestOutcomeStatus(t *testing.T) {
	rows := []struct {
		outcome processing.Outcome
		status  int
		etag    string
	}{
		{refused(errJarBroken, 3), 409, ""},
		{refused(errNoJar, 0), 404, ""},
		{refused(errNotMoney, 3), 422, ""},
		{refused(processing.Refuse(undeclared, processing.NotFound), 3), 409, ""},
		{refused(processing.ErrVersionConflict, 3), 412, `"3"`},
		{refused(processing.ErrVersionConflict, 0), 412, ""},
		{failed(processing.CodeKeyReused), 422, ""},
		{failed(processing.CodeTooOld), 422, ""},
		{failed(processing.CodeFromTheFuture), 422, ""},
		{failed(processing.CodeInvalidCommand), 400, ""},
		{failed(processing.CodeInvalidAggregateID), 400, ""},
		{failed(processing.CodeTooLarge), 413, ""},
		{failed(processing.CodeUnreadable), 500, ""},
		{failed(processing.CodeDecideFailed), 500, ""},
		{failed(processing.CodeUndecodable), 500, ""},
		{failed(processing.CodeUnknownCommandType), 500, ""},
		{failed(processing.CodeMisplaced), 500, ""},
		{failed(processing.CodeOutcomeNotAvailable), 503, ""},
		{failed("never-heard-of"), 500, ""},
	}
	for _, row := range rows {
		t.Run(fmt.Sprintf("%s/%d", row.outcome.Code, row.outcome.Version), func(t *testing.T) {
			mux := commandMux(t, answers(row.outcome, nil))
			for _, w := range []*httptest.ResponseRecorder{
				call(t, mux, "POST", "/v1/jars/j-1/put-coin", "{}", "Idempotency-Key: "+someID),
				call(t, mux, "GET", "/v1/jars/j-1/commands/"+someID, ""),
			} {
				m := wantProblem(t, w, row.status, row.outcome.Code)
				if m["command_id"] != someID || m["detail"] != "because" || w.Header().Get("ETag") != row.etag {
					t.Errorf("%v %v", m, w.Header())
				}
			}
		})
	}
}

func TestBadCommand(t *testing.T) {
	const good = "/v1/jars/j-1/put-coin"
	long := strings.Repeat("k", 256)
	rows := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code, field              string
	}{
		{"unknown collection", "POST", "/v1/pots/j-1/put-coin", "{}", nil, 404, "unknown-resource", ""},
		{"unknown command", "POST", "/v1/jars/j-1/PutCoin", "{}", nil, 404, "unknown-command", ""},
		{"get of unknown command", "GET", "/v1/jars/j-1/PutCoin", "", nil, 404, "unknown-resource", ""},
		{"below root", "GET", "/v1/", "", nil, 404, "unknown-resource", ""},
		{"trailing slash", "POST", good + "/", "{}", nil, 404, "unknown-resource", ""},
		{"slash in id", "POST", "/v1/jars/a%2Fb/put-coin", "{}", nil, 400, "invalid-id", "id"},
		{"space in id", "POST", "/v1/jars/a%20b/put-coin", "{}", nil, 400, "invalid-id", "id"},
		{"long id", "POST", "/v1/jars/" + strings.Repeat("x", 129) + "/put-coin", "{}", nil, 400, "invalid-id", "id"},
		{"id of decision", "GET", "/v1/jars/a%20b/commands/" + someID, "", nil, 400, "invalid-id", "id"},
		{"not JSON", "POST", good, "amount", nil, 400, "invalid-command", ""},
		{"unknown field", "POST", good, `{"amuont":1}`, nil, 400, "invalid-command", "amuont"},
		{"float", "POST", good, `{"amount":1.5}`, nil, 422, "not-an-integer", "amount"},
		{"invalid", "POST", good, `{"amount":1001}`, nil, 400, "invalid-command", "amount"},
		{"form", "POST", good, "{}", []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "unsupported-media-type", ""},
		{"broken type", "POST", good, "{}", []string{"Content-Type: /"}, 415, "unsupported-media-type", ""},
		{"too large", "POST", good, `{"amount":` + strings.Repeat(" ", 1<<20) + `1}`, nil, 413, "too-large", ""},
		{"empty key", "POST", good, "{}", []string{"Idempotency-Key: "}, 400, "invalid-idempotency-key", "Idempotency-Key"},
		{"empty quoted key", "POST", good, "{}", []string{`Idempotency-Key: ""`}, 400, "invalid-idempotency-key", "Idempotency-Key"},
		{"open quote", "POST", good, "{}", []string{`Idempotency-Key: "k`}, 400, "invalid-idempotency-key", "Idempotency-Key"},
		{"after quote", "POST", good, "{}", []string{`Idempotency-Key: "k"x`}, 400, "invalid-idempotency-key", "Idempotency-Key"},
		{"bad escape", "POST", good, "{}", []string{`Idempotency-Key: "\k"`}, 400, "invalid-idempotency-key", "Idempotency-Key"},
		{"open escape", "POST", good, "{}", []string{`Idempotency-Key: "\`}, 400, "invalid-idempotency-key", "Idempotency-Key"},
		{"quoted beyond ASCII", "POST", good, "{}", []string{`Idempotency-Key: "ü"`}, 400, "invalid-idempotency-key", "Idempotency-Key"},
		{"long key", "POST", good, "{}", []string{"Idempotency-Key: " + long}, 400, "invalid-idempotency-key", "Idempotency-Key"},
		{"two keys", "POST", good, "{}", []string{"Idempotency-Key: a", "Idempotency-Key: b"}, 400, "invalid-idempotency-key", "Idempotency-Key"},
		{"weak match", "POST", good, "{}", []string{`If-Match: W/"3"`}, 400, "invalid-precondition", "If-Match"},
		{"bare match", "POST", good, "{}", []string{"If-Match: 3"}, 400, "invalid-precondition", "If-Match"},
		{"match any", "POST", good, "{}", []string{"If-Match: *"}, 400, "invalid-precondition", "If-Match"},
		{"match zero", "POST", good, "{}", []string{`If-Match: "0"`}, 400, "invalid-precondition", "If-Match"},
		{"match list", "POST", good, "{}", []string{`If-Match: "3", "4"`}, 400, "invalid-precondition", "If-Match"},
		{"match twice", "POST", good, "{}", []string{`If-Match: "3"`, `If-Match: "3"`}, 400, "invalid-precondition", "If-Match"},
		{"match hash alone", "POST", good, "{}", []string{`If-Match: "0123456789abcdef"`}, 400, "invalid-precondition", "If-Match"},
		{"match no hash", "POST", good, "{}", []string{`If-Match: "3-x"`}, 400, "invalid-precondition", "If-Match"},
		{"match beyond counting", "POST", good, "{}", []string{`If-Match: "9223372036854775808"`}, 400, "invalid-precondition", "If-Match"},
		{"match sign", "POST", good, "{}", []string{`If-Match: "+3"`}, 400, "invalid-precondition", "If-Match"},
		{"none match version", "POST", good, "{}", []string{`If-None-Match: "3"`}, 400, "invalid-precondition", "If-None-Match"},
		{"both", "POST", good, "{}", []string{`If-Match: "3"`, "If-None-Match: *"}, 400, "invalid-precondition", "If-Match"},
		{"decision of no UUID", "GET", "/v1/jars/j-1/commands/7", "", nil, 400, "invalid-command-id", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := answers(accepted(), nil)
			m := wantProblem(t, call(t, commandMux(t, s), row.method, row.path, row.body, row.headers...), row.status, row.code)
			if field, _ := m["field"].(string); field != row.field {
				t.Errorf("field %q, want %q", field, row.field)
			}
			if len(s.got)+len(s.asked) != 0 {
				t.Error("the sender was asked all the same")
			}
		})
	}
}

func TestMethodNotAllowed(t *testing.T) {
	mux := commandMux(t, answers(accepted(), nil))
	for _, row := range []struct{ method, path, allow string }{
		{"GET", "/v1/jars/j-1/put-coin", "POST"},
		{"DELETE", "/v1/jars/j-1/put-coin", "POST"},
		{"POST", "/v1/jars/j-1/commands/" + someID, "GET, HEAD"},
	} {
		w := call(t, mux, row.method, row.path, "")
		wantProblem(t, w, 405, "method-not-allowed")
		if got := w.Header().Get("Allow"); got != row.allow {
			t.Errorf("%s %s: Allow %q, want %q", row.method, row.path, got, row.allow)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := answers(accepted(), nil)
	mux := commandMux(t, s)
	key := func(headers ...string) string {
		t.Helper()
		if w := call(t, mux, "POST", "/v1/jars/j-1/put-coin", "{}", headers...); w.Code != 201 {
			t.Fatal(w.Code, w.Body)
		}
		return s.got[len(s.got)-1].ID
	}
	if got := key("Idempotency-Key: " + strings.ToUpper(someID)); got != someID {
		t.Errorf("a UUID became %s", got)
	}
	if got := key(`Idempotency-Key: "` + someID + `"`); got != someID {
		t.Errorf("a quoted UUID became %s", got)
	}
	bare, err := processing.CommandID(`a"b\c`)
	if err != nil {
		t.Fatal(err)
	}
	if got := key(`Idempotency-Key: a"b\c`); got != bare {
		t.Errorf("bare key became %s, want %s", got, bare)
	}
	if got := key(`Idempotency-Key: "a\"b\\c"`); got != bare {
		t.Errorf("quoted key became %s, want %s", got, bare)
	}
	first, second := uuid.MustParse(key()), uuid.MustParse(key())
	if first.Version() != 7 || first == second {
		t.Errorf("ids without a key: %s, %s", first, second)
	}
}

func TestExpectedVersion(t *testing.T) {
	for header, want := range map[string]int64{`If-Match: "3"`: 3, `If-Match: "12-0123456789abcdef" `: 12, "If-None-Match: *": 0} {
		s := answers(accepted(), nil)
		if w := call(t, commandMux(t, s), "POST", "/v1/jars/j-1/put-coin", "{}", header); w.Code != 201 {
			t.Fatal(w.Code, w.Body)
		}
		if got := s.got[0].Expected; got == nil || *got != want {
			t.Errorf("%s: expected %v, want %d", header, got, want)
		}
	}
}

func TestSendErrors(t *testing.T) {
	for _, row := range []struct {
		err    error
		status int
		code   string
	}{
		{processing.ErrUnconfirmed, 503, "unconfirmed"},
		{fmt.Errorf("sending: %w", context.DeadlineExceeded), 503, "unconfirmed"},
		{errors.New("who knows"), 503, "unconfirmed"},
		{processing.ErrInProgress, 409, "in-progress"},
		{processing.ErrBacklogFull, 503, "backlog-full"},
	} {
		t.Run(row.err.Error(), func(t *testing.T) {
			w := call(t, commandMux(t, answers(processing.Outcome{}, fmt.Errorf("sending: %w", row.err))), "POST", "/v1/jars/j-1/put-coin", "{}", "Idempotency-Key: "+someID)
			m := wantProblem(t, w, row.status, row.code)
			if m["command_id"] != someID {
				t.Errorf("problem %v lacks the id", m)
			}
			if detail := m["detail"].(string); row.code == "unconfirmed" && !strings.Contains(detail, "retry with this key, Idempotency-Key: "+someID) {
				t.Errorf("detail %q", detail)
			}
		})
	}
}

func TestPreferAndLocation(t *testing.T) {
	rows := []struct {
		prefer  []string
		waited  time.Duration
		applied string
	}{
		{nil, 10 * time.Second, ""},
		{[]string{"Prefer: wait=2"}, 2 * time.Second, "wait=2"},
		{[]string{"Prefer: wait=\"2\"; x=y, wait=4"}, 2 * time.Second, "wait=2"},
		{[]string{"Prefer: wait=3600"}, 10 * time.Second, "wait=10"},
		{[]string{"Prefer: wait=-1"}, 10 * time.Second, ""},
		{[]string{"Prefer: handling=strict"}, 10 * time.Second, ""},
		{[]string{"Prefer: wait=0"}, time.Second, "wait=1"},
		{[]string{"Prefer: Respond-Async"}, time.Second, "respond-async"},
		{[]string{"Prefer: respond-async", "Prefer: wait=3"}, 3 * time.Second, "respond-async, wait=3"},
	}
	for _, row := range rows {
		t.Run(strings.Join(row.prefer, " and "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				mux := commandMux(t, &sender{send: func(ctx context.Context, _ processing.Request) (processing.Outcome, error) {
					<-ctx.Done()
					return processing.Outcome{}, processing.ErrUndecided
				}})
				w := call(t, mux, "POST", "/v1/jars/a%25b/put-coin", "{}", append(row.prefer, "Idempotency-Key: "+someID)...)
				if w.Code != http.StatusAccepted || w.Header().Get("Location") != "/v1/jars/a%25b/commands/"+someID+"?since="+start.UTC().Format(time.RFC3339) {
					t.Errorf("%d %v", w.Code, w.Header())
				}
				if want := `{"command_id":"` + someID + `","status":"undecided"}` + "\n"; w.Body.String() != want {
					t.Errorf("body %s", w.Body)
				}
				if got := time.Since(start); got != row.waited {
					t.Errorf("waited %s, want %s", got, row.waited)
				}
				if got := w.Header().Get("Preference-Applied"); got != row.applied {
					t.Errorf("applied %q, want %q", got, row.applied)
				}
			})
		})
	}
	// Decided in time: nothing was asynchronous about it.
	w := call(t, commandMux(t, answers(accepted(), nil)), "POST", "/v1/jars/j-1/put-coin", "{}", "Prefer: respond-async, wait=5")
	if got := w.Header().Get("Preference-Applied"); w.Code != 201 || got != "wait=5" {
		t.Errorf("%d, applied %q", w.Code, got)
	}
}

func TestDecision(t *testing.T) {
	s := answers(accepted(), nil)
	mux := commandMux(t, s)
	for _, method := range []string{"GET", "HEAD"} {
		w := call(t, mux, method, "/v1/jars/j-1/commands/"+strings.ToUpper(someID), "")
		if w.Code != 200 || w.Header().Get("ETag") != `"3"` || w.Header().Get("Ledgerline-Position") != "jar/2@1207" || body(t, w)["command_id"] != someID {
			t.Errorf("%s: %d %v %s", method, w.Code, w.Header(), w.Body)
		}
		if got := s.asked[len(s.asked)-1]; got != "jar j-1 "+someID+" 0001-01-01T00:00:00Z" {
			t.Errorf("asked for %s", got)
		}
	}
	call(t, mux, "GET", "/v1/jars/j-1/commands/"+someID+"?since=2026-01-31T12:00:00Z", "")
	if got := s.asked[len(s.asked)-1]; got != "jar j-1 "+someID+" 2026-01-31T12:00:00Z" {
		t.Errorf("asked for %s", got)
	}
	wantProblem(t, call(t, mux, "GET", "/v1/jars/j-1/commands/"+someID+"?since=noon", ""), 400, "invalid-parameter")

	w := call(t, commandMux(t, answers(processing.Outcome{}, processing.ErrUndecided)), "GET", "/v1/jars/j-1/commands/"+someID, "")
	wantProblem(t, w, 404, "not-decided-or-unknown")
	if w.Header().Get("Retry-After") != "1" {
		t.Error("no Retry-After")
	}

	w = call(t, commandMux(t, answers(processing.Outcome{}, errors.New("password of redis"))), "GET", "/v1/jars/j-1/commands/"+someID, "")
	wantProblem(t, w, 503, "unavailable")
	if bytes.Contains(w.Body.Bytes(), []byte("password")) {
		t.Error("the answer tells the cause")
	}
}

func TestNewCommandsRefuses(t *testing.T) {
	good := func() httpapi.CommandsConfig {
		return httpapi.CommandsConfig{Aggregates: []*processing.Aggregate{jar()}, Sender: &sender{}, DecodeJSON: decodeJSON}
	}
	if _, err := httpapi.NewCommands(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*httpapi.CommandsConfig){
		"no aggregates":  func(c *httpapi.CommandsConfig) { c.Aggregates = nil },
		"no sender":      func(c *httpapi.CommandsConfig) { c.Sender = nil },
		"no decoder":     func(c *httpapi.CommandsConfig) { c.DecodeJSON = nil },
		"one collection": func(c *httpapi.CommandsConfig) { c.Aggregates = append(c.Aggregates, jar()) },
		"bad collection": func(c *httpapi.CommandsConfig) { c.Aggregates[0].Collection = "{jars}" },
	} {
		config := good()
		spoil(&config)
		if _, err := httpapi.NewCommands(config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
