package ledgerline_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/local"
)

// checkShown asks for all that is shown of an accepted command as of its position: the document, that of
// the order's customer, and the aggregate's events.
func checkShown(c *api, r rule, id, position string) error {
	at := []string{"Ledgerline-Position", position}
	if err := shows(c, "/v1/"+r.aggregate+"s/"+id, r.shown, at); err != nil {
		return err
	}
	if r.customer != "" {
		if err := showsCustomer(c, r, id, at); err != nil {
			return err
		}
	}
	events, err := overHTTP(c, r, id, at...)
	if got, want := typesOf(events), r.events(); err != nil || !slices.Equal(got, want) {
		return fmt.Errorf("%s has events %v, want %v, %w", id, got, want, err)
	}
	return nil
}

func showsCustomer(c *api, r rule, id string, at []string) error {
	if err := shows(c, "/v1/customers/"+customerOf(id), r.customer, at); err != nil {
		return err
	}
	var document struct{ Status string }
	if err := json.Unmarshal([]byte(r.shown), &document); err != nil {
		return err
	}
	a, err := c.try(http.MethodGet, "/v1/customers/"+customerOf(id)+"/orders", "", at...)
	want := fmt.Sprintf(`{"items":[{"order_id":%q,"status":%q,"version":%d,`, id, document.Status, len(r.events()))
	if err != nil || !strings.HasPrefix(string(a.Body), want) {
		return fmt.Errorf("the orders of the customer of %s: %d %s, want %s…, %w", id, a.Status, a.Body, want, err)
	}
	return nil
}

// shows returns an error unless the document has all fields of want, a JSON object.
func shows(c *api, path, want string, headers []string) error {
	a, err := c.try(http.MethodGet, path, "", headers...)
	if err != nil {
		return err
	}
	var got, fields map[string]any
	if err := errors.Join(json.Unmarshal(a.Body, &got), json.Unmarshal([]byte(want), &fields)); err != nil {
		return fmt.Errorf("%s: %d %s: %w", path, a.Status, a.Body, err)
	}
	for name, value := range fields {
		if !reflect.DeepEqual(got[name], value) || a.Status != http.StatusOK {
			return fmt.Errorf("GET %s %v: %d %s, want %s", path, headers, a.Status, a.Body, want)
		}
	}
	return nil
}

// listed is an event as both `rebuild events` and HTTP list it.
type listed struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Version   int64           `json:"version"`
	CommandID string          `json:"command_id"`
	Data      json.RawMessage `json:"data"`
}

func overHTTP(c *api, r rule, id string, headers ...string) ([]listed, error) {
	a, err := c.try(http.MethodGet, "/v1/"+r.aggregate+"s/"+id+"/events", "", headers...)
	if err == nil && a.Status != http.StatusOK {
		err = errors.New(string(a.Body))
	}
	var page struct{ Items []listed }
	if err == nil {
		err = json.Unmarshal(a.Body, &page)
	}
	return page.Items, err
}

// typesOf returns the events' types, after a look at the rest of them.
func typesOf(events []listed) []string {
	var types []string
	for i, e := range events {
		if e.Version != int64(i+1) || e.ID == "" || e.CommandID == "" || len(e.Data) < len(`{"order_id":"x"}`) {
			return []string{fmt.Sprintf("the event %+v at %d", e, i)}
		}
		types = append(types, e.Type)
	}
	return types
}

// checkHistory has `rebuild events` list the longest history of each aggregate: it says what HTTP says.
func checkHistory(t *testing.T, l *local.Local, c *api, way string) {
	t.Helper()
	longest := map[string]rule{}
	for _, r := range rules() {
		if r.accepted() && len(r.events()) > len(longest[r.aggregate].events()) {
			longest[r.aggregate] = r
		}
	}
	for _, r := range longest {
		id := r.id(way)
		p := run(t, ledgerline.RunRebuild, l.Connection, "events", r.aggregate, id, "-o", "json")
		var told []listed
		for _, line := range lines(p.stdout) {
			var e listed
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("rebuild events printed %s: %v", line, err)
			}
			told = append(told, e)
		}
		want, err := overHTTP(c, r, id)
		if err != nil || p.code != ledgerline.ExitOK || len(told) < 2 || !reflect.DeepEqual(told, want) {
			t.Errorf("rebuild events %s %s: exit %d: %v, over HTTP %v, %v; %s", r.aggregate, id, p.code, told, want, err, p.stderr)
		}
	}
}
