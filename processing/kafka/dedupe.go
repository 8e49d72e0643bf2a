package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ledgerline/ledgerline/processing"
)

const (
	// DefaultDedupeMemory is what a worker takes for command ids unless it is told otherwise.
	DefaultDedupeMemory = 256 << 20
	// leastBatches is what fits into any partition's share of it, whatever the share: with less, a partition
	// could be full of its own last batches.
	leastBatches = 8
)

// share is what each partition of n may take for command ids.
func (s *session) share(n int) int64 {
	return max(s.cfg.DedupeMemory/int64(max(n, 1)), leastBatches*int64(s.cfg.MaxBatch)*processing.CommandIDBytes)
}

// checkOutcomes says so, and counts it, if outcomes are missing that a recovered partition needs.
func (s *session) checkOutcomes(ctx context.Context, tp topicPartition, o *ownedPartition, committed *processing.Metadata) {
	gap := o.CheckOutcomes(s.cfg.Now(), committed, o.outcomeStart)
	if gap == nil {
		return
	}
	s.cfg.Metrics.floorRaised.WithLabelValues(raisedGap).Inc()
	s.log.ErrorContext(ctx, "what is known of command ids has a gap: those of before are refused, those without a time may be decided again",
		"topic", tp.topic, "partition", tp.partition, "err", fmt.Errorf("%s; ids of before %s fail with %s", gap.Cause, gap.Below.Format("2006-01-02T15:04:05.000Z07:00"), processing.CodeTooOld))
}

// admit stops the polling of partitions whose memory of command ids is full of young ones, and resumes it
// once these are old enough to be forgotten.
func (s *session) admit(ctx context.Context) {
	now := s.cfg.Now()
	pause, resume := map[string][]int32{}, map[string][]int32{}
	var full []topicPartition
	for tp, o := range s.owned {
		was := o.full
		o.BoundCommandIDs(now, s.share(len(s.owned)))
		if o.full = !o.HasRoom(now, s.cfg.MaxBatch); o.full {
			full = append(full, tp)
			pause[tp.topic] = append(pause[tp.topic], tp.partition) // each time: what has waited for a state is resumed
		} else if was {
			resume[tp.topic] = append(resume[tp.topic], tp.partition)
		}
		if o.full != was {
			s.cfg.Metrics.progress.remember(s, tp, o.CommandIDs(), o.full)
		}
	}
	if len(pause) > 0 {
		s.tx.Client().PauseFetchPartitions(pause)
	}
	if len(resume) > 0 {
		s.tx.Client().ResumeFetchPartitions(resume)
	}
	if len(full) == 0 {
		s.w.full.Store(nil)
		return
	}
	slices.SortFunc(full, func(a, b topicPartition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	err := fmt.Errorf("commands of %d of %d partitions wait, of %s for one: the memory of command ids is full of those of the last minute; raise --dedupe-memory, or add an ingest", len(full), len(s.owned), full[0])
	s.w.full.Store(&err)
	s.w.often.WarnContext(ctx, "memory of command ids is full, commands wait", "topic", full[0].topic, "partition", full[0].partition, "err", err)
}

// isHeld reports whether a session ended because nothing may be decided at present.
func isHeld(err error) bool {
	_, ok := errors.AsType[heldError](err)
	return ok
}
