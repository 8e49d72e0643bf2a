package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/readstore"
)

// WatchConfig configures a [Watch].
type WatchConfig struct {
	Client ClientConfig
	Topics Topics
	// Names are the topics that are looked at. Required.
	Names []string
	// Metrics take what was found. Defaults to nobody.
	Metrics *Metrics
}

// Watch looks at the ends of topics, for metrics and to find out whether the brokers answer. What
// clients that fetch learn by the way does not do: a fetch without records is not shown to them, which
// is what an open transaction makes of every fetch.
type Watch struct {
	cfg WatchConfig
	cl  *kgo.Client
	adm *kadm.Client
}

// lookRetry is how long a look tries again: its error then names the cause, not the deadline.
const lookRetry = time.Second

// NewWatch checks the configuration and makes a client, which connects when it is used.
func NewWatch(cfg WatchConfig) (*Watch, error) {
	if err := cfg.Client.check(); err != nil {
		return nil, err
	}
	if len(cfg.Names) == 0 {
		return nil, errors.New("watch: topics are required")
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	cl, err := kgo.NewClient(append(clientOptions(cfg.Client), kgo.RetryTimeout(lookRetry))...)
	if err != nil {
		return nil, fmt.Errorf("making a client of %v: %w", cfg.Client.Brokers, err)
	}
	return &Watch{cfg: cfg, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close closes the connections.
func (w *Watch) Close() { w.cl.Close() }

// Look asks once where the topics end, and returns the high watermarks of those that hold events. A
// partition without a leader is left out; if none answers, that is an error. It takes two requests of
// each broker.
func (w *Watch) Look(ctx context.Context) (map[readstore.Source]int64, error) {
	high, err := w.adm.ListEndOffsets(ctx, w.cfg.Names...)
	if err != nil {
		return nil, w.unreachable(err)
	}
	stable, err := w.adm.ListCommittedOffsets(ctx, w.cfg.Names...)
	if err != nil {
		return nil, w.unreachable(err)
	}
	found, events := map[topicPartition]ends{}, map[readstore.Source]int64{}
	high.Each(func(h kadm.ListedOffset) {
		s, ok := stable.Lookup(h.Topic, h.Partition)
		if h.Err != nil || !ok || s.Err != nil {
			return
		}
		found[topicPartition{h.Topic, h.Partition}] = ends{high: h.Offset, stable: min(s.Offset, h.Offset)}
		if aggregate, kind := w.cfg.Topics.Parse(h.Topic); kind == eventsKind {
			events[readstore.Source{Aggregate: aggregate, Partition: h.Partition}] = h.Offset
		}
	})
	if len(found) == 0 {
		return nil, w.unreachable(errors.Join(high.Error(), stable.Error()))
	}
	w.cfg.Metrics.progress.look(found)
	return events, nil
}

func (w *Watch) unreachable(err error) error {
	return fmt.Errorf("the brokers %v do not answer: %w", w.cfg.Client.Brokers, err)
}
