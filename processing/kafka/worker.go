package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/schemas"
)

// WorkerConfig configures a [Worker].
type WorkerConfig struct {
	Client ClientConfig
	Topics Topics
	// Aggregates whose commands the worker decides. Required.
	Aggregates []*processing.Aggregate
	// Codec encodes and decodes. Required.
	Codec *schemas.Codec
	// Source is the ce_source of what is written. Defaults to "ledgerline".
	Source string
	// Group is the consumer group that the workers share. Required.
	Group string
	// Slot names the worker in its group for ever, over restarts: it is its transactional id and its
	// static member id. Two workers with one slot fence each other. Required.
	Slot string
	// KeepSlot keeps the partitions for the session timeout when the worker ends, for a quick restart.
	// Defaults to leaving the group.
	KeepSlot bool
	// MaxBatch is the most commands in a transaction. Defaults to 2000.
	MaxBatch int
	// DedupeMemory bounds, in bytes, what is kept of command ids, shared equally by the partitions that the
	// worker owns; eight batches fit in any case. Defaults to DefaultDedupeMemory.
	DedupeMemory int64
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Hold returns why nothing may be decided at present, nil if it may, as when a clock is wrong that is
	// not the brokers': the worker then leaves its partitions to others. It must not block. Defaults to nil.
	Hold func() error
	// Committed is told of every decision after its commit, in order within a partition; it must not
	// block. Defaults to nobody.
	Committed func(processing.Outcome)
	Log       *slog.Logger
	// Metrics count what is done. Defaults to nobody.
	Metrics *Metrics
	// Tracer makes a span for each command that comes with a sampled traceparent. Defaults to none.
	Tracer trace.Tracer
}

const (
	sessionTimeout     = 6 * time.Second
	rebalanceTimeout   = 20 * time.Second
	transactionTimeout = 10 * time.Second
	// endTimeout bounds the flush and the end of a transaction each: longer than a record may take.
	endTimeout   = 19 * time.Second
	closeTimeout = 5 * time.Second
	pollTimeout  = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// maxHold is the longest pause after a session in which nothing might be decided: each new one takes
	// partitions from others.
	maxHold = 30 * time.Second
)

// FencedError says that another process has taken the worker's slot. The process must end: a new
// session would fence the replacement in turn.
type FencedError struct {
	Slot  string
	Cause error
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("slot %s was taken over by another process (%v); give every instance its own --instance", e.Slot, e.Cause)
}

func (e *FencedError) Unwrap() error { return e.Cause }

// Worker decides the commands of the partitions that its group gives it: one transaction at a time,
// with events, outcomes, dead letters and the commands' offsets in it.
type Worker struct {
	cfg WorkerConfig
	// often takes what would be said again and again.
	often *slog.Logger
	wire  *wire
	ready chan struct{}
	// trouble is why the last session ended, nil once partitions are recovered.
	trouble atomic.Pointer[error]
	// hold is why nothing may be decided at present, full which partitions wait for memory; nil for no reason.
	hold, full atomic.Pointer[error]
	clock      brokerClock
	// committed is the last event offset that this worker has seen committed, over all its sessions.
	committed map[topicPartition]int64
	counts    map[string]int32 // partitions by topic
}

// NewWorker checks the configuration. It connects to nothing.
func NewWorker(cfg WorkerConfig) (*Worker, error) {
	if err := cfg.Client.check(); err != nil {
		return nil, err
	}
	if len(cfg.Aggregates) == 0 || cfg.Codec == nil || cfg.Group == "" || cfg.Slot == "" {
		return nil, errors.New("worker: aggregates, codec, group and slot are required")
	}
	if cfg.Source == "" {
		cfg.Source = "ledgerline"
	}
	if cfg.MaxBatch == 0 {
		cfg.MaxBatch = 2000
	}
	if cfg.DedupeMemory == 0 {
		cfg.DedupeMemory = DefaultDedupeMemory
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Hold == nil {
		cfg.Hold = func() error { return nil }
	}
	if cfg.Committed == nil {
		cfg.Committed = func(processing.Outcome) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	if cfg.Tracer == nil {
		cfg.Tracer = processing.NoTracer
	}
	cfg.Metrics.startWorker(cfg.Aggregates)
	for _, a := range cfg.Aggregates {
		cfg.Metrics.progress.expect(cfg.Topics.Commands(a.Name))
	}
	return &Worker{
		cfg: cfg, often: processing.Sparing(cfg.Log), wire: &wire{topics: cfg.Topics, codec: cfg.Codec, source: cfg.Source},
		ready: make(chan struct{}), committed: map[topicPartition]int64{}, counts: map[string]int32{},
	}, nil
}

// Ready is closed once the worker has owned and recovered its first partitions.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// Trouble returns why no commands are decided at present, or not those of all partitions, nil if no reason
// is known.
func (w *Worker) Trouble() error {
	for _, why := range []*atomic.Pointer[error]{&w.clock.off, &w.hold, &w.trouble, &w.full} {
		if err := why.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// Run decides commands until ctx ends, then leaves the group and returns nil. It returns a
// *FencedError if another process took the slot. After any other trouble it starts a new session.
func (w *Worker) Run(ctx context.Context) error {
	backoff := 100 * time.Millisecond
	for {
		began := w.cfg.Now()
		err := w.session(ctx)
		if isFenced(err) { // even at the end of ctx: to leave the group would throw the other one out
			return &FencedError{Slot: w.cfg.Slot, Cause: err}
		}
		if ctx.Err() != nil {
			if !w.cfg.KeepSlot {
				w.leave(context.WithoutCancel(ctx))
			}
			return nil
		}
		if w.cfg.Now().Sub(began) > time.Minute {
			backoff = 100 * time.Millisecond
		}
		w.trouble.Store(&err)
		w.full.Store(nil)
		longest := maxBackoff
		if isHeld(err) {
			longest = maxHold
			w.leave(ctx)
		}
		w.cfg.Metrics.sessions.Inc()
		w.often.WarnContext(ctx, "worker session ended, a new one begins", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, longest)
	}
}

// session runs one session from its first request to its end. It always returns an error but for the
// end of ctx.
func (w *Worker) session(ctx context.Context) error {
	if err := w.held(); err != nil {
		return err
	}
	s := &session{w: w, cfg: &w.cfg, log: w.cfg.Log, assigned: map[topicPartition]uint64{}, owned: map[topicPartition]*ownedPartition{}}
	s.aggregates = map[string]*processing.Aggregate{}
	var topics []string
	for _, a := range w.cfg.Aggregates {
		topic := w.cfg.Topics.Commands(a.Name)
		topics = append(topics, topic)
		s.aggregates[topic] = a
	}
	var err error
	s.tx, err = kgo.NewGroupTransactSession(append(clientOptions(w.cfg.Client),
		kgo.ConsumerGroup(w.cfg.Group),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.InstanceID(w.cfg.Slot),
		kgo.TransactionalID(w.cfg.Slot),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(time.Second),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Where nothing was ever committed, all commands are waiting. Nothing else may move a position.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(2<<20),
		kgo.ProducerLinger(0),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.OnPartitionsAssigned(s.onAssigned),
		kgo.OnPartitionsRevoked(s.onGone),
		kgo.OnPartitionsLost(s.onGone),
	)...)
	if err != nil {
		return fmt.Errorf("making session of slot %s: %w", w.cfg.Slot, err)
	}
	defer s.close()
	defer w.cfg.Metrics.progress.end(s)
	if s.reader, err = newReader(w.cfg.Client); err != nil {
		return err
	}
	defer s.reader.close()
	s.adm = kadm.NewClient(s.tx.Client())
	// Take the slot now: otherwise a restarted worker waits for its own predecessor's transaction.
	if _, _, err := s.tx.Client().ProducerID(ctx); err != nil {
		return fmt.Errorf("taking slot %s: %w", w.cfg.Slot, err)
	}
	for ctx.Err() == nil {
		if err := s.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// leave gives the slot's partitions to the other workers at once. Closing a static member does not.
func (w *Worker) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	cl, err := kgo.NewClient(clientOptions(w.cfg.Client)...)
	if err == nil {
		defer cl.Close()
		var left kadm.LeaveGroupResponses
		if left, err = kadm.NewClient(cl).LeaveGroup(ctx, kadm.LeaveGroup(w.cfg.Group).Reason("shutting down").InstanceIDs(w.cfg.Slot)); err == nil {
			err = left.Error()
		}
	}
	if err != nil && !errors.Is(err, kerr.UnknownMemberID) {
		w.cfg.Log.WarnContext(ctx, "worker could not leave its group: its partitions wait for the session timeout", "err", err)
	}
}

// isFenced reports whether err means that another process has the worker's slot.
func isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.FencedInstanceID)
}

// partitions returns how many partitions a topic has. That never changes while a cluster lives, so it
// is asked once.
func (w *Worker) partitions(ctx context.Context, adm *kadm.Client, topic string) (int32, error) {
	if n := w.counts[topic]; n > 0 {
		return n, nil
	}
	details, err := adm.ListTopics(ctx, topic)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("counting partitions of %s: %w", topic, err)
	}
	n := int32(len(details[topic].Partitions))
	if n == 0 {
		return 0, fmt.Errorf("topic %s does not exist; run: provision apply", topic)
	}
	w.counts[topic] = n
	return n, nil
}
