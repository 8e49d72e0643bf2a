package kafka

import (
	"cmp"
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
	// SessionTimeout is how long the group waits for a worker that is silent before it gives its
	// partitions to others. Defaults to [DefaultSessionTimeout].
	SessionTimeout time.Duration
	// TransactionTimeout is how long a transaction of a worker that is gone may hold up whoever takes its
	// partitions, and any transaction last. All workers of a group have the same. Defaults to
	// [DefaultTransactionTimeout].
	TransactionTimeout time.Duration
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
	// Snapshots keeps the states of aggregates, so that a start reads no more than the events after the
	// last snapshot, and memory holds no more than StateMemory. While it does not answer, aggregates whose
	// state is at hand are decided, and a partition with a command of another waits. Defaults to reading
	// back all events and holding all states.
	Snapshots SnapshotStore
	// SnapshotEvents is after how many events of a partition a snapshot is written. Defaults to 10,000.
	SnapshotEvents int64
	// SnapshotInterval is after how long one is written if anything has changed. Defaults to 10 s.
	SnapshotInterval time.Duration
	// StateMemory bounds the states held, in bytes; it is an estimate. When what no snapshot has fills it,
	// no command is decided until one is written. Defaults to 32 MiB.
	StateMemory int64
	Log         *slog.Logger
	// Metrics count what is done. Defaults to nobody.
	Metrics *Metrics
	// Tracer makes a span for each command that comes with a sampled traceparent. Defaults to none.
	Tracer trace.Tracer
}

// DefaultStateMemory is the memory for states that a worker has unless told otherwise, in bytes.
const DefaultStateMemory = 32 << 20

const (
	// DefaultSessionTimeout is the shortest that brokers allow unless they are told otherwise.
	DefaultSessionTimeout = 6 * time.Second
	// DefaultTransactionTimeout leaves time for a new leader of a partition.
	DefaultTransactionTimeout = 10 * time.Second

	// leastTimeout has two heartbeats in it.
	leastTimeout      = 2 * heartbeatInterval
	heartbeatInterval = time.Second
	rebalanceTimeout  = 20 * time.Second
	// endTimeout bounds the flush and the end of a transaction each: longer than a record may take.
	endTimeout   = 19 * time.Second
	closeTimeout = 5 * time.Second
	pollTimeout  = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// maxHold is the longest pause after a session in which nothing might be decided: each new one takes
	// partitions from others.
	maxHold = 30 * time.Second
	// openPatience is how long a transaction may stay open after its timeout: the broker looks for those past
	// theirs by default every 10 s.
	openPatience = 20 * time.Second
	// hungAfter is how long a transaction may take in which every step has a deadline: whatever takes longer
	// does not heed it, and never ends.
	hungAfter = 3 * endTimeout
	// finishEvery is how often a worker ends its session for one that stays open for longer.
	finishEvery = 10 * time.Minute
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

// errHung says that a transaction did not heed its deadline. The process must end: what hangs cannot be
// stopped.
var errHung = fmt.Errorf("the write loop hangs in a transaction for more than %s; this process ends, its restart goes on", hungAfter)

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
	// hold is why nothing may be decided at present, full which partitions wait for memory, undecoded which for
	// the registry, stalled why none goes on for want of the store of snapshots; nil for no reason.
	hold, full, undecoded, stalled atomic.Pointer[error]
	clock                          brokerClock
	// committed is what this worker has seen committed, over all its sessions.
	committed map[topicPartition]lastOffsets
	counts    map[string]int32 // partitions by topic
	member    member
	// finished is when finish last ran.
	finished time.Time
	// hung has an element once a transaction hangs.
	hung chan struct{}
}

// lastOffsets are those of the last event and outcome of a partition, -1 for none.
type lastOffsets struct{ event, outcome int64 }

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
	cfg.DedupeMemory = cmp.Or(cfg.DedupeMemory, DefaultDedupeMemory)
	cfg.SessionTimeout = cmp.Or(cfg.SessionTimeout, DefaultSessionTimeout)
	cfg.TransactionTimeout = cmp.Or(cfg.TransactionTimeout, DefaultTransactionTimeout)
	if cfg.SessionTimeout < leastTimeout || cfg.TransactionTimeout < leastTimeout {
		return nil, fmt.Errorf("set --session-timeout (%s) and --transaction-timeout (%s) to %s or more", cfg.SessionTimeout, cfg.TransactionTimeout, leastTimeout)
	}
	cfg.SnapshotEvents = cmp.Or(cfg.SnapshotEvents, 10_000)
	cfg.SnapshotInterval = cmp.Or(cfg.SnapshotInterval, 10*time.Second)
	cfg.StateMemory = cmp.Or(cfg.StateMemory, DefaultStateMemory)
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
	cfg.Metrics.startWorker(cfg.Aggregates, cfg.Snapshots != nil)
	for _, a := range cfg.Aggregates {
		cfg.Metrics.progress.expect(cfg.Topics.Commands(a.Name))
	}
	return &Worker{
		cfg: cfg, often: processing.Sparing(cfg.Log), wire: &wire{topics: cfg.Topics, codec: cfg.Codec, source: cfg.Source},
		ready: make(chan struct{}), committed: map[topicPartition]lastOffsets{}, counts: map[string]int32{},
		hung: make(chan struct{}, 1),
	}, nil
}

// Ready is closed once the worker has owned and recovered its first partitions.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// Trouble returns why no commands are decided at present, or not those of all partitions, nil if no reason
// is known.
func (w *Worker) Trouble() error {
	for _, why := range []*atomic.Pointer[error]{&w.clock.off, &w.hold, &w.trouble, &w.stalled, &w.full, &w.undecoded} {
		if err := why.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// Run decides commands until ctx ends, then leaves the group and returns nil. It returns a
// *FencedError if another process took the slot, and another error if it hangs: it then leaves a goroutine
// behind. After any other trouble it starts a new session.
func (w *Worker) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-w.hung:
		return fmt.Errorf("slot %s: %w", w.cfg.Slot, errHung)
	}
}

// watch has Run return unless it is stopped in time.
func (w *Worker) watch() (stop func() bool) {
	return time.AfterFunc(hungAfter, func() { w.hung <- struct{}{} }).Stop
}

func (w *Worker) run(ctx context.Context) error {
	backoff := 100 * time.Millisecond
	for {
		began := w.cfg.Now()
		err := w.session(ctx)
		if errors.Is(err, errOpen) && !isFenced(err) && ctx.Err() == nil {
			w.often.WarnContext(ctx, "a transaction stays open, what this slot left is finished", "err", err)
			err = errors.Join(err, w.finish(ctx))
		}
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
func (w *Worker) session(ctx context.Context) (err error) {
	if err := w.held(); err != nil {
		return err
	}
	if err := w.checkSlot(ctx); err != nil {
		return err
	}
	s := &session{w: w, cfg: &w.cfg, log: w.cfg.Log, assigned: map[topicPartition]uint64{}, owned: map[topicPartition]*ownedPartition{}}
	s.aggregates = map[string]*processing.Aggregate{}
	s.keeper, s.undecoded = newKeeper(s), map[topicPartition]*undecoded{}
	w.wire.lookups = newLookups(w.cfg.Codec, w.cfg.Metrics.waits.WithLabelValues(waitsCommand).Inc)
	var topics []string
	for _, a := range w.cfg.Aggregates {
		topic := w.cfg.Topics.Commands(a.Name)
		topics = append(topics, topic)
		s.aggregates[topic] = a
	}
	s.tx, err = kgo.NewGroupTransactSession(append(clientOptions(w.cfg.Client),
		kgo.ConsumerGroup(w.cfg.Group),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.InstanceID(w.cfg.Slot),
		kgo.TransactionalID(w.cfg.Slot),
		kgo.TransactionTimeout(w.cfg.TransactionTimeout),
		kgo.SessionTimeout(w.cfg.SessionTimeout),
		kgo.HeartbeatInterval(heartbeatInterval),
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
		kgo.WithHooks(s),
	)...)
	if err != nil {
		return fmt.Errorf("making session of slot %s: %w", w.cfg.Slot, err)
	}
	defer func() {
		if fenced := s.fenced.Load(); fenced != nil {
			err = errors.Join(err, *fenced)
		}
	}()
	defer s.close()
	defer w.cfg.Metrics.progress.end(s)
	defer s.keeper.close()
	defer w.undecoded.Store(nil)
	defer w.wire.lookups.close()
	ctx, end := context.WithCancel(ctx)
	defer end()
	if s.reader, err = newReader(w.cfg.Client); err != nil {
		return err
	}
	defer s.reader.close()
	s.adm = kadm.NewClient(s.tx.Client())
	// Take the slot now: otherwise a restarted worker waits for its own predecessor's transaction.
	if _, _, err := s.tx.Client().ProducerID(ctx); err != nil {
		return fmt.Errorf("taking slot %s: %w", w.cfg.Slot, w.timeoutHint(err))
	}
	for ctx.Err() == nil {
		if err := s.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// timeoutHint says what to type where the brokers refuse a timeout.
func (w *Worker) timeoutHint(err error) error {
	switch {
	case errors.Is(err, kerr.InvalidSessionTimeout):
		return fmt.Errorf("%w: set --session-timeout, now %s, to between the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms", err, w.cfg.SessionTimeout)
	case errors.Is(err, kerr.InvalidTransactionTimeout):
		return fmt.Errorf("%w: set --transaction-timeout, now %s, to at most the brokers' transaction.max.timeout.ms", err, w.cfg.TransactionTimeout)
	}
	return err
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
