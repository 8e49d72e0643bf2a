package processing

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// NoTracer makes no spans.
var NoTracer = noop.NewTracerProvider().Tracer("")

const traceParentKey = "traceparent"

// TraceContext returns ctx with the span that a traceparent of W3C Trace Context names as its parent,
// or ctx if it names none.
func TraceContext(ctx context.Context, traceParent string) context.Context {
	if traceParent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceParentKey: traceParent})
}

// TraceParent returns the traceparent of the span in ctx, "" if there is none.
func TraceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceParentKey]
}

// TraceSampled reports whether whoever made a traceparent records its spans. It is cheap: it is asked
// of every record.
func TraceSampled(traceParent string) bool {
	const length = len("00-00000000000000000000000000000000-0000000000000000-00")
	if len(traceParent) != length || strings.IndexByte("13579bdf", traceParent[length-1]) < 0 {
		return false
	}
	return trace.SpanContextFromContext(TraceContext(context.Background(), traceParent)).IsSampled()
}
