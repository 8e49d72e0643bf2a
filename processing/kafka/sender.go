package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/schemas"
)

// SenderConfig configures a [Sender].
type SenderConfig struct {
	Client     ClientConfig
	Topics     Topics
	Aggregates []*processing.Aggregate
	Codec      *schemas.Codec
	// Source is the ce_source of commands. Defaults to "ledgerline".
	Source string
	// MaxWaiting is how many commands may wait for their outcome at once. Defaults to 10,000.
	MaxWaiting int
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Sender appends commands and waits for their outcomes. It learns of them where everybody can: at the
// end of the outcomes topics, read_committed. So an answer comes after the commit, whichever process
// decided.
type Sender struct {
	cfg    SenderConfig
	often  *slog.Logger // takes what would be said again and again
	wire   *wire
	cl     *kgo.Client // produces commands
	tail   *kgo.Client // reads outcomes
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	waiting map[commandKey]*waiter

	// readers are lent to Decision; one without a client is opened when it is first needed.
	readers chan *reader
}

type commandKey struct{ aggregate, aggregateID, commandID string }

// waiter is somebody who waits for the outcome of one record. Another process may have sent another
// command under the same id: what it is told is none of the waiter's business.
type waiter struct {
	arrived chan struct{} // has one element if there is something new in answers
	answers []answer      // guarded by the sender's mu
}

// answer is an outcome with where the command record lies that it answers.
type answer struct {
	outcome   processing.Outcome
	partition int32
	offset    int64
}

// of returns the outcome of a record that was appended. An append that the broker knew already may come
// without an offset.
func (w *waiter) of(r *kgo.Record) (processing.Outcome, bool) {
	for _, a := range w.answers {
		if r.Offset < 0 || a.partition == r.Partition && a.offset == r.Offset {
			return a.outcome, true
		}
	}
	return processing.Outcome{}, false
}

// NewSender connects, and returns once it stands at the end of the outcomes: no outcome of a command
// sent later is missed.
func NewSender(ctx context.Context, cfg SenderConfig) (*Sender, error) {
	if err := cfg.Client.check(); err != nil {
		return nil, err
	}
	if cfg.Source == "" {
		cfg.Source = "ledgerline"
	}
	if cfg.MaxWaiting == 0 {
		cfg.MaxWaiting = 10_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sender{
		cfg: cfg, often: processing.Sparing(cfg.Log), wire: &wire{topics: cfg.Topics, codec: cfg.Codec, source: cfg.Source}, done: make(chan struct{}),
		waiting: map[commandKey]*waiter{}, readers: make(chan *reader, decisionReaders),
	}
	for range decisionReaders {
		s.readers <- &reader{}
	}
	var err error
	if s.cl, err = kgo.NewClient(append(clientOptions(cfg.Client), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(2<<20))...); err != nil {
		return nil, fmt.Errorf("making a producer of commands: %w", err)
	}
	starts, err := s.outcomeEnds(ctx)
	if err != nil {
		s.cl.Close()
		return nil, err
	}
	if s.tail, err = kgo.NewClient(append(clientOptions(cfg.Client),
		kgo.ConsumePartitions(starts), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(time.Second))...); err != nil {
		s.cl.Close()
		return nil, fmt.Errorf("making a reader of outcomes: %w", err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go s.follow(run)
	return s, nil
}

func (s *Sender) outcomeEnds(ctx context.Context) (map[string]map[int32]kgo.Offset, error) {
	var topics []string
	for _, a := range s.cfg.Aggregates {
		topics = append(topics, s.cfg.Topics.Outcomes(a.Name))
	}
	high, err := readMarks(ctx, kadm.NewClient(s.cl), topics...)
	if err != nil {
		return nil, err
	}
	starts := map[string]map[int32]kgo.Offset{}
	for tp, m := range high {
		if starts[tp.topic] == nil {
			starts[tp.topic] = map[int32]kgo.Offset{}
		}
		starts[tp.topic][tp.partition] = kgo.NewOffset().At(m.high)
	}
	return starts, nil
}

// Close stops waiting, waits for the calls of Decision and closes the connections. Callers of Send get
// ErrUndecided.
func (s *Sender) Close() {
	s.cancel()
	<-s.done
	for range decisionReaders {
		if r := <-s.readers; r.cl != nil {
			r.close()
		}
	}
	s.cl.Close()
	s.tail.Close()
}

// follow hands every outcome to whoever waits for it.
func (s *Sender) follow(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		fetches := s.tail.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if ctx.Err() == nil {
				s.often.WarnContext(ctx, "reading outcomes met an error, the client goes on", "topic", e.Topic, "partition", e.Partition, "err", e.Err)
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			aggregate, _ := s.cfg.Topics.Parse(r.Topic)
			key := commandKey{aggregate, string(r.Key), header(r, headerCommandID)}
			s.mu.Lock()
			waits := s.waiting[key] != nil
			s.mu.Unlock()
			if !waits {
				return
			}
			o, input, err := s.wire.outcome(ctx, r)
			if err != nil {
				s.cfg.Log.ErrorContext(ctx, "outcome cannot be decoded", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", err)
				return
			}
			s.mu.Lock()
			if w := s.waiting[key]; w != nil {
				w.answers = append(w.answers, answer{o, r.Partition, input})
				select {
				case w.arrived <- struct{}{}:
				default: // it knows
				}
			}
			s.mu.Unlock()
		})
	}
}

// Send implements processing.Sender.
func (s *Sender) Send(ctx context.Context, q processing.Request) (processing.Outcome, error) {
	wait, err := s.Start(ctx, q)
	if err != nil {
		return processing.Outcome{}, err
	}
	return wait(ctx)
}

// Start appends a command and returns how to wait for its outcome. It returns once the command is
// handed to the producer, in order with the caller's other calls. wait must be called, once.
func (s *Sender) Start(ctx context.Context, q processing.Request) (wait func(context.Context) (processing.Outcome, error), err error) {
	rec, err := s.wire.request(ctx, q, s.cfg.Now())
	if err != nil {
		return nil, err
	}
	return s.append(ctx, commandKey{q.Aggregate.Name, q.AggregateID, q.ID}, rec)
}

// append is Start of a command that is encoded.
func (s *Sender) append(ctx context.Context, key commandKey, rec *kgo.Record) (wait func(context.Context) (processing.Outcome, error), err error) {
	w := &waiter{arrived: make(chan struct{}, 1)}
	s.mu.Lock()
	switch {
	case s.waiting[key] != nil:
		err = processing.ErrInProgress
	case len(s.waiting) >= s.cfg.MaxWaiting:
		err = processing.ErrBacklogFull
	default:
		s.waiting[key] = w
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	appended := make(chan error, 1)
	// The produce goes on when the caller leaves: whether it was appended is known only at its end.
	s.cl.Produce(context.WithoutCancel(ctx), rec, func(_ *kgo.Record, err error) { appended <- err })
	return func(ctx context.Context) (processing.Outcome, error) {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.waiting, key)
		}()
		confirmed := false
		for {
			if confirmed { // only then is it known which outcome is the record's
				s.mu.Lock()
				o, ok := w.of(rec)
				s.mu.Unlock()
				if ok {
					return o, nil
				}
			}
			select {
			case <-w.arrived:
			case err := <-appended:
				if err != nil {
					return processing.Outcome{}, fmt.Errorf("%w: %w", processing.ErrUnconfirmed, err)
				}
				confirmed = true
			case <-ctx.Done():
				return processing.Outcome{}, unanswered(confirmed, ctx.Err())
			case <-s.done:
				return processing.Outcome{}, unanswered(confirmed, errClosed)
			}
		}
	}, nil
}

// unanswered is what is known of a command when the waiting ends.
func unanswered(confirmed bool, cause error) error {
	if confirmed {
		return fmt.Errorf("%w: %w", processing.ErrUndecided, cause)
	}
	return fmt.Errorf("%w: %w", processing.ErrUnconfirmed, cause)
}

var errClosed = errors.New("the process is shutting down")
