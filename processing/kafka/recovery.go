package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ledgerline/ledgerline/processing"
)

// anotherPrefix is what is left to do about a log that is not the one decided from.
const anotherPrefix = "restore it, or set --prefix to begin anew"

// recover reads back what partitions of the commands topics have led to so far. The order is what
// makes it right: first the stable committed offset (so the predecessor's transaction has ended or
// will be seen), then the high watermark of events and outcomes (the last stable offset would hide
// what an ending transaction is about to make visible), then a read_committed read up to that mark.
// A partition in which a transaction is still open is left out, for a later call: whoever owns others
// goes on with them. So is one whose snapshot the store does not tell of, or that needs a schema which the
// registry does not tell.
func (s *session) recover(ctx context.Context, tps map[topicPartition]uint64) (map[topicPartition]*ownedPartition, error) {
	committed, err := committedOffsets(ctx, s.tx.Client(), s.cfg.Group, tps)
	if err != nil {
		return nil, err
	}
	var topics []string
	for topic, a := range s.aggregates {
		topics = append(topics, topic, s.cfg.Topics.Events(a.Name), s.cfg.Topics.Outcomes(a.Name))
	}
	high, err := readMarks(ctx, s.adm, topics...)
	if err != nil {
		return nil, err
	}
	stable, err := s.adm.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = stable.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing last stable offsets: %w", err)
	}
	open := func(tp topicPartition) bool {
		at, _ := stable.Lookup(tp.topic, tp.partition)
		return at.Offset < high[tp].high
	}
	s.w.wire.lookups.begin()
	recovered := map[topicPartition]*ownedPartition{}
	logs := map[topicPartition]int64{}
	spans := map[topicPartition]span{}
	owner := map[topicPartition]*ownedPartition{} // by events and by outcomes partition
	known := map[topicPartition]*processing.Metadata{}
	for tp, epoch := range tps {
		a := s.aggregates[tp.topic]
		events := topicPartition{s.cfg.Topics.Events(a.Name), tp.partition}
		outcomes := topicPartition{s.cfg.Topics.Outcomes(a.Name), tp.partition}
		if _, ok := committed[tp]; !ok || open(events) || open(outcomes) {
			continue
		}
		at, metadata := committed[tp].At, processing.Metadata{LastEvent: -1, LastOutcome: -1, LowestOutcome: -1}
		if at >= 0 {
			if err := unfinished(s.cfg.Topics, committed[tp].Metadata); err != nil {
				return nil, err
			}
			if metadata, err = processing.ParseMetadata(committed[tp].Metadata); err != nil {
				return nil, fmt.Errorf("group %s has an offset of %s that no worker committed (somebody reset it?): %w; run: kafka-consumer-groups.sh --delete-offsets --group %s --topic %s (events and outcomes then say where to go on)", s.cfg.Group, tp, err, s.cfg.Group, tp.topic)
			}
			known[tp] = &metadata
		}
		if end := high[tp].high; at > end {
			return nil, fmt.Errorf("commands of %s end at %d, before the committed offset %d: the topic was recreated or truncated; %s", tp, end, at, anotherPrefix)
		}
		o := &ownedPartition{Partition: processing.NewPartition(a, tp.partition, max(at, 0), metadata), tp: tp, epoch: epoch, from: max(at, 0)}
		o.BoundCommandIDs(s.cfg.Now(), s.share(len(tps)+len(s.owned)))
		recovered[tp], logs[tp] = o, high[events].high
		if high[events].start > 0 {
			return nil, fmt.Errorf("log of events %s begins at %d, not at 0: without its beginning no state is right", events, high[events].start)
		}
		o.outcomeStart = high[outcomes].start
		spans[outcomes] = span{max(metadata.FirstOutcome(), o.outcomeStart), high[outcomes].high}
		owner[events], owner[outcomes] = o, o
	}
	from := s.keeper.bases(ctx, recovered, logs)
	for tp, o := range recovered {
		events := topicPartition{s.cfg.Topics.Events(s.aggregates[tp.topic].Name), tp.partition}
		at, ok := from[tp]
		if !ok {
			delete(recovered, tp)
			delete(spans, topicPartition{s.cfg.Topics.Outcomes(s.aggregates[tp.topic].Name), tp.partition})
			continue
		}
		if o.Reached() >= logs[tp] {
			return nil, fmt.Errorf("log of events %s ends at %d, but a snapshot has event %d: it is not whole; %s", events, logs[tp], o.Reached(), anotherPrefix)
		}
		spans[events] = span{at, logs[tp]}
	}
	if err := s.reader.read(ctx, spans, func(r *kgo.Record) error { return s.replay(ctx, owner, r) }); err != nil {
		return nil, fmt.Errorf("recovering %d partitions: %w", len(tps), err)
	}
	s.setAside(recovered)
	s.keeper.folded(ctx, recovered)
	for tp, o := range recovered {
		least := int64(-1)
		if own, ok := s.w.committed[tp]; ok {
			least = own.event
		}
		if m := known[tp]; m != nil {
			least = max(least, m.LastEvent)
		}
		if o.Reached() < least {
			return nil, fmt.Errorf("recovered %s up to event %d, but event %d was committed: the log of %s is not whole; %s", tp, o.Reached(), least, s.cfg.Topics.Events(s.aggregates[tp.topic].Name), anotherPrefix)
		}
		// Commands below an offset that is decided are passed over: in a log that was recreated those
		// would be new ones.
		if end := high[tp].high; o.Next() > end {
			return nil, fmt.Errorf("commands of %s end at %d, but command %d was decided: the topic was recreated or truncated; %s", tp, end, o.Next()-1, anotherPrefix)
		}
		s.checkOutcomes(ctx, tp, o, known[tp])
	}
	return recovered, nil
}

// replay folds one record of events or outcomes into the partition that owns it.
func (s *session) replay(ctx context.Context, owner map[topicPartition]*ownedPartition, r *kgo.Record) error {
	o := owner[topicPartition{r.Topic, r.Partition}]
	if o.failed != nil || o.undecoded != nil {
		return nil
	}
	aggregate, kind := s.cfg.Topics.Parse(r.Topic)
	if kind == outcomesKind {
		outcome, input, err := s.w.wire.outcome(ctx, r)
		if untold, ok := errors.AsType[*untoldError](err); ok {
			o.undecoded = newUndecoded(untold, r)
			return nil
		}
		if err != nil {
			return err
		}
		o.RecoverOutcome(outcome, input)
		return nil
	}
	event, err := s.w.wire.event(ctx, aggregate, r)
	if untold, ok := errors.AsType[*untoldError](err); ok {
		o.undecoded = newUndecoded(untold, r)
		return nil
	}
	var bad *eventError
	if errors.As(err, &bad) {
		s.log.ErrorContext(ctx, "event cannot be decoded, commands of its aggregate will fail", "aggregate_id", string(r.Key), "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", err)
		s.keeper.recovered(ctx, o, recoveredEvent{id: string(r.Key), offset: r.Offset, unreadable: err})
		return nil
	}
	if err != nil {
		return err
	}
	s.keeper.recovered(ctx, o, recoveredEvent{id: event.AggregateID, event: event})
	return nil
}

// committedOffsets fetches a group's committed offsets with their metadata, -1 where there is none. It leaves
// out those that an open transaction is about to change. It asks for each partition by its name: of a group
// as a whole, Kafka does not tell that the first offset of a partition is about to come.
func committedOffsets[V any](ctx context.Context, cl *kgo.Client, name string, tps map[topicPartition]V) (map[topicPartition]kadm.Offset, error) {
	asked := map[string][]int32{}
	for tp := range tps {
		asked[tp.topic] = append(asked[tp.topic], tp.partition)
	}
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = name
	for topic, partitions := range asked {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = topic, partitions
		group.Topics = append(group.Topics, t)
	}
	q := kmsg.NewPtrOffsetFetchRequest()
	q.RequireStable, q.Groups = true, append(q.Groups, group)
	answer, err := q.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	found := map[topicPartition]kadm.Offset{}
	for i := 0; err == nil && i < len(answer.Groups); i++ {
		err = kerr.ErrorForCode(answer.Groups[i].ErrorCode)
		for _, t := range answer.Groups[i].Topics {
			for _, p := range t.Partitions {
				failed := kerr.ErrorForCode(p.ErrorCode)
				switch {
				case failed == nil:
					o := kadm.Offset{At: p.Offset}
					if p.Metadata != nil {
						o.Metadata = *p.Metadata
					}
					found[topicPartition{t.Topic, p.Partition}] = o
				case err == nil && !errors.Is(failed, kerr.UnstableOffsetCommit):
					err = failed
				}
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("fetching committed offsets of group %s: %w", name, err)
	}
	return found, nil
}
