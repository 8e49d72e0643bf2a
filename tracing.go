package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/processing"
)

// tracerName names this library in spans.
const tracerName = "github.com/ledgerline/ledgerline"

// tracingShutdown bounds how long the last spans may take to be sent.
const tracingShutdown = 3 * time.Second

// startTracing returns what makes the process's spans, nil if no OTLP endpoint is set, and how to end it.
// It is told everything by the variables that OpenTelemetry defines: the sampler, the batches and the
// headers too.
func startTracing(ctx context.Context, service string, log *slog.Logger) (trace.TracerProvider, func(), error) {
	none := func() {}
	if !tracingWanted(os.Getenv) {
		return nil, none, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != "http/protobuf" {
			return nil, none, misuse{fmt.Errorf("%s=%s: spans are sent as http/protobuf only; unset it and point OTEL_EXPORTER_OTLP_ENDPOINT at the collector's HTTP port, 4318", name, p)}
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, none, misuse{fmt.Errorf("making the exporter of spans: %w; look at the OTEL_EXPORTER_OTLP_ variables", err)}
	}
	module, _ := buildInfo()
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", module)),
		resource.WithFromEnv()) // last: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, none, misuse{fmt.Errorf("describing the process for spans: %w; look at OTEL_RESOURCE_ATTRIBUTES", err)}
	}
	often := processing.Sparing(log)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { // the library has no other place for it
		often.WarnContext(context.WithoutCancel(ctx), "spans could not be sent", "err", err)
	}))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return provider, func() {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracingShutdown)
		defer cancel()
		if err := provider.Shutdown(sctx); err != nil {
			often.WarnContext(sctx, "the last spans could not be sent", "err", err)
		}
	}, nil
}

func tracingWanted(getenv func(string) string) bool {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}
