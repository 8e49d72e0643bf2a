package kafka

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/processing/embedded"
	"github.com/ledgerline/ledgerline/schemas"
)

const (
	placedV1  = `{"type":"record","name":"OrderPlaced","namespace":"ledgerline.order","fields":[{"name":"order_id","type":"string"}]}`
	placedV2  = `{"type":"record","name":"OrderPlaced","namespace":"ledgerline.order","fields":[{"name":"order_id","type":"string"},{"name":"note","type":"string","default":""}]}`
	placedBad = `{"type":"record","name":"OrderPlaced","namespace":"ledgerline.order","fields":[{"name":"order_id","type":"string"},{"name":"customer_id","type":"string"}]}`
)

func startServices(t *testing.T) *embedded.Services {
	t.Helper()
	services, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.Close(); err != nil {
			t.Error(err)
		}
	})
	return services
}

func openRegistry(t *testing.T, url string) *Registry {
	t.Helper()
	registry, err := NewRegistry(RegistryConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	return registry
}

func TestRegistryLooksUpAndNeverRegisters(t *testing.T) {
	registry, ctx := openRegistry(t, startServices(t).RegistryURL), t.Context()
	const subject = "order.events-ledgerline.order.OrderPlaced"
	unknown := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, schemas.ErrNotRegistered) {
			t.Errorf("%s: got %v, want ErrNotRegistered", what, err)
		}
	}
	_, err := registry.SchemaByID(ctx, 1)
	unknown("id", err)
	for range 2 { // the first look-up must not have registered it
		_, err = registry.SchemaID(ctx, subject, placedV1)
		unknown("subject", err)
	}
	if err := registry.register(ctx, subject, placedV1); err != nil {
		t.Fatal(err)
	}
	_, err = registry.SchemaID(ctx, subject, placedV2)
	unknown("schema", err)

	id, err := registry.SchemaID(ctx, subject, placedV1)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := registry.SchemaByID(ctx, id); err != nil || text != placedV1 {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestRegistryTroubleIsNotAnAnswer(t *testing.T) {
	const user, password = "ledger", "s3cr3t"
	asked := false
	answers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		asked = u == user && p == password
		http.NotFound(w, r) // as whatever else listens at that address would
	})
	server := httptest.NewServer(answers)
	defer server.Close()
	url := strings.Replace(server.URL, "http://", "http://"+user+":"+password+"@", 1)
	registry := openRegistry(t, url)

	check := func(when string, err error) {
		t.Helper()
		if err == nil || errors.Is(err, schemas.ErrNotRegistered) {
			t.Errorf("%s: got %v, want trouble", when, err)
		} else if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), user) {
			t.Errorf("%s: the error shows user or password: %v", when, err)
		}
	}
	_, err := registry.SchemaByID(t.Context(), 7)
	check("404 without a code", err)
	if !asked {
		t.Error("the user in the URL was not sent")
	}
	server.Close()
	_, err = registry.SchemaID(t.Context(), "s", placedV1)
	check("nobody there", err)

	for _, broken := range []string{
		"", "localhost:8081", "ftp://ledger:s3cr3t@host", "http://ledger:s3cr3t/x@host:8081", "http://ledger:s3cr3t%zz@host",
		"http://ledger:s3cr3t@host:port", "http://ledger:s3cr3t@host/?x=1", "http://",
	} {
		_, err := NewRegistry(RegistryConfig{URL: broken})
		if err == nil {
			t.Errorf("%q is taken for a URL", broken)
		} else if strings.Contains(err.Error(), password) {
			t.Errorf("%q: the error shows the password: %v", broken, err)
		}
	}
}

// TestRegistryAsksForPlainAnswers: Apicurio compresses twice what it answers compressed over HTTP/2.
func TestRegistryAsksForPlainAnswers(t *testing.T) {
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Accept-Encoding")
		_, _ = w.Write([]byte(`{"schema":"\"string\""}`))
	}))
	defer server.Close()
	if _, err := openRegistry(t, server.URL).SchemaByID(t.Context(), 1); err != nil || asked != "" {
		t.Errorf("asked for the encoding %q, %v", asked, err)
	}
}
