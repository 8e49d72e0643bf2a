package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ledgerline/ledgerline/processing"
)

// errOpen says that a transaction has not ended for longer than Kafka lets one be open.
var errOpen = errors.New("a transaction has not ended (see docs/guides/hanging-transactions.md)")

// finish ends transactions of the slot that Kafka takes for ended and that hang: it writes no marker
// into a partition that has no leader. Whoever takes the slot's id waits until its last transaction
// has ended; what the id has open then, hangs. A new transaction of the same id that such a partition is
// added to, with nothing written, puts its own marker there, which ends both.
//
// Commit or abort? The hanging one may have been committed, with its markers written elsewhere. It was, if
// the partition's offset in the group says so, or the marker in the sibling of events or outcomes, or if
// this worker was told so. Else nothing of it is visible anywhere: it is aborted, and its commands are
// decided again. Events and outcomes that both hang have one fate: a sign for either is one for both.
// The group's pending offsets are always dropped: the outcomes say where to go on.
func (w *Worker) finish(ctx context.Context) error {
	w.finished = time.Now()
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if err := w.checkSlot(ctx); err != nil {
		return err
	}
	// Requests of before transaction version 2, by which partitions are added apart from what is written.
	cl, err := kgo.NewClient(append(clientOptions(w.cfg.Client),
		kgo.TransactionalID(w.cfg.Slot), kgo.TransactionTimeout(w.cfg.TransactionTimeout), kgo.MaxVersions(kversion.V3_7_0()))...)
	if err != nil {
		return fmt.Errorf("finishing what slot %s left: %w", w.cfg.Slot, err)
	}
	defer cl.Close()
	f := &finisher{w: w, cl: cl, adm: kadm.NewClient(cl)}
	if f.id, f.epoch, err = cl.ProducerID(ctx); err != nil {
		return fmt.Errorf("finishing what slot %s left: taking the slot: %w", w.cfg.Slot, err)
	}
	commit, abort, err := f.hanging(ctx)
	if err == nil && len(commit) > 0 {
		err = f.end(ctx, true, commit)
	}
	if err == nil {
		err = f.end(ctx, false, abort)
	}
	if err != nil {
		return fmt.Errorf("finishing what slot %s left: %w", w.cfg.Slot, err)
	}
	w.cfg.Metrics.finished.Add(float64(len(commit) + len(abort)))
	if len(commit) > 0 {
		w.cfg.Log.WarnContext(ctx, "hanging transaction finished by a commit", "partitions", len(commit))
	}
	if len(abort) > 0 {
		w.cfg.Log.WarnContext(ctx, "hanging transaction finished by an abort", "partitions", len(abort))
	}
	return nil
}

type finisher struct {
	w     *Worker
	cl    *kgo.Client
	adm   *kadm.Client
	id    int64
	epoch int16
}

// hanging returns the partitions of events and outcomes in which a transaction of the slot hangs.
func (f *finisher) hanging(ctx context.Context) (commit, abort []topicPartition, err error) {
	var events, commands []string
	topics := kadm.TopicsSet{}
	for _, a := range f.w.cfg.Aggregates {
		commands = append(commands, f.w.cfg.Topics.Commands(a.Name))
		for _, topic := range []string{f.w.cfg.Topics.Events(a.Name), f.w.cfg.Topics.Outcomes(a.Name)} {
			topics.Add(topic)
			events = append(events, topic)
		}
	}
	described, err := f.adm.DescribeProducers(ctx, topics)
	if err != nil {
		return nil, nil, fmt.Errorf("describing producers: %w", err)
	}
	open := map[topicPartition]kadm.DescribedProducer{}
	described.EachProducer(func(p kadm.DescribedProducer) {
		if p.ProducerID == f.id && p.CurrentTxnStartOffset >= 0 {
			open[topicPartition{p.Topic, p.Partition}] = p
		}
	})
	if len(open) == 0 {
		return nil, nil, nil
	}
	marks, err := readMarks(ctx, f.adm, events...)
	if err != nil {
		return nil, nil, err
	}
	offsets, err := f.adm.FetchOffsetsForTopics(ctx, f.w.cfg.Group, commands...)
	if err != nil {
		return nil, nil, fmt.Errorf("fetching committed offsets: %w", err)
	}
	committed := map[topicPartition]bool{} // by partition of commands
	for tp, p := range open {
		yes, err := f.wasCommitted(ctx, tp, p, marks, offsets)
		if err != nil {
			return nil, nil, err
		}
		if yes {
			committed[f.commands(tp)] = true
		}
	}
	for tp := range open {
		if committed[f.commands(tp)] {
			commit = append(commit, tp)
		} else {
			abort = append(abort, tp)
		}
	}
	return commit, abort, nil
}

// commands returns the partition of commands that a partition of events or outcomes belongs to.
func (f *finisher) commands(tp topicPartition) topicPartition {
	aggregate, _ := f.w.cfg.Topics.Parse(tp.topic)
	return topicPartition{f.w.cfg.Topics.Commands(aggregate), tp.partition}
}

// wasCommitted reports whether there is a sign that a hanging transaction was committed elsewhere.
func (f *finisher) wasCommitted(ctx context.Context, tp topicPartition, p kadm.DescribedProducer, marks map[topicPartition]marks, offsets kadm.OffsetResponses) (bool, error) {
	aggregate, kind := f.w.cfg.Topics.Parse(tp.topic)
	of := func(l lastOffsets) int64 { return l.outcome }
	sibling := topicPartition{f.w.cfg.Topics.Events(aggregate), tp.partition}
	if kind == eventsKind {
		of = func(l lastOffsets) int64 { return l.event }
		sibling.topic = f.w.cfg.Topics.Outcomes(aggregate)
	}
	commands := f.commands(tp)
	if last, ok := f.w.committed[commands]; ok && of(last) >= p.CurrentTxnStartOffset {
		return true, nil
	}
	if o, ok := offsets.Lookup(commands.topic, commands.partition); ok && o.At >= 0 {
		if m, err := processing.ParseMetadata(o.Metadata); err == nil && of(lastOffsets{m.LastEvent, m.LastOutcome}) >= p.CurrentTxnStartOffset {
			return true, nil
		}
	}
	return f.markedCommitted(ctx, sibling, marks[sibling].high, p.ProducerEpoch)
}

// markedCommitted reports whether the last record of a partition is the marker of a committed transaction
// of that epoch. Nobody can have written anything after it: the sibling is not readable.
func (f *finisher) markedCommitted(ctx context.Context, tp topicPartition, high int64, epoch int16) (bool, error) {
	if high == 0 {
		return false, nil
	}
	cl, err := kgo.NewClient(append(clientOptions(f.w.cfg.Client),
		kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{tp.topic: {tp.partition: kgo.NewOffset().At(high - 1)}}))...)
	if err != nil {
		return false, fmt.Errorf("reading the end of %s: %w", tp, err)
	}
	defer cl.Close()
	fetches := cl.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		return false, fmt.Errorf("reading the end of %s: %w", tp, err)
	}
	for _, r := range fetches.Records() {
		// The key of a marker is two numbers of 16 bits: its version, and 1 for a commit. With transaction
		// version 2, its epoch is one more than that of what it ends.
		if r.Offset == high-1 && r.Attrs.IsControl() && r.ProducerID == f.id && (r.ProducerEpoch == epoch || r.ProducerEpoch == epoch+1) && len(r.Key) >= 4 {
			return binary.BigEndian.Uint16(r.Key[2:]) == 1, nil
		}
	}
	return false, nil
}

// end runs a transaction in which nothing is written but the markers of those partitions, and of the
// group's offsets if it is an abort.
func (f *finisher) end(ctx context.Context, commit bool, tps []topicPartition) error {
	if len(tps) > 0 {
		if err := f.retry(ctx, func() error { return f.add(ctx, tps) }); err != nil {
			return err
		}
	}
	if !commit {
		q := kmsg.NewPtrAddOffsetsToTxnRequest()
		q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Group = f.w.cfg.Slot, f.id, f.epoch, f.w.cfg.Group
		if err := f.retry(ctx, func() error {
			resp, err := q.RequestWith(ctx, f.cl)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(resp.ErrorCode)
		}); err != nil {
			return fmt.Errorf("adding the offsets of group %s: %w", f.w.cfg.Group, err)
		}
	}
	q := kmsg.NewPtrEndTxnRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = f.w.cfg.Slot, f.id, f.epoch, commit
	if err := f.retry(ctx, func() error {
		resp, err := q.RequestWith(ctx, f.cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	}); err != nil {
		return fmt.Errorf("ending the transaction: %w", err)
	}
	return nil
}

func (f *finisher) add(ctx context.Context, tps []topicPartition) error {
	byTopic := map[string][]int32{}
	for _, tp := range tps {
		byTopic[tp.topic] = append(byTopic[tp.topic], tp.partition)
	}
	q := kmsg.NewPtrAddPartitionsToTxnRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch = f.w.cfg.Slot, f.id, f.epoch
	for topic, partitions := range byTopic {
		t := kmsg.NewAddPartitionsToTxnRequestTopic()
		t.Topic, t.Partitions = topic, partitions
		q.Topics = append(q.Topics, t)
	}
	resp, err := q.RequestWith(ctx, f.cl)
	if err != nil {
		return fmt.Errorf("adding partitions: %w", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("adding %s/%d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// retry asks again while the slot's previous transaction is being ended.
func (f *finisher) retry(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
