package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

const (
	// decisionReaders is how many calls of Decision read at once.
	decisionReaders = 4
	// decisionTimeout bounds each.
	decisionTimeout = 5 * time.Second
	// clocksApart is how far two clocks may differ: those of a client, a worker and a broker.
	clocksApart = 2 * time.Minute
	// timelessFor is how far back the decision on a command is searched of whose time nothing is known.
	timelessFor = time.Hour
)

var errFound = errors.New("found")

// Decision implements processing.Sender: it reads the outcomes of the aggregate's partition, those that were
// appended since the command was sent, whoever sent and decided it.
func (s *Sender) Decision(ctx context.Context, aggregate, aggregateID, commandID string, since time.Time) (processing.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, decisionTimeout)
	defer cancel()
	return s.decision(ctx, aggregate, aggregateID, commandID, since)
}

// decision is Decision without a bound of its own.
func (s *Sender) decision(ctx context.Context, aggregate, aggregateID, commandID string, since time.Time) (processing.Outcome, error) {
	none := processing.Outcome{}
	topic := s.cfg.Topics.Outcomes(aggregate)
	var r *reader
	select {
	case r = <-s.readers:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	defer func() { s.readers <- r }()
	if r.cl == nil {
		opened, err := newReader(s.cfg.Client)
		if err != nil {
			return none, err
		}
		*r = *opened
	}
	tp, appended, err := s.decisionSpan(ctx, topic, aggregateID, sentAt(commandID, since, s.cfg.Now()))
	if err != nil {
		return none, fmt.Errorf("looking for the decision on command %s: %w", commandID, err)
	}
	found, answered := none, false
	err = r.read(ctx, map[topicPartition]span{tp: appended}, func(rec *kgo.Record) error {
		if string(rec.Key) != aggregateID || !strings.EqualFold(header(rec, headerCommandID), commandID) {
			return nil
		}
		o, _, err := s.wire.outcome(ctx, rec)
		if err != nil {
			return err
		}
		found, answered = o, true
		if o.Decision {
			return errFound
		}
		return nil
	})
	switch {
	case errors.Is(err, errFound), err == nil && answered:
		return found, nil
	case err != nil:
		return none, fmt.Errorf("looking for the decision on command %s: %w", commandID, err)
	}
	return none, processing.ErrUndecided
}

// sentAt returns a time before which a command was not decided: since, if it is known, or what its id says.
func sentAt(commandID string, since, now time.Time) time.Time {
	if since.IsZero() {
		since = now.Add(-timelessFor)
		if at, ok := processing.CommandTime(commandID); ok {
			since = at
		}
	}
	return since.Add(-clocksApart)
}

// decisionSpan returns the partition of an aggregate, and which of its offsets were appended since a time.
func (s *Sender) decisionSpan(ctx context.Context, topic, aggregateID string, since time.Time) (topicPartition, span, error) {
	adm := kadm.NewClient(s.cl)
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return topicPartition{}, span{}, err
	}
	tp := topicPartition{topic, PartitionOf([]byte(aggregateID), int32(len(ends[topic])))}
	starts, err := adm.ListOffsetsAfterMilli(ctx, since.UnixMilli(), topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return tp, span{}, err
	}
	start, _ := starts.Lookup(tp.topic, tp.partition)
	end, _ := ends.Lookup(tp.topic, tp.partition)
	return tp, span{start.Offset, end.Offset}, nil
}
