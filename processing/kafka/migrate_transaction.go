package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ledgerline/ledgerline/processing"
)

const (
	// migrateTransactionTimeout is longer than a transaction of a migration may take.
	migrateTransactionTimeout = 3 * endTimeout
	// maxMigrateBytes bounds a transaction of a migration, but for its last record.
	maxMigrateBytes = 8 << 20
)

// mover writes the transactions of a migration. Any error is its end: who goes on takes the slot anew, so that
// nothing that was sent before can turn up in a transaction of after. That is what transaction version 2 is for
// elsewhere; here requests of before it are sent, by which offsets are added apart.
type mover struct {
	m     *Migration
	cl    *kgo.Client
	id    int64
	epoch int16

	state       *migrationState
	done, total int64
	batch       []movedRecord
	bytes       int
}

// movedRecord is a record and its copy.
type movedRecord struct {
	c      *copying
	offset int64 // of the record
	made   *kgo.Record
}

func (m *Migration) newMover(ctx context.Context) (*mover, error) {
	cl, err := kgo.NewClient(append(clientOptions(m.cfg.Client),
		kgo.TransactionalID(m.cfg.Slot), kgo.TransactionTimeout(migrateTransactionTimeout), kgo.MaxVersions(kversion.V3_7_0()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(maxRecordBatch), kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(0), // it would count from the timestamps, which are those of before
	)...)
	if err != nil {
		return nil, fmt.Errorf("making a client of %v: %w", m.cfg.Client.Brokers, err)
	}
	t := &mover{m: m, cl: cl}
	if t.id, t.epoch, err = cl.ProducerID(ctx); err != nil {
		cl.Close()
		return nil, fmt.Errorf("taking slot %s: %w", m.cfg.Slot, err)
	}
	return t, nil
}

func (t *mover) start(s *migrationState) {
	t.state = s
	for _, c := range s.copies {
		t.done += max(c.next, c.marks.start)
		t.total += c.marks.high
	}
}

// add adds a copy to the transaction, and commits it when it is full.
func (t *mover) add(ctx context.Context, c *copying, r, made *kgo.Record) error {
	t.batch = append(t.batch, movedRecord{c, r.Offset, made})
	t.bytes += sizeOf(made)
	if len(t.batch) < t.m.cfg.MaxBatch && t.bytes < maxMigrateBytes {
		return nil
	}
	return t.commit(ctx)
}

// commit writes what was added in one transaction, with the offsets up to which it was read.
func (t *mover) commit(ctx context.Context) error {
	if len(t.batch) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	// The end of ctx must not tear a transaction: what is begun is ended, within its deadline.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := t.cl.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	err := t.produce(ctx)
	var offsets map[topicPartition]kadm.Offset
	if err == nil {
		offsets, err = t.advance()
	}
	if err == nil {
		err = t.commitOffsets(ctx, offsets)
	}
	if err != nil {
		return errors.Join(err, t.cl.EndTransaction(ctx, kgo.TryAbort))
	}
	if err := t.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("ending transaction: %w", err)
	}
	t.batch, t.bytes = t.batch[:0], 0
	t.m.cfg.Progress(t.done, t.total)
	return nil
}

func (t *mover) produce(ctx context.Context) error {
	// A flush that has run into its deadline leaves promises behind that still run.
	var mu sync.Mutex
	var failed error
	for _, one := range t.batch {
		t.cl.Produce(ctx, one.made, func(r *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil && (failed == nil || isFenced(err)) {
				failed = fmt.Errorf("producing to %s/%d: %w", r.Topic, r.Partition, err)
			}
		})
	}
	err := t.cl.Flush(ctx)
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(err, failed)
}

// advance takes note of what was produced, and returns what is to be committed along.
func (t *mover) advance() (map[topicPartition]kadm.Offset, error) {
	offsets := map[topicPartition]kadm.Offset{}
	for _, one := range t.batch {
		c := one.c
		if c.kind == outcomesKind && c.lowest < 0 {
			first, err := t.m.firstNeeded(t.state, c)
			if err != nil {
				return nil, err
			}
			if one.offset >= first {
				c.lowest = one.made.Offset
			}
		}
		t.done += one.offset + 1 - max(c.next, c.marks.start)
		c.next, c.last = one.offset+1, one.made.Offset
		c.records++
	}
	for _, one := range t.batch {
		offsets[one.c.from] = kadm.Offset{At: one.c.next, Metadata: one.c.metadata(t.m.cfg.From, false)}
	}
	return offsets, nil
}

// firstNeeded returns from which of the old outcomes on command ids are known by them.
func (m *Migration) firstNeeded(s *migrationState, c *copying) (int64, error) {
	known, ok, err := m.oldMetadata(s, c)
	switch {
	case err != nil, !ok:
		return 0, err
	case known.LowestOutcome >= 0:
		return known.LowestOutcome, nil
	}
	return known.LastOutcome + 1, nil
}

// commitOffsets adds offsets of the new workers' group to the transaction.
func (t *mover) commitOffsets(ctx context.Context, offsets map[topicPartition]kadm.Offset) error {
	group := t.m.cfg.ToGroup
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = t.m.cfg.Slot, t.id, t.epoch, group
	if err := untilCoordinated(ctx, func() error {
		answer, err := add.RequestWith(ctx, t.cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(answer.ErrorCode)
	}); err != nil {
		return fmt.Errorf("adding group %s to the transaction: %w", group, err)
	}
	q := kmsg.NewPtrTxnOffsetCommitRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Group, q.Generation = t.m.cfg.Slot, t.id, t.epoch, group, -1
	byTopic := map[string][]kmsg.TxnOffsetCommitRequestTopicPartition{}
	for tp, o := range offsets {
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = tp.partition, o.At, -1, &o.Metadata
		byTopic[tp.topic] = append(byTopic[tp.topic], p)
	}
	for name, partitions := range byTopic {
		topic := kmsg.NewTxnOffsetCommitRequestTopic()
		topic.Topic, topic.Partitions = name, partitions
		q.Topics = append(q.Topics, topic)
	}
	return untilCoordinated(ctx, func() error {
		answer, err := q.RequestWith(ctx, t.cl)
		if err != nil {
			return fmt.Errorf("committing offsets of group %s: %w", group, err)
		}
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("committing the offset of %s/%d in group %s: %w", topic.Topic, p.Partition, group, err)
				}
			}
		}
		return nil
	})
}

// untilCoordinated asks again while the transaction before is being ended, or a coordinator is found or moves.
func untilCoordinated(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !slices.ContainsFunc([]error{
			kerr.ConcurrentTransactions, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator,
		}, func(passing error) bool { return errors.Is(err, passing) }) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// finish commits, in a transaction of its own, for each partition of commands what a worker needs to go on, and
// that everything is copied. It takes the place of the mark.
func (t *mover) finish(ctx context.Context, s *migrationState) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	offsets := map[topicPartition]kadm.Offset{}
	for tp := range s.fresh {
		metadata, err := t.m.freshMetadata(s, tp)
		if err != nil {
			return err
		}
		offsets[tp] = kadm.Offset{At: 0, Metadata: metadata.String()}
	}
	for tp, c := range s.copies {
		offsets[tp] = kadm.Offset{At: c.marks.high, Metadata: c.metadata(t.m.cfg.From, true)}
	}
	if err := t.commitOffsets(ctx, offsets); err != nil {
		return err
	}
	q := kmsg.NewPtrEndTxnRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = t.m.cfg.Slot, t.id, t.epoch, true
	return untilCoordinated(ctx, func() error {
		answer, err := q.RequestWith(ctx, t.cl)
		if err == nil {
			err = kerr.ErrorForCode(answer.ErrorCode)
		}
		if err != nil {
			return fmt.Errorf("finishing: %w", err)
		}
		return nil
	})
}

// freshMetadata is what the first worker of a new partition of commands needs to know: what the old one's last
// commit said, with the offsets of the copies.
func (m *Migration) freshMetadata(s *migrationState, commands topicPartition) (processing.Metadata, error) {
	aggregate, _ := m.cfg.To.Parse(commands.topic)
	events := s.copies[topicPartition{m.cfg.From.Events(aggregate), commands.partition}]
	outcomes := s.copies[topicPartition{m.cfg.From.Outcomes(aggregate), commands.partition}]
	now := m.cfg.Now()
	known, ok, err := m.oldMetadata(s, outcomes)
	if err != nil {
		return known, err
	}
	gone := known.LowestOutcome >= 0 && known.LowestOutcome < outcomes.marks.start
	switch {
	case !ok && events.last < 0 && outcomes.last < 0: // nobody has decided anything
		known.Floor = now.Add(-processing.KeepCommandIDs)
		known.At = known.Floor
	case !ok: // nobody knows whether outcomes are whole: as if the last one had been made now
		known.Floor, known.At = now.Add(processing.MaxClockAhead+time.Millisecond), now
	case gone: // ids are not known that were decided until then
		if above := known.At.Add(processing.MaxClockAhead + time.Millisecond); above.After(known.Floor) {
			known.Floor = above
		}
	}
	known.LastEvent, known.LastOutcome, known.LowestOutcome = events.last, outcomes.last, outcomes.lowest
	return known, nil
}
