package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

// EventsAt implements processing.EventReader. Up to four calls read at once, others wait.
func (l *Log) EventsAt(ctx context.Context, aggregate string, places []processing.Place) ([]processing.Event, error) {
	var r *reader
	select {
	case r = <-l.readers:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { l.readers <- r }()
	if r.cl == nil {
		opened, err := newReader(l.cfg.Client)
		if err != nil {
			return nil, err
		}
		*r = *opened
	}
	w := &wire{topics: l.cfg.Topics, codec: l.cfg.Codec}
	byPartition := map[int32][]int64{}
	for _, p := range places {
		byPartition[p.Partition] = append(byPartition[p.Partition], p.Offset)
	}
	found := map[processing.Place]processing.Event{}
	for partition, offsets := range byPartition {
		records, err := r.at(ctx, topicPartition{l.cfg.Topics.Events(aggregate), partition}, 0, offsets)
		if err != nil {
			return nil, err
		}
		for offset, rec := range records {
			e, err := w.event(ctx, aggregate, rec)
			if err != nil {
				return nil, err
			}
			found[processing.Place{Partition: partition, Offset: offset}] = e
		}
	}
	events := make([]processing.Event, len(places))
	for i, p := range places {
		e, ok := found[p]
		if !ok {
			return nil, fmt.Errorf("the log of %s has no event at %s", aggregate, p)
		}
		events[i] = e
	}
	return events, nil
}

// EventJSON implements processing.EventReader.
func (l *Log) EventJSON(e processing.Event) ([]byte, error) { return l.cfg.Codec.ToJSON(e.Data) }

// nearby is how far apart two offsets may be for reading on from one to the other, instead of asking
// for each.
const nearby = 500

// at returns the records at the given offsets of a partition, by offset. One that is not there (below
// start, where the log begins, or never committed) is missing in the result.
func (r *reader) at(ctx context.Context, tp topicPartition, start int64, offsets []int64) (map[int64]*kgo.Record, error) {
	wanted := map[int64]bool{}
	for _, o := range offsets {
		if o >= start {
			wanted[o] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(wanted))
	found := map[int64]*kgo.Record{}
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n]-sorted[n-1] <= nearby {
			n++
		}
		err := r.read(ctx, map[topicPartition]span{tp: {sorted[0], sorted[n-1] + 1}}, func(rec *kgo.Record) error {
			if wanted[rec.Offset] {
				found[rec.Offset] = rec
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		sorted = sorted[n:]
	}
	return found, nil
}
