package ledgerline

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestTracingVariables has OpenTelemetry's variables decide whether spans are made, and where they go.
func TestTracingVariables(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, name := range []string{"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_SERVICE_NAME"} {
		t.Setenv(name, "")
	}
	if provider, _, err := startTracing(t.Context(), "ledgerline.ingest", log); provider != nil || err != nil {
		t.Errorf("without an endpoint: %v, %v", provider, err)
	}
	sent := make(chan *http.Request, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent <- r }))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "tenant=one")
	provider, stop, err := startTracing(t.Context(), "ledgerline.ingest", log)
	if err != nil || provider == nil {
		t.Fatalf("with an endpoint: %v, %v", provider, err)
	}
	_, span := provider.Tracer("test").Start(t.Context(), "span")
	span.End()
	stop()
	select {
	case r := <-sent:
		if r.URL.Path != "/v1/traces" || r.Header.Get("tenant") != "one" {
			t.Errorf("the collector got %s with %v", r.URL, r.Header)
		}
	default:
		t.Error("the collector got nothing before the end")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	if _, _, err := startTracing(t.Context(), "ledgerline.ingest", log); !errors.As(err, new(misuse)) || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_PROTOCOL=grpc") {
		t.Errorf("with gRPC: %v", err)
	}
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if provider, _, err := startTracing(t.Context(), "ledgerline.ingest", log); provider != nil || err != nil {
		t.Errorf("disabled: %v, %v", provider, err)
	}
}
