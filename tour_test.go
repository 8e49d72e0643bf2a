package ledgerline_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestTour makes the requests of README.md's tour in their order, as curl would, and holds the answers to
// what is said there of them.
func TestTour(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, _ := strings.Cut(string(readme), "\n## Tour\n")
	tour, _, _ = strings.Cut(tour, "\n## ")
	c := newAPI(t, os.Getenv("LEDGERLINE_TOUR_URL")) // of an empty Ledgerline; without one we start our own
	if c.url == "" {
		c.url = startLocal(t).URL
	}
	var position string // of the last command accepted
	request := func(s shellRequest) answer {
		t.Helper()
		if s.headers["Ledgerline-Position"] != "" {
			s.headers["Ledgerline-Position"] = position // the README shows one of another run
		}
		var headers []string
		for name, value := range s.headers {
			headers = append(headers, name, value)
		}
		a, err := c.try(s.method, s.path, s.body, headers...)
		if err != nil {
			t.Fatal(err)
		}
		if a.position() != "" {
			position = a.position()
		}
		return a
	}
	want := []struct {
		path   string
		status int
		holds  string
	}{
		{"/v1/orders/o-1/place-order", 201, `"aggregate":"order","id":"o-1","version":1,"events":[{"id":"`},
		{"/v1/orders/o-1/receive-payment", 409, `"code":"amount-mismatch"`},
		{"/v1/orders/o-1/receive-payment", 201, `"version":2`},
		{"/v1/orders/o-1", 200, `"status":"paid"`},
		{"/v1/customers/c-1", 200, `{"currency":"GBP","orders":1,"total_spent":1250}`},
		{"/v1/customers/c-1/orders", 200, `"order_id":"o-1","status":"paid","version":2`},
		{"/v1/customers?currency=GBP&sort=-total_spent&limit=3", 200, `"customer_id":"c-1"`},
		{"/v1/accounts/a-1/create-account", 201, `"version":1`},
		{"/v1/accounts/a-1/deposit-money", 201, `"version":2`},
		{"/v1/accounts/a-1/withdraw-money", 409, `"code":"insufficient-funds"`},
		{"/v1/accounts/a-1", 200, `"balance":{"minor_units":500,"currency":"GBP"}`},
		{"/v1/accounts/a-1/events", 200, `"type":"MoneyDeposited","version":2`},
		{"/openapi.json", 200, `"openapi": "3.1`},
	}
	requests := curls(t, tour)
	if len(requests) != len(want) {
		t.Fatalf("the tour has %d requests, want %d", len(requests), len(want))
	}
	for i, s := range requests {
		// The answers before are what a reader has seen by now; those of read models come a moment later.
		if s.method == http.MethodGet && s.headers["Ledgerline-Position"] == "" && s.path != "/openapi.json" {
			s.headers["Ledgerline-Position"] = position
		}
		a := request(s)
		if s.path != want[i].path || a.Status != want[i].status || !strings.Contains(string(a.Body), want[i].holds) {
			t.Errorf("%s %s: %d %s, want %s: %d with %s", s.method, s.path, a.Status, a.Body, want[i].path, want[i].status, want[i].holds)
		}
		if i > 0 {
			continue
		}
		if a.Header.Get("ETag") != `"1"` {
			t.Errorf("the first answer has ETag %s", a.Header.Get("ETag"))
		}
		if again := request(s); string(again.Body) != string(a.Body) || again.position() != a.position() {
			t.Errorf("the same again: %d %s, want %s", again.Status, again.Body, a.Body)
		}
		s.body = strings.Replace(s.body, "1250", "1251", 1)
		if other := request(s); other.Status != http.StatusUnprocessableEntity || other.decided(t).Code != "idempotency-key-reused" {
			t.Errorf("another body under its key: %d %s", other.Status, other.Body)
		}
	}
	for body, want := range map[string]string{
		`{"amount":{"minor_units":12.5,"currency":"GBP"}}`: "/v1/orders/o-1/receive-payment 422",
		`{"amount":{"minor_units":1,"currency":"GBP"}}`:    "/v1/orders/o-2/receive-payment 404",
	} {
		path, _, _ := strings.Cut(want, " ")
		if a := c.post(path, body); fmt.Sprint(path, " ", a.Status) != want {
			t.Errorf("%s: %d %s, want %s", body, a.Status, a.Body, want)
		}
	}
}

// shellRequest is a line of curl.
type shellRequest struct {
	method, path, body string
	headers            map[string]string
}

// curls reads the lines of curl in a text: --json BODY, -H HEADER, flags without a value and a URL.
func curls(t *testing.T, text string) []shellRequest {
	t.Helper()
	var all []shellRequest
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		words := shellWords(line)
		if len(words) == 0 || words[0] != "curl" {
			continue
		}
		s := shellRequest{method: http.MethodGet, headers: map[string]string{}}
		for i := 1; i < len(words); i++ {
			switch word := words[i]; {
			case word == "--json":
				i++
				s.method, s.body, s.headers["Content-Type"] = http.MethodPost, words[i], "application/json"
			case word == "-H":
				i++
				name, value, _ := strings.Cut(words[i], ": ")
				s.headers[name] = value
			case strings.HasPrefix(word, "localhost:8080/"):
				s.path = strings.TrimPrefix(word, "localhost:8080")
			case word != "-s" && word != "-si":
				t.Fatalf("%s: the test knows no %s", line, word)
			}
		}
		all = append(all, s)
	}
	return all
}

// shellWords splits a line as a shell does, for words that are quoted whole; what follows # is left out.
func shellWords(line string) []string {
	var words []string
	for line = strings.TrimSpace(line); line != "" && line[0] != '#'; line = strings.TrimSpace(line) {
		var word string
		if line[0] == '\'' {
			word, line, _ = strings.Cut(line[1:], "'")
		} else {
			word, line, _ = strings.Cut(line, " ")
		}
		words = append(words, word)
	}
	return words
}
