package kafka

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/processing"
)

// errUncommitted is told of commands whose transaction did not commit: they are decided again.
var errUncommitted = errors.New("the transaction did not commit, the command is decided again")

// trace begins the span of a command that is traced. It is the parent of what its events lead to.
// Only a command that somebody marked as sampled costs anything here: an import has no spans.
func (s *session) trace(ctx context.Context, t *transaction, c *processing.Command) {
	if !processing.TraceSampled(c.TraceParent) {
		return
	}
	name := c.Type
	if name == "" {
		name = "command"
	}
	ctx, span := s.cfg.Tracer.Start(processing.TraceContext(ctx, c.TraceParent), "decide "+name,
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("ledgerline.aggregate", c.Aggregate), attribute.String("ledgerline.command_id", c.ID),
			attribute.Int("messaging.destination.partition.id", int(c.Partition)), attribute.Int64("messaging.kafka.offset", c.Offset)))
	c.TraceParent = processing.TraceParent(ctx)
	if !span.IsRecording() {
		return
	}
	if t.spans == nil {
		t.spans = map[commandAt]trace.Span{}
	}
	t.spans[commandAt{topicPartition{s.cfg.Topics.Commands(c.Aggregate), c.Partition}, c.Offset}] = span
}

// endSpans ends the spans with what became of their commands; err is nil if t is committed.
func (t *transaction) endSpans(err error) {
	if len(t.spans) == 0 {
		return
	}
	for tp, b := range t.batches {
		for _, d := range b.Decisions {
			at := commandAt{tp, d.Input.Command.Offset}
			if span := t.spans[at]; span != nil && err == nil {
				span.SetAttributes(attribute.String("ledgerline.result", resultOf(d)))
				span.End()
				delete(t.spans, at)
			}
		}
	}
	for _, span := range t.spans {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
	clear(t.spans)
}
