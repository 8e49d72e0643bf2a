package ledgerline_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/ledgerline/ledgerline/local"
)

const (
	traceID  = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentID = "00f067aa0ba902b7"
)

// traced runs a Ledgerline whose spans are kept.
func traced(t *testing.T) (*local.Local, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	l, err := local.Start(t.Context(), local.Config{App: testApp, Log: logger(t), Tracing: provider})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return l, spans
}

// eventTrace returns the traceparent of the one event of an order, as it stands in the log.
func eventTrace(t *testing.T, p *plain, order string) string {
	t.Helper()
	for _, r := range p.read("order.events") {
		if string(r.Key) == order {
			return headerOf(r, "traceparent")
		}
	}
	t.Fatalf("there is no event of %s", order)
	return ""
}

// TestTraceOfACommand follows a trace from an HTTP request to what every read model made of it. A command
// from Kafka takes part in its sender's too; one that nobody samples, or without a trace, has no spans.
func TestTraceOfACommand(t *testing.T) {
	t.Parallel()
	l, recorder := traced(t)
	c, p := newAPI(t, l.URL), newPlain(t, l.Connection)
	a := c.post("/v1/orders/o-1/place-order", placing("ada", 10), "traceparent", "00-"+traceID+"-"+parentID+"-01")
	if a.Status != http.StatusCreated {
		t.Fatalf("placing: %d %s", a.Status, a.Body)
	}
	models := []string{"order-status", "customer-orders", "history"}
	byName := map[string]sdktrace.ReadOnlySpan{}
	await(t, "the spans", func() error {
		for _, s := range recorder.Ended() {
			byName[s.Name()] = s
		}
		for _, m := range models {
			if byName["project "+m] == nil {
				return fmt.Errorf("there are %v", byName)
			}
		}
		return nil
	})
	request, decide := byName["POST /v1/orders/{id}/place-order"], byName["decide PlaceOrder"]
	if request == nil || decide == nil {
		t.Fatalf("there are spans %v", byName)
	}
	parents := map[sdktrace.ReadOnlySpan]string{request: parentID, decide: request.SpanContext().SpanID().String()}
	for _, m := range models {
		parents[byName["project "+m]] = decide.SpanContext().SpanID().String()
	}
	for s, parent := range parents {
		if s.SpanContext().TraceID().String() != traceID || s.Parent().SpanID().String() != parent {
			t.Errorf("%s is in trace %s below %s, want below %s", s.Name(), s.SpanContext().TraceID(), s.Parent().SpanID(), parent)
		}
	}
	if n := len(recorder.Ended()); n != 2+len(models) {
		t.Errorf("there are %d spans, want %d: %v", n, 2+len(models), byName)
	}
	if got, want := eventTrace(t, p, "o-1"), "00-"+traceID+"-"+decide.SpanContext().SpanID().String()+"-01"; got != want {
		t.Errorf("the event has traceparent %q, want %q", got, want)
	}
	if result := fmt.Sprint(decide.Attributes()); !strings.Contains(result, "accepted") || !strings.Contains(fmt.Sprint(request.Attributes()), "201") {
		t.Errorf("attributes are %s and %v", result, request.Attributes())
	}

	// From Kafka: not sampled, no trace, and sampled, which comes last.
	before := len(recorder.Ended())
	unsampled := "00-" + traceID + "-" + parentID + "-00"
	for order, header := range map[string]string{"k-1": unsampled, "k-2": ""} {
		p.append(orderRecord(order, header))
	}
	await(t, "the events of commands that are not traced", func() error {
		if e := p.events(); len(e["k-1"]) != 1 || len(e["k-2"]) != 1 {
			return fmt.Errorf("there are %v", e)
		}
		return nil
	})
	p.append(orderRecord("k-3", "00-"+traceID+"-"+parentID+"-01"))
	await(t, "the spans of a command from Kafka", func() error {
		if n := len(recorder.Ended()) - before; n != 1+len(models) {
			return fmt.Errorf("%d spans, want %d", n, 1+len(models))
		}
		return nil
	})
	if k1, k2 := eventTrace(t, p, "k-1"), eventTrace(t, p, "k-2"); k1 != unsampled || k2 != "" {
		t.Errorf("the events have traceparents %q and %q", k1, k2)
	}
}

func orderRecord(id, traceParent string) *kgo.Record {
	r := &kgo.Record{
		Topic: "order.commands", Key: []byte(id), Value: []byte(placing("ada", 10)),
		Headers: header("content-type", "application/json", "ce_type", "PlaceOrder"),
	}
	if traceParent != "" {
		r.Headers = append(r.Headers, header("traceparent", traceParent)...)
	}
	return r
}

// TestTraceParentIsHandedOn has no tracing: what came with the request stands on the event.
func TestTraceParentIsHandedOn(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c, p := newAPI(t, l.URL), newPlain(t, l.Connection)
	want := "00-" + traceID + "-" + parentID + "-01"
	c.post("/v1/orders/o-1/place-order", placing("ada", 10), "traceparent", want)
	if got := eventTrace(t, p, "o-1"); got != want {
		t.Errorf("the event has traceparent %q, want %q", got, want)
	}
}
