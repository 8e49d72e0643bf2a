package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// session is one membership of a worker in its group. It is dropped on any error.
type session struct {
	w          *Worker
	cfg        *WorkerConfig
	log        *slog.Logger
	tx         *kgo.GroupTransactSession
	adm        *kadm.Client
	reader     *reader
	aggregates map[string]*processing.Aggregate // by commands topic

	// mu guards assigned and epoch, which the client's callbacks change.
	mu       sync.Mutex
	assigned map[topicPartition]uint64
	epoch    uint64
	// fenced is the group's word that another process has the slot: a poll may come too late to hear it.
	fenced atomic.Pointer[error]

	// owned holds the recovered partitions. Only step touches it.
	owned map[topicPartition]*ownedPartition
	// waits says since when a partition waits for the end of an open transaction. Only step touches it.
	waits map[topicPartition]time.Time
	// keeper keeps the states of the owned partitions' aggregates.
	keeper *stateKeeper
	// undecoded holds the partitions that wait for a schema. Only step touches it.
	undecoded map[topicPartition]*undecoded
}

// ownedPartition is a partition of a commands topic that has been recovered.
type ownedPartition struct {
	*processing.Partition
	tp topicPartition
	// epoch is the assignment's: a partition that went and came back in between is another one.
	epoch uint64
	// from is the offset that was committed at recovery: what lies before it is dealt with.
	from int64
	// outcomeStart is where the log of outcomes began at recovery.
	outcomeStart int64
	// full says that it is not polled, because the memory of command ids is full.
	full bool

	// generation is that of the aggregate's snapshots, none until one is needed, written when the last
	// snapshot was begun.
	generation readstore.Generation
	written    time.Time
	// pending holds events that were read back and are not folded, failed why they cannot be.
	pending []recoveredEvent
	failed  error
	// undecoded is what was read back and needs a schema that is not known, nil for nothing.
	undecoded *undecoded
}

// onAssigned is called by the client before it fetches anything of the new partitions: they stay
// paused until step has recovered them.
func (s *session) onAssigned(_ context.Context, cl *kgo.Client, added map[string][]int32) {
	cl.PauseFetchPartitions(added)
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, ps := range added {
		for _, p := range ps {
			s.epoch++
			s.assigned[topicPartition{topic, p}] = s.epoch
		}
	}
}

// onGone is called by the client when partitions are revoked or lost.
func (s *session) onGone(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, ps := range gone {
		for _, p := range ps {
			delete(s.assigned, topicPartition{topic, p})
		}
	}
}

// OnGroupManageError is called by the client when its membership has ended in an error.
func (s *session) OnGroupManageError(err error) {
	if isFenced(err) {
		s.fenced.Store(&err)
	}
}

// epochOf returns the epoch of a partition's assignment, 0 if it is not assigned.
func (s *session) epochOf(tp topicPartition) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assigned[tp]
}

// step recovers what was assigned, polls once and runs one transaction.
func (s *session) step(ctx context.Context) error {
	if err := s.w.held(); err != nil {
		return err
	}
	s.keeper.step(ctx)
	s.decodeOn(ctx)
	if err := s.reconcile(ctx); err != nil {
		return err
	}
	s.admit(ctx)
	if s.keeper.isFull() {
		s.keeper.await(ctx)
		return nil
	}
	// The poll is bounded so that a new assignment, which is paused, is recovered soon.
	pctx, cancel := context.WithTimeout(ctx, pollTimeout)
	fetches := s.tx.PollRecords(pctx, s.cfg.MaxBatch)
	cancel()
	for _, e := range fetches.Errors() {
		switch {
		case errors.Is(e.Err, context.DeadlineExceeded), errors.Is(e.Err, context.Canceled):
		case isFenced(e.Err), isLost(e.Err):
			return fmt.Errorf("polling commands %s/%d: %w", e.Topic, e.Partition, e.Err)
		case errors.Is(e.Err, kerr.InvalidSessionTimeout): // it will not go away
			return fmt.Errorf("joining group %s: %w", s.cfg.Group, s.w.timeoutHint(e.Err))
		default:
			s.w.often.WarnContext(ctx, "polling commands met an error, the client goes on", "topic", e.Topic, "partition", e.Partition, "err", e.Err)
		}
	}
	if fetches.NumRecords() == 0 {
		s.cfg.Metrics.progress.idle(s, s.isHeld)
	}
	if fetches.NumRecords() == 0 || ctx.Err() != nil {
		return nil
	}
	return s.transact(ctx, fetches)
}

// isLost reports whether a fetch error means that the log is not where the committed offset says.
func isLost(err error) bool {
	var loss *kgo.ErrDataLoss
	return errors.As(err, &loss) || errors.Is(err, kerr.OffsetOutOfRange)
}

// reconcile drops what is owned no longer and recovers what is owned newly.
func (s *session) reconcile(ctx context.Context) error {
	s.mu.Lock()
	for tp, o := range s.owned {
		if s.assigned[tp] != o.epoch {
			delete(s.owned, tp)
			s.keeper.forget(tp, o)
			delete(s.undecoded, tp)
			s.cfg.Metrics.progress.release(s, tp)
		}
	}
	fresh := map[topicPartition]uint64{}
	for tp, epoch := range s.assigned {
		if s.owned[tp] == nil {
			fresh[tp] = epoch
		}
	}
	s.mu.Unlock()
	s.keeper.waiting(fresh)
	s.passUndecoded(fresh)
	if len(fresh) == 0 {
		return nil
	}
	began := time.Now()
	recovered, err := s.recover(ctx, fresh)
	if err != nil {
		return err
	}
	s.keeper.waiting(fresh)
	s.passUndecoded(fresh)
	if err := s.wait(fresh, recovered); err != nil {
		return err
	}
	if len(recovered) == 0 {
		return nil
	}
	resume := map[string][]int32{}
	for tp, o := range recovered {
		if s.epochOf(tp) == o.epoch {
			s.owned[tp] = o
			s.cfg.Metrics.progress.own(s, tp, o.Next())
			s.cfg.Metrics.progress.remember(s, tp, o.CommandIDs(), false)
			resume[tp.topic] = append(resume[tp.topic], tp.partition)
		} else {
			s.keeper.forget(tp, o)
		}
	}
	s.tx.Client().ResumeFetchPartitions(resume)
	if len(s.waits) == 0 {
		s.w.trouble.Store(nil)
	}
	took := time.Since(began)
	s.cfg.Metrics.recovery.Observe(took.Seconds())
	s.log.InfoContext(ctx, "partitions recovered", "partitions", len(recovered), "took", took)
	select {
	case <-s.w.ready:
	default:
		close(s.w.ready)
	}
	return nil
}

// wait notes which of the fresh partitions were not recovered, since a transaction is open there. One that
// stays open for longer than Kafka lets it is told of, and has the session end, now and then, so that the
// next one finishes what the slot itself may have left.
func (s *session) wait(fresh map[topicPartition]uint64, recovered map[topicPartition]*ownedPartition) error {
	now := time.Now()
	waits := map[topicPartition]time.Time{}
	for tp := range fresh {
		if recovered[tp] != nil {
			continue
		}
		since, ok := s.waits[tp]
		if !ok {
			since = now
		}
		waits[tp] = since
		if now.Sub(since) < s.cfg.TransactionTimeout+openPatience {
			continue
		}
		err := fmt.Errorf("%s waits since %s: %w", tp, since.UTC().Format(time.RFC3339), errOpen)
		s.w.trouble.Store(&err)
		if now.Sub(s.w.finished) > finishEvery {
			return err
		}
	}
	s.waits = waits
	return nil
}

// drop forgets what is known of partitions, pauses them and has the next step recover them.
func (s *session) drop(tps []topicPartition) {
	pause := map[string][]int32{}
	for _, tp := range tps {
		s.keeper.forget(tp, s.owned[tp])
		delete(s.owned, tp)
		delete(s.undecoded, tp)
		pause[tp.topic] = append(pause[tp.topic], tp.partition)
	}
	s.tx.Client().PauseFetchPartitions(pause)
}

// close ends the session. It is bounded: closing a client whose broker is gone can hang.
func (s *session) close() {
	s.w.member.id, s.w.member.generation = s.tx.Client().GroupMetadata()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tx.CloseAllowingRebalance()
	}()
	select {
	case <-done:
	case <-time.After(closeTimeout):
		s.log.Warn("closing a session took too long, it is left behind")
	}
}
