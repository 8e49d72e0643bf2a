package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/processing"
)

// observer counts requests and makes their spans.
type observer struct {
	metrics *Metrics
	tracer  trace.Tracer
}

func newObserver(m *Metrics, t trace.Tracer) *observer {
	if m == nil {
		m = NewMetrics(nil)
	}
	if t == nil {
		t = processing.NoTracer
	}
	return &observer{m, t}
}

// wrap observes the requests of a route. The request that h gets is in the context of its span: a new
// trace, or the one that the request's traceparent belongs to. Without a tracer that one goes on as it is.
func (o *observer) wrap(method, route string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ctx, span := o.tracer.Start(processing.TraceContext(r.Context(), traceParent(r.Header)), method+" "+route,
			trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route)))
		answered := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(answered, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", answered.status))
		if answered.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(answered.status))
		}
		span.End()
		o.metrics.requests.WithLabelValues(route, method, strconv.Itoa(answered.status)).Inc()
		o.metrics.duration.WithLabelValues(route, method).Observe(time.Since(began).Seconds())
	})
}

// statusWriter remembers the status that was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// unwrapped returns the server's own writer, which closes the connection when told that a body is too
// large.
func unwrapped(w http.ResponseWriter) http.ResponseWriter {
	if s, ok := w.(*statusWriter); ok {
		return s.ResponseWriter
	}
	return w
}
