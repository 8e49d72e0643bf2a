package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// answer is what the API answered.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// position is what makes a query wait for the command answered here.
func (a answer) position() string { return a.Header.Get("Ledgerline-Position") }

func (a answer) String() string { return fmt.Sprintf("%d %s", a.Status, a.Body) }

// code is the code of a refusal.
func (a answer) code() string {
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.Body, &problem) // no code is none
	return problem.Code
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("reading answer %s: %v", a, err)
	}
}

// try makes a request, on a connection of its own; headers come as name, value, name, value. It may be
// called from any goroutine.
func try(ctx context.Context, method, address, body string, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			request.Header.Set(headers[i], headers[i+1])
		}
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, text}, err
}

func (u *suite) post(t *testing.T, path, body string, headers ...string) answer {
	t.Helper()
	a, err := try(t.Context(), http.MethodPost, u.system.Commands()+path, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (u *suite) get(t *testing.T, path string, headers ...string) answer {
	t.Helper()
	a, err := try(t.Context(), http.MethodGet, u.system.Queries()+path, "", headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// list reads a whole list of the query API, page by page.
func list[T any](ctx context.Context, u *suite, path string, query url.Values) ([]T, error) {
	var all []T
	for {
		a, err := try(ctx, http.MethodGet, u.system.Queries()+path+"?"+query.Encode(), "")
		if err != nil {
			return all, err
		}
		if a.Status != http.StatusOK {
			return all, fmt.Errorf("page after %q: %s", query.Get("cursor"), a)
		}
		var page struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}
		if err := json.Unmarshal(a.Body, &page); err != nil {
			return all, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("cursor", page.Next)
	}
}

// placing is the body of a place-order, paying of a receive-payment.
func placing(customer string, pence int64) string {
	return fmt.Sprintf(`{"customer_id":%q,"total_amount":{"minor_units":%d,"currency":"GBP"}}`, customer, pence)
}

func paying(pence int64) string {
	return fmt.Sprintf(`{"amount":{"minor_units":%d,"currency":"GBP"}}`, pence)
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

// sees returns an error unless the customer has spent exactly so much as of the position.
func (u *suite) sees(ctx context.Context, who, position string, pence int64) error {
	a, err := try(ctx, http.MethodGet, u.system.Queries()+"/v1/customers/"+who, "", "Ledgerline-Position", position)
	if err != nil {
		return err
	}
	if a.Status != http.StatusOK {
		return fmt.Errorf("customer %s at %s: %s", who, position, a)
	}
	var seen customer
	if err := json.Unmarshal(a.Body, &seen); err != nil {
		return err
	}
	if seen.spent() != pence {
		return fmt.Errorf("customer %s at %s spent %d, want %d", who, position, seen.spent(), pence)
	}
	return nil
}
