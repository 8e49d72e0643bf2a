package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
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

// MigratedTopic is what is copied of a topic.
type MigratedTopic struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Copied is how many records were copied before, Records how many are now, or would be. Rewritten is how many
	// events of these have other bytes than before: they were written as an earlier version of their schema.
	Copied    int64 `json:"copied"`
	Records   int64 `json:"records"`
	Rewritten int64 `json:"rewritten"`
}

// MigrationPlan is what [Migration.Run] did, or would do.
type MigrationPlan struct {
	// State is what was found: "new", "begun" or "finished".
	State  string          `json:"state"`
	Topics []MigratedTopic `json:"topics"`
	// Refusal is why nothing would be copied, "" if it would.
	Refusal string `json:"refusal,omitempty"`
}

func (m *Migration) newPlan(s *migrationState) (*MigrationPlan, map[string]*MigratedTopic) {
	plan := &MigrationPlan{State: "new"}
	switch {
	case s.begun:
		plan.State = "begun"
	case s.finished:
		plan.State = "finished"
	}
	for _, a := range m.cfg.Aggregates {
		plan.Topics = append(plan.Topics,
			MigratedTopic{From: m.cfg.From.Events(a.Name), To: m.cfg.To.Events(a.Name)}, MigratedTopic{From: m.cfg.From.Outcomes(a.Name), To: m.cfg.To.Outcomes(a.Name)})
	}
	byTopic := map[string]*MigratedTopic{}
	for i := range plan.Topics {
		byTopic[plan.Topics[i].From] = &plan.Topics[i]
	}
	for _, c := range s.copies {
		byTopic[c.from.topic].Copied += c.records
	}
	return plan, byTopic
}

// Plan says what Run would do. It decodes and encodes all that would be copied: an event that cannot be decoded is
// a refusal, too.
func (m *Migration) Plan(ctx context.Context) (MigrationPlan, error) {
	s, err := m.look(ctx)
	if err != nil {
		return MigrationPlan{}, err
	}
	plan, topics := m.newPlan(s)
	var refused *MigrationRefusedError
	if err := m.check(ctx, s); errors.As(err, &refused) {
		plan.Refusal = refused.Reason
	} else if err != nil {
		return *plan, err
	}
	err = m.read(ctx, s, func(c *copying, r *kgo.Record) error {
		_, rewritten, err := m.copyOf(ctx, c, r)
		topics[r.Topic].count(rewritten)
		return err
	})
	var bad *eventError
	if errors.As(err, &bad) {
		plan.Refusal, err = strings.TrimPrefix(plan.Refusal+"; "+bad.Error(), "; "), nil
	}
	return *plan, err
}

func (t *MigratedTopic) count(rewritten bool) {
	t.Records++
	if rewritten {
		t.Rewritten++
	}
}

// read visits all records that are not copied yet.
func (m *Migration) read(ctx context.Context, s *migrationState, visit func(*copying, *kgo.Record) error) error {
	r, err := newReader(m.cfg.Client)
	if err != nil {
		return err
	}
	defer r.close()
	spans := map[topicPartition]span{}
	for tp, c := range s.copies {
		spans[tp] = span{max(c.next, c.marks.start), c.marks.high}
	}
	return r.read(ctx, spans, func(rec *kgo.Record) error {
		return visit(s.copies[topicPartition{rec.Topic, rec.Partition}], rec)
	})
}

// copyOf makes the copy of a record: decoded as everybody decodes, encoded as workers write. rewritten says that
// it is an event with other bytes, beyond the schema's id.
func (m *Migration) copyOf(ctx context.Context, c *copying, r *kgo.Record) (made *kgo.Record, rewritten bool, err error) {
	to := &wire{topics: m.cfg.To, codec: m.cfg.Codec, source: header(r, headerSource)}
	var command int64
	if c.kind == eventsKind {
		var e processing.Event
		if e, err = m.from.event(ctx, c.aggregate, r); err != nil {
			return nil, false, err
		}
		command, e.CommandOffset = e.CommandOffset, -1
		made, err = to.eventRecord(ctx, e)
	} else {
		var o processing.Outcome
		if o, command, err = m.from.outcome(ctx, r); err != nil {
			return nil, false, err
		}
		o.CommandOffset = -1
		made, err = to.outcomeRecord(ctx, r.Partition, &o, -1)
	}
	if err != nil {
		return nil, false, fmt.Errorf("copying %s@%d: %w", c.from, r.Offset, err)
	}
	if c.kind == eventsKind {
		rewritten = len(r.Value) < frameBytes || !bytes.Equal(r.Value[frameBytes:], made.Value[frameBytes:])
	}
	made.Timestamp = r.Timestamp
	kept := headers(made.Headers)
	kept.add(headerMigratedFrom, migratedFrom(r, command))
	for _, h := range r.Headers {
		if i := indexOf(made.Headers, h.Key); i < 0 {
			kept = append(kept, h)
		} else if h.Key == headerID {
			kept[i].Value = h.Value // that of an outcome is made of the command's place
		}
	}
	made.Headers = kept
	return made, rewritten, nil
}

const frameBytes = 5

func indexOf(headers []kgo.RecordHeader, key string) int {
	for i := range headers {
		if headers[i].Key == key {
			return i
		}
	}
	return -1
}

func migratedFrom(r *kgo.Record, command int64) string {
	return fmt.Sprintf("%s/%d@%d command %d", r.Topic, r.Partition, r.Offset, command)
}

// Run copies what is not copied yet, and has the workers of the new prefix begin where the old ones ended. Killed
// or ended by ctx, it goes on exactly there when it is run again. It returns a *MigrationRefusedError if nothing
// may be copied, and a *FencedError if another migration to the prefix has begun.
func (m *Migration) Run(ctx context.Context) (MigrationPlan, error) {
	t, err := m.newMover(ctx)
	if err != nil {
		return MigrationPlan{}, m.fenced(err)
	}
	defer t.cl.Close()
	s, err := m.look(ctx)
	if err == nil {
		err = m.check(ctx, s)
	}
	if err != nil {
		return MigrationPlan{}, err
	}
	plan, topics := m.newPlan(s)
	if s.finished {
		return *plan, nil
	}
	if !s.begun {
		if err := m.mark(ctx, s); err != nil {
			return *plan, err
		}
	}
	t.start(s)
	err = m.read(ctx, s, func(c *copying, r *kgo.Record) error {
		made, rewritten, err := m.copyOf(ctx, c, r)
		if err != nil {
			return err
		}
		topics[r.Topic].count(rewritten)
		return t.add(ctx, c, r, made)
	})
	if err == nil {
		err = t.commit(ctx)
	}
	if err == nil {
		err = m.unchanged(ctx, s)
	}
	if err == nil {
		err = t.finish(ctx, s)
	}
	return *plan, m.fenced(err)
}

func (m *Migration) fenced(err error) error {
	if isFenced(err) || errors.Is(err, kerr.InvalidProducerEpoch) {
		return fmt.Errorf("another migration to prefix %q was begun, which goes on in place of this one: %w", m.cfg.To.Prefix, err)
	}
	return err
}

// mark has the new workers wait. The brokers refuse it if one has come since.
func (m *Migration) mark(ctx context.Context, s *migrationState) error {
	offsets := kadm.Offsets{}
	for tp := range s.fresh {
		offsets.Add(kadm.Offset{Topic: tp.topic, Partition: tp.partition, At: 0, LeaderEpoch: -1, Metadata: fmt.Sprintf(markFormat, m.cfg.From.Prefix)})
	}
	committed, err := m.adm.CommitOffsets(ctx, m.cfg.ToGroup, offsets)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return fmt.Errorf("marking group %s as one that has to wait: %w", m.cfg.ToGroup, err)
	}
	return nil
}

// unchanged refuses to finish if the old workers have written since.
func (m *Migration) unchanged(ctx context.Context, s *migrationState) error {
	now, err := m.look(ctx)
	if err != nil {
		return err
	}
	if err := m.check(ctx, now); err != nil {
		return err
	}
	for tp, c := range s.copies {
		if now.copies[tp].marks.high != c.marks.high {
			return refuseMigration("%s has grown from %d to %d meanwhile: stop every ingest of prefix %q and run this again", tp, c.marks.high, now.copies[tp].marks.high, m.cfg.From.Prefix)
		}
	}
	return nil
}

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
		offsets[one.c.from] = kadm.Offset{At: one.c.next, Metadata: one.c.metadata()}
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
	if err := t.retry(ctx, func() error {
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
	return t.retry(ctx, func() error {
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

// retry asks again while the transaction before is being ended, or the group's coordinator moves.
func (t *mover) retry(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, kerr.ConcurrentTransactions) && !errors.Is(err, kerr.CoordinatorLoadInProgress) && !errors.Is(err, kerr.NotCoordinator) {
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
		offsets[tp] = kadm.Offset{At: c.marks.high, Metadata: c.metadata()}
	}
	if err := t.commitOffsets(ctx, offsets); err != nil {
		return err
	}
	q := kmsg.NewPtrEndTxnRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = t.m.cfg.Slot, t.id, t.epoch, true
	return t.retry(ctx, func() error {
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
