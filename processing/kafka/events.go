package kafka

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

// EventsAt implements processing.EventReader. Up to four calls read at once, others wait.
func (l *Log) EventsAt(ctx context.Context, aggregate string, places []processing.Place) ([]processing.Event, error) {
	r, back, err := l.borrow(ctx)
	if err != nil {
		return nil, err
	}
	defer back()
	w := &wire{topics: l.cfg.Topics, codec: l.cfg.Codec}
	wanted := map[topicPartition][]int64{}
	for _, p := range places {
		tp := topicPartition{l.cfg.Topics.Events(aggregate), p.Partition}
		wanted[tp] = append(wanted[tp], p.Offset)
	}
	found := map[processing.Place]processing.Event{}
	records, err := r.at(ctx, wanted)
	if err != nil {
		return nil, err
	}
	for tp, byOffset := range records {
		for offset, rec := range byOffset {
			e, err := w.delivered(ctx, aggregate, rec)
			if err != nil {
				return nil, err
			}
			found[processing.Place{Partition: tp.partition, Offset: offset}] = e
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

// borrow lends a reader; back returns it.
func (l *Log) borrow(ctx context.Context) (r *reader, back func(), err error) {
	select {
	case r = <-l.readers:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	back = func() { l.readers <- r }
	if r.cl == nil {
		opened, err := newReader(l.cfg.Client)
		if err != nil {
			back()
			return nil, nil, err
		}
		*r = *opened
	}
	return r, back, nil
}

// EventJSON implements processing.EventReader.
func (l *Log) EventJSON(e processing.Event) ([]byte, error) {
	if e.Undecodable != nil {
		return nil, e.Undecodable
	}
	return l.cfg.Codec.ToJSON(e.Data)
}

// nearby is how far apart two offsets may be for reading on from one to the other, instead of asking
// for each.
const nearby = 500

// at returns the records at the wanted offsets of each partition. One that is not there (never
// committed) is missing in the result; offsets below the start of a log are an error. Partitions are read
// side by side, so that it takes as many rounds as the one whose offsets are the most scattered.
func (r *reader) at(ctx context.Context, wanted map[topicPartition][]int64) (map[topicPartition]map[int64]*kgo.Record, error) {
	left, sorted := map[topicPartition][]int64{}, map[topicPartition][]int64{}
	found := map[topicPartition]map[int64]*kgo.Record{}
	for tp, offsets := range wanted {
		all := slices.Clone(offsets)
		slices.Sort(all)
		sorted[tp] = slices.Compact(all)
		left[tp] = sorted[tp]
		found[tp] = map[int64]*kgo.Record{}
	}
	for len(left) > 0 {
		spans := map[topicPartition]span{}
		for tp, offsets := range left {
			n := 1
			for n < len(offsets) && offsets[n]-offsets[n-1] <= nearby {
				n++
			}
			spans[tp] = span{offsets[0], offsets[n-1] + 1}
			if left[tp] = offsets[n:]; n == len(offsets) {
				delete(left, tp)
			}
		}
		err := r.read(ctx, spans, func(rec *kgo.Record) error {
			tp := topicPartition{rec.Topic, rec.Partition}
			if _, ok := slices.BinarySearch(sorted[tp], rec.Offset); ok {
				found[tp][rec.Offset] = rec
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
