package processing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/readstore"
)

// reached returns how far a follower is in the sources of a run.
func (p *Processor) reached(f *Follower, in Fetched) map[readstore.Source]int64 {
	at := make(map[readstore.Source]int64, len(in.Upto))
	for s := range in.Upto {
		if next, ok := f.reached(s); ok && f.Reads(s) {
			at[s] = next
		}
	}
	return at
}

// tellApplied counts the events of a run that a follower has applied, and makes the spans of those that
// are traced. A generation that is built, which reads all events there are, tells nothing of each.
func (p *Processor) tellApplied(ctx context.Context, f *Follower, in Fetched, before map[readstore.Source]int64, began time.Time) {
	after, now := p.reached(f, in), time.Now()
	name := f.Model().Name
	latency, applied := p.cfg.Metrics.latency.WithLabelValues(name), 0
	for i := range in.Events {
		e := &in.Events[i]
		s := readstore.Source{Aggregate: e.Aggregate, Partition: e.Partition}
		if from, ok := before[s]; !ok || e.Offset < from || e.Offset >= after[s] {
			continue
		}
		applied++
		latency.Observe(max(now.Sub(e.Time), 0).Seconds())
		if TraceSampled(e.TraceParent) {
			p.trace(ctx, f, e, began, now)
		}
	}
	p.cfg.Metrics.applied.WithLabelValues(name).Add(float64(applied))
}

// trace makes the span of an event that a read model holds now.
func (p *Processor) trace(ctx context.Context, f *Follower, e *Event, began, ended time.Time) {
	_, span := p.cfg.Tracer.Start(TraceContext(ctx, e.TraceParent), "project "+f.Model().Name,
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(began), trace.WithAttributes(
			attribute.String("ledgerline.projection", f.Model().Name), attribute.String("ledgerline.generation", f.Generation().ID),
			attribute.String("ledgerline.event_type", e.Type), attribute.String("ledgerline.aggregate", e.Aggregate),
			attribute.Int("messaging.destination.partition.id", int(e.Partition)), attribute.Int64("messaging.kafka.offset", e.Offset)))
	span.End(trace.WithTimestamp(ended))
}

// tellProgress tells how far read models are in the sources of a run.
func (p *Processor) tellProgress(in Fetched) {
	if len(in.Upto) == 0 {
		return
	}
	applied := map[readstore.Source]time.Time{}
	for i := range in.Events {
		e := &in.Events[i]
		applied[readstore.Source{Aggregate: e.Aggregate, Partition: e.Partition}] = e.Time
	}
	next := map[lagKey]int64{}
	for s := range in.Upto {
		p.lowestOf(s, next)
	}
	p.cfg.Metrics.lag.set(false, next, applied)
}

// tellLag tells how far read models are in all sources that are owned, and forgets all others.
func (p *Processor) tellLag() {
	next := map[lagKey]int64{}
	for s := range p.sources {
		p.lowestOf(s, next)
	}
	p.cfg.Metrics.lag.set(true, next, nil)
}

// lowestOf puts into next how far the most backward follower of each model is in a source.
func (p *Processor) lowestOf(s readstore.Source, next map[lagKey]int64) {
	lower := func(f *Follower, at int64) {
		k := lagKey{f.Model().Name, s}
		if known, ok := next[k]; !ok || at < known {
			next[k] = at
		}
	}
	for _, f := range p.followers {
		if at, ok := f.reached(s); ok && f.Reads(s) {
			lower(f, at)
		}
	}
	for _, l := range p.laggards {
		if at, ok := l.reached(s); ok {
			lower(l.f, at)
		}
	}
}
