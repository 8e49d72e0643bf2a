package kafka

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// Handler is told of the sources that a consumer owns, and of their events. One goroutine calls all of
// it. The offsets it returns are where the sources are read on from.
type Handler interface {
	Assign(ctx context.Context, sources []readstore.Source) (from map[readstore.Source]int64, err error)
	Revoke(sources []readstore.Source)
	// Refresh is called about every second.
	Refresh(ctx context.Context) (rewind map[readstore.Source]int64, err error)
	Apply(ctx context.Context, in processing.Fetched) (rewind map[readstore.Source]int64, err error)
}

// ConsumerConfig configures a [Consumer].
type ConsumerConfig struct {
	LogConfig
	// Group is the consumer group that shares the partitions.
	Group   string
	Handler Handler
	Log     *slog.Logger
	// Trouble is told of every error that makes the consumer wait, and of nil when it goes on.
	// Defaults to nobody.
	Trouble func(error)
	// Metrics count what is done. Defaults to nobody.
	Metrics *Metrics
}

const (
	refreshEvery = time.Second
	commitEvery  = 5 * time.Second
)

// Consumer feeds a handler with the events of the partitions that a group gives it. The group only
// shares out the partitions: where to read from is the handler's word, and the offsets committed to
// the group are for lag tools alone.
type Consumer struct {
	cfg ConsumerConfig

	mu       sync.Mutex
	assigned map[readstore.Source]bool
}

// NewConsumer checks the configuration. It connects to nothing.
func NewConsumer(cfg ConsumerConfig) (*Consumer, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Group == "" || cfg.Handler == nil {
		return nil, fmt.Errorf("consumer: group and handler are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Trouble == nil {
		cfg.Trouble = func(error) {}
	}
	cfg.Log = processing.Sparing(cfg.Log) // it has nothing else to say than that it waits
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	cfg.Metrics.progress.expect(cfg.topics()...)
	cfg.Metrics.waits.WithLabelValues(waitsProcessor)
	return &Consumer{cfg: cfg, assigned: map[readstore.Source]bool{}}, nil
}

// Run consumes until ctx ends, then leaves the group and returns nil. Trouble makes it wait and try
// again: it never skips an event.
func (c *Consumer) Run(ctx context.Context) error {
	group, err := kgo.NewClient(append(clientOptions(c.cfg.Client),
		kgo.ConsumerGroup(c.cfg.Group),
		kgo.ConsumeTopics(c.cfg.topics()...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(DefaultSessionTimeout),
		kgo.HeartbeatInterval(heartbeatInterval),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(c.onAssigned),
		kgo.OnPartitionsRevoked(c.onGone),
		kgo.OnPartitionsLost(c.onGone),
	)...)
	if err != nil {
		return fmt.Errorf("joining group %s: %w", c.cfg.Group, err)
	}
	defer group.Close()
	t, err := newTail(c.cfg.LogConfig)
	if err != nil {
		return err
	}
	defer t.close()
	t.wire.lookups = newLookups(c.cfg.Codec, c.cfg.Metrics.waits.WithLabelValues(waitsProcessor).Inc)
	l := &consuming{c: c, t: t, group: group, owned: map[readstore.Source]bool{}}
	defer c.cfg.Metrics.progress.end(l)
	backoff, troubled := 100*time.Millisecond, false
	for ctx.Err() == nil {
		err := l.step(ctx)
		if why := cmp.Or(err, t.waits()); why != nil && ctx.Err() == nil {
			troubled = true
			c.cfg.Trouble(why)
			c.cfg.Log.WarnContext(ctx, "processing waits", "err", why)
		} else if troubled {
			troubled = false
			c.cfg.Trouble(nil)
		}
		if err != nil && ctx.Err() == nil {
			c.cfg.Metrics.waits.WithLabelValues(waitsProcessor).Inc()
			select {
			case <-ctx.Done():
			case <-time.After(backoff):
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = 100 * time.Millisecond
	}
	l.commit(context.WithoutCancel(ctx))
	return nil
}

func (c *Consumer) onAssigned(_ context.Context, cl *kgo.Client, added map[string][]int32) {
	cl.PauseFetchPartitions(added) // this client only holds the membership
	c.change(added, true)
}

func (c *Consumer) onGone(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	c.change(gone, false)
}

func (c *Consumer) change(partitions map[string][]int32, assigned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, ps := range partitions {
		aggregate, _ := c.cfg.Topics.Parse(topic)
		for _, p := range ps {
			if s := (readstore.Source{Aggregate: aggregate, Partition: p}); assigned {
				c.assigned[s] = true
			} else {
				delete(c.assigned, s)
			}
		}
	}
}

// consuming is a consumer at work; one goroutine owns it.
type consuming struct {
	c         *Consumer
	t         *tail
	group     *kgo.Client
	owned     map[readstore.Source]bool
	refreshed time.Time
	committed time.Time
	// failed says that the last step did: what the handler knows may be behind the tail.
	failed bool
}

func (l *consuming) step(ctx context.Context) (err error) {
	h := l.c.cfg.Handler
	if err := l.reconcile(ctx); err != nil {
		return err
	}
	if time.Since(l.refreshed) > refreshEvery || l.failed {
		rewind, err := h.Refresh(ctx)
		if err != nil {
			return err
		}
		l.t.seek(l.ownedOnly(rewind))
		l.refreshed = time.Now()
	}
	if l.failed {
		// The handler may have lost what it knew: it says where to go on.
		from, err := h.Assign(ctx, keys(l.owned))
		if err != nil {
			return err
		}
		l.t.seek(l.ownedOnly(from))
		l.failed = false
	}
	in, err := l.t.poll(ctx, pollTimeout)
	if err == nil && len(in.Upto) > 0 {
		var rewind map[readstore.Source]int64
		if rewind, err = h.Apply(ctx, in); err == nil {
			l.t.seek(l.ownedOnly(rewind))
		}
	}
	if err != nil {
		l.failed = true
		return err
	}
	if time.Since(l.committed) > commitEvery {
		l.commit(ctx)
	}
	return nil
}

// reconcile tells the handler which sources came and went.
func (l *consuming) reconcile(ctx context.Context) error {
	var came, went []readstore.Source
	l.c.mu.Lock()
	for s := range l.owned {
		if !l.c.assigned[s] {
			went = append(went, s)
		}
	}
	for s := range l.c.assigned {
		if !l.owned[s] {
			came = append(came, s)
		}
	}
	l.c.mu.Unlock()
	if len(went) > 0 {
		l.c.cfg.Handler.Revoke(went)
		l.t.remove(went)
		for _, s := range went {
			delete(l.owned, s)
			l.c.cfg.Metrics.progress.release(l, l.partition(s))
		}
	}
	if len(came) == 0 {
		return nil
	}
	from, err := l.c.cfg.Handler.Assign(ctx, came)
	if err != nil {
		return err
	}
	for _, s := range came {
		l.owned[s] = true
		l.c.cfg.Metrics.progress.own(l, l.partition(s), -1)
	}
	l.t.seek(from)
	return nil
}

func (l *consuming) partition(s readstore.Source) topicPartition {
	return topicPartition{l.c.cfg.Topics.Events(s.Aggregate), s.Partition}
}

func (l *consuming) ownedOnly(from map[readstore.Source]int64) map[readstore.Source]int64 {
	for s := range from {
		if !l.owned[s] {
			delete(from, s)
		}
	}
	return from
}

// commit tells the group how far the sources are read, for lag tools.
func (l *consuming) commit(ctx context.Context) {
	l.committed = time.Now()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for s, p := range l.t.positions {
		topic := l.c.cfg.Topics.Events(s.Aggregate)
		if offsets[topic] == nil {
			offsets[topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[topic][s.Partition] = kgo.EpochOffset{Epoch: -1, Offset: p}
	}
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	l.group.CommitOffsetsSync(ctx, offsets, nil)
}

func keys(m map[readstore.Source]bool) []readstore.Source {
	list := make([]readstore.Source, 0, len(m))
	for s := range m {
		list = append(list, s)
	}
	return list
}
