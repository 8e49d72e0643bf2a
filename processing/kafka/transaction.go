package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/processing"
)

// transaction is what one poll leads to.
type transaction struct {
	tps     []topicPartition
	batches map[topicPartition]*processing.Batch
	// polled are the partitions' commands, epochs the assignment that the batch was decided under.
	polled map[topicPartition]*polled
	epochs map[topicPartition]uint64
	// produced holds the records in order, each with what to do with its offset once it is known.
	produced []producedRecord
	// appended is when the last command of a partition was, letters and moved count what else is done
	// with commands, by aggregate and cause: for metrics.
	appended map[topicPartition]time.Time
	letters  map[[2]string]int
	moved    map[string]int
	// spans are of the commands that are traced.
	spans map[commandAt]trace.Span
}

// commandAt is the place of a command.
type commandAt struct {
	topicPartition
	offset int64
}

func newTransaction() *transaction {
	return &transaction{
		batches: map[topicPartition]*processing.Batch{}, polled: map[topicPartition]*polled{}, epochs: map[topicPartition]uint64{},
		appended: map[topicPartition]time.Time{}, letters: map[[2]string]int{}, moved: map[string]int{},
	}
}

type producedRecord struct {
	record *kgo.Record
	offset *int64 // nil if nobody needs it
}

// transact decides the polled commands and appends what they lead to, with their offsets, in one
// transaction. What the owned partitions know changes only if it is certain to have committed.
func (s *session) transact(ctx context.Context, fetches kgo.Fetches) error {
	t := newTransaction()
	defer t.endSpans(errUncommitted) // of those that are not ended below
	if err := s.decide(ctx, t, fetches); err != nil || len(t.tps) == 0 {
		return err
	}
	began := time.Now()
	committed, err := s.commit(ctx, t)
	s.cfg.Metrics.ended(committed, err, time.Since(began))
	if err != nil {
		return err
	}
	if !committed {
		// No proof of an abort: forget and read again what became of it.
		s.log.InfoContext(ctx, "transaction did not commit, its partitions are recovered", "partitions", len(t.tps))
		s.drop(t.tps)
		return nil
	}
	t.endSpans(nil)
	s.cfg.Metrics.count(t, s.aggregates)
	for _, tp := range t.tps {
		b := t.batches[tp]
		o := s.owned[tp]
		o.Commit(b)
		if p := t.polled[tp]; p.undecoded != nil {
			s.hold(p)
		}
		if b.Raised() {
			s.cfg.Metrics.floorRaised.WithLabelValues(raisedMemory).Inc()
		}
		s.cfg.Metrics.progress.remember(s, tp, o.CommandIDs(), o.full)
		s.w.committed[tp] = lastOffsets{o.LastEvent(), o.LastOutcome()}
		s.cfg.Metrics.progress.decided(s, tp, o.Next(), t.appended[tp])
		for _, d := range b.Decisions {
			if d.Outcome != nil {
				out := *d.Outcome
				out.Partition, out.Offset = tp.partition, d.OutcomeOffset
				s.cfg.Committed(out)
			}
		}
	}
	s.keeper.memory.Trim()
	return nil
}

// polled is what a poll brought of one partition.
type polled struct {
	tp      topicPartition
	o       *ownedPartition
	records []*kgo.Record
	// homes are the partitions that the records' keys hash to, inputs the commands of those at home.
	homes  []int32
	inputs []processing.Input
	// next is the offset after the records, end that of all that was polled: undecoded, nil if there is no such
	// one, is the first of what lies between.
	next, end int64
	undecoded *undecoded
}

// decide turns polled records into a transaction that is not begun yet. It is of no partition if all of
// them wait, for the store of snapshots or the registry.
func (s *session) decide(ctx context.Context, t *transaction, fetches kgo.Fetches) error {
	var all []*polled
	var failed error
	s.w.wire.lookups.begin()
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		if len(f.Records) == 0 || failed != nil {
			return
		}
		tp := topicPartition{f.Topic, f.Partition}
		o := s.owned[tp]
		if o == nil {
			// It is paused until it is recovered; its position has moved, so the session is of no use.
			failed = fmt.Errorf("a command of %s was polled before the partition was recovered", tp)
			return
		}
		p := &polled{tp: tp, o: o, records: f.Records}
		if failed = s.decode(ctx, p); failed == nil && len(p.records) == 0 {
			s.hold(p)
			return
		}
		all = append(all, p)
	})
	if failed != nil {
		return failed
	}
	for _, p := range s.keeper.load(ctx, all) {
		s.decidePartition(ctx, t, p)
	}
	if err := s.answerRepeats(ctx, t); err != nil {
		return err
	}
	for _, tp := range t.tps {
		if err := s.encode(ctx, t, tp); err != nil {
			return err
		}
	}
	return nil
}

// decode reads the commands of a partition, up to the first whose schema is not known.
func (s *session) decode(ctx context.Context, p *polled) error {
	a := s.aggregates[p.tp.topic]
	p.homes = make([]int32, len(p.records))
	p.inputs = make([]processing.Input, 0, len(p.records))
	p.end = p.records[len(p.records)-1].Offset + 1
	p.next = p.end
	for i, r := range p.records {
		var err error
		if p.homes[i], err = s.home(ctx, r); err != nil {
			return err
		}
		if p.homes[i] != r.Partition {
			continue
		}
		in, err := s.w.wire.command(ctx, a, r)
		if untold, ok := errors.AsType[*untoldError](err); ok {
			p.records, p.homes, p.next, p.undecoded = p.records[:i], p.homes[:i], r.Offset, newUndecoded(untold, r)
			return nil
		}
		if err != nil {
			return err
		}
		p.inputs = append(p.inputs, in)
	}
	return nil
}

// decidePartition adds what the commands of a partition lead to.
func (s *session) decidePartition(ctx context.Context, t *transaction, p *polled) {
	a, o, tp := s.aggregates[p.tp.topic], p.o, p.tp
	t.tps = append(t.tps, tp)
	t.epochs[tp] = o.epoch
	last := p.records[len(p.records)-1]
	t.polled[tp], t.appended[tp] = p, last.Timestamp
	inputs := p.inputs
	for i, r := range p.records {
		if p.homes[i] != r.Partition {
			if r.Offset >= o.from { // else it was moved before the partition was recovered
				s.misplaced(t, a, r, p.homes[i])
			}
			continue
		}
		in := &inputs[0]
		inputs = inputs[1:]
		if r.Offset >= o.Next() {
			s.trace(ctx, t, &in.Command)
			if f := in.Fault; f != nil && f.DeadLetter {
				s.bury(t, a, r, f)
			}
		}
	}
	b := o.Decide(s.cfg.Now(), p.inputs)
	b.Next = max(b.Next, p.next)
	t.batches[tp] = b
}

// encode adds the records of a partition's decisions to the transaction.
func (s *session) encode(ctx context.Context, t *transaction, tp topicPartition) error {
	for _, d := range t.batches[tp].Decisions {
		for i := range d.Events {
			r, err := s.w.wire.eventRecord(ctx, d.Events[i])
			if err != nil {
				return err
			}
			t.produced = append(t.produced, producedRecord{record: r, offset: &d.Events[i].Offset})
		}
		if d.Outcome != nil {
			r, err := s.w.wire.outcomeRecord(ctx, tp.partition, d.Outcome, d.Input.Command.Offset)
			if err != nil {
				return err
			}
			t.produced = append(t.produced, producedRecord{record: r, offset: &d.OutcomeOffset})
		}
	}
	return nil
}

// misplaced moves a command to the partition that its key hashes to, unless it was moved before.
func (s *session) misplaced(t *transaction, a *processing.Aggregate, r *kgo.Record, home int32) {
	switch {
	case header(r, headerMovedFrom) != "":
		s.bury(t, a, r, &processing.Fault{Code: processing.CodeMisplaced, Detail: fmt.Sprintf("moved before, and still its key belongs to partition %d", home)})
	case sizeOf(r) > MaxCommandBytes:
		s.bury(t, a, r, tooLarge(r))
	default:
		t.moved[a.Name]++
		t.produced = append(t.produced, producedRecord{record: moved(r, home)})
	}
}

// bury keeps a command as a dead letter.
func (s *session) bury(t *transaction, a *processing.Aggregate, r *kgo.Record, f *processing.Fault) {
	t.letters[[2]string{a.Name, f.Code}]++
	t.produced = append(t.produced, producedRecord{record: s.w.wire.deadLetter(a.Name, r, f)})
}

// home is the partition that a command's key hashes to.
func (s *session) home(ctx context.Context, r *kgo.Record) (int32, error) {
	n, err := s.w.partitions(ctx, s.adm, r.Topic)
	if err != nil {
		return 0, err
	}
	return PartitionOf(r.Key, n), nil
}

// answerRepeats reads the stored outcomes of repeated commands from the log, all of a transaction's at
// once: after an outage, many come again.
func (s *session) answerRepeats(ctx context.Context, t *transaction) error {
	wanted := map[topicPartition][]int64{}
	for _, tp := range t.tps {
		outcomes := topicPartition{s.cfg.Topics.Outcomes(s.aggregates[tp.topic].Name), tp.partition}
		for _, d := range t.batches[tp].Decisions {
			if d.Repeats >= s.owned[tp].outcomeStart {
				wanted[outcomes] = append(wanted[outcomes], d.Repeats)
			}
		}
	}
	stored, err := s.reader.at(ctx, wanted)
	if err != nil {
		return fmt.Errorf("reading stored outcomes: %w", err)
	}
	for _, tp := range t.tps {
		outcomes := topicPartition{s.cfg.Topics.Outcomes(s.aggregates[tp.topic].Name), tp.partition}
		for _, d := range t.batches[tp].Decisions {
			if d.Repeats < 0 {
				continue
			}
			r, ok := stored[outcomes][d.Repeats]
			if !ok {
				return fmt.Errorf("stored outcome at %s@%d is gone from the log: raise the retention of the outcomes topic above %s", outcomes, d.Repeats, processing.KeepCommandIDs)
			}
			outcome, _, err := s.w.wire.outcome(ctx, r)
			if err != nil {
				return err
			}
			d.Repeat(outcome)
		}
	}
	return nil
}

// commit runs the transaction. (false, nil) is no proof of an abort. After an error the session is of
// no use.
func (s *session) commit(ctx context.Context, t *transaction) (bool, error) {
	// The end of ctx must not tear a transaction: what is begun is ended, within its deadline.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	defer s.w.watch()()
	began := s.cfg.Now()
	if err := s.tx.Begin(); err != nil {
		return false, fmt.Errorf("beginning transaction: %w", err)
	}
	// One failure tells of all, unless another one says that the slot is taken. A Flush that has timed out
	// leaves promises that run on.
	var mu sync.Mutex
	var failed error
	for _, p := range t.produced {
		s.tx.Produce(ctx, p.record, func(r *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if failed == nil || isFenced(err) {
					failed = fmt.Errorf("producing to %s/%d: %w", r.Topic, r.Partition, err)
				}
			} else if p.offset != nil {
				*p.offset = r.Offset
			}
		})
	}
	flushErr := s.tx.Client().Flush(ctx)
	mu.Lock()
	err := errors.Join(flushErr, failed)
	mu.Unlock()
	if err == nil && len(t.produced) > 0 {
		err = s.checkClock(ctx, began)
	}
	if err != nil {
		if _, endErr := s.tx.End(ctx, kgo.TryAbort); endErr != nil {
			return false, errors.Join(err, endErr)
		}
		return false, fmt.Errorf("%w: %w", errAborted, err)
	}
	committed, err := s.tx.End(kgo.PreTxnCommitFnContext(ctx, func(q *kmsg.TxnOffsetCommitRequest) error { return s.guard(t, q) }), kgo.TryCommit)
	if err != nil {
		return false, fmt.Errorf("ending transaction: %w", err)
	}
	return committed, nil
}

// guard completes an offset commit with the partitions' metadata, and refuses one that would not fence:
// from a member that is none, or of a partition that is not owned as it was when the batch was decided. Of
// what was polled and could not be decoded it commits nothing.
func (s *session) guard(t *transaction, q *kmsg.TxnOffsetCommitRequest) error {
	if q.MemberID == "" || q.Generation < 0 {
		return fmt.Errorf("commit guard: not a member of group %s", s.cfg.Group)
	}
	left := slices.Clone(t.tps)
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			p := &q.Topics[i].Partitions[j]
			tp := topicPartition{q.Topics[i].Topic, p.Partition}
			b, ok := t.batches[tp]
			if !ok || s.epochOf(tp) != t.epochs[tp] || p.Offset != t.polled[tp].end {
				return fmt.Errorf("commit guard: offset %d of %s is not this transaction's", p.Offset, tp)
			}
			metadata := s.owned[tp].Metadata(b).String()
			p.Offset, p.Metadata = t.polled[tp].next, &metadata
			left = slices.DeleteFunc(left, func(l topicPartition) bool { return l == tp })
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("commit guard: no offset of %v in the commit: its events would not be fenced", left)
	}
	return nil
}
