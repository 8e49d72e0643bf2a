package ledgerline_test

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestOpenAPI has a process that serves everything describe itself as the App does without one, and
// answer as described.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	want, err := testApp.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	l := startLocal(t)
	c := newAPI(t, l.URL)
	a := c.get("/openapi.json")
	if a.Status != http.StatusOK || !bytes.Equal(a.Body, want) {
		t.Fatalf("/openapi.json: %d, and not what the App says", a.Status)
	}
	const at = "https://ledgerline.test/openapi.json"
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.Body))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(at, tree); err != nil {
		t.Fatal(err)
	}
	check := func(a answer, method, path string, status int) {
		t.Helper()
		if a.Status != status {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
			return
		}
		media := strings.ReplaceAll(a.Header.Get("Content-Type"), "/", "~1")
		pointer := "/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + method + "/responses/" + strconv.Itoa(status)
		if status >= http.StatusBadRequest && method == "post" {
			pointer = "/components/responses/orders." + strconv.Itoa(status)
		}
		s, err := compiler.Compile(at + "#" + pointer + "/content/" + media + "/schema")
		if err != nil {
			t.Error(err)
			return
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.Body))
		if err == nil {
			err = s.Validate(instance)
		}
		if err != nil {
			t.Errorf("%s: %s: %v", path, a.Body, err)
		}
	}
	const order = "/v1/orders/{id}"
	check(c.post("/v1/orders/o-1/receive-payment", paying(1250)), "post", order+"/receive-payment", 404)
	check(c.post("/v1/orders/o-1/place-order", `{"customer_id":"ada","total_amount":{"minor_units":1250,"currency":"GBP"},`+
		`"discount":{"minor_units":50,"currency":"GBP"},"placed_at":"2010-12-01T08:26:00Z"}`), "post", order+"/place-order", 201)
	check(c.post("/v1/orders/o-1/ship-order", ""), "post", order+"/ship-order", 409)
	check(c.post("/v1/orders/o-1/receive-payment", paying(1250)), "post", order+"/receive-payment", 201)
	last := c.post("/v1/orders/o-1/cancel-order", `{"reason":"lost"}`)
	check(last, "post", order+"/cancel-order", 201)
	now := []string{"Ledgerline-Position", last.position()}
	check(c.get("/v1/orders/o-1", now...), "get", order, 200)
	check(c.get("/v1/orders/o-1/events", now...), "get", order+"/events", 200)
	check(c.get("/v1/orders/o-1/commands/"+last.decided(t).CommandID), "get", order+"/commands/{command_id}", 200)
	check(c.get("/v1/customers/ada", now...), "get", "/v1/customers/{id}", 200)
	check(c.get("/v1/customers/ada/orders", now...), "get", "/v1/customers/{id}/orders", 200)
	check(c.get("/v1/customers?currency=GBP&sort=-total_spent", now...), "get", "/v1/customers", 200)
	check(c.get("/v1/customers?currency=GBP&sort=total_spent"), "get", "/v1/customers", 400)
}
