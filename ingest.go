package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/schemas"
)

// IngestConfig configures an [Ingest].
type IngestConfig struct {
	Connection
	// Instance tells this process from its siblings, over restarts. Defaults to the host's name.
	Instance string
	// Workers is how many write loops run side by side. Defaults to 1.
	Workers int
	// KeepSlot keeps the partitions of a worker that ends for its restart. Defaults to giving them up.
	KeepSlot bool
	// AllowTransactionVersion1 accepts brokers on which a delayed request of one transaction may end up
	// in the next. Defaults to refusing them: no claim of zero loss holds there.
	AllowTransactionVersion1 bool
}

// Ingest decides commands: those of its HTTP clients, and those that others produce to Kafka.
type Ingest struct {
	link    *link
	sender  *kafka.Sender
	workers []*kafka.Worker
	http    *httpapi.Commands
	watch   *kafka.Watch
	brokers *probe
}

// NewIngest checks topics and schemas and connects. It returns an error that says what to type.
func NewIngest(ctx context.Context, app App, cfg IngestConfig) (*Ingest, error) {
	if cfg.Instance == "" {
		cfg.Instance, _ = os.Hostname()
	}
	if cfg.Instance == "" {
		return nil, errors.New("this host has no name: set --instance")
	}
	l, err := connect(ctx, app, cfg.Connection)
	if err != nil {
		return nil, err
	}
	i := &Ingest{link: l, brokers: newProbe("Kafka")}
	if err := i.start(ctx, cfg); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

func (i *Ingest) start(ctx context.Context, cfg IngestConfig) (err error) {
	l := i.link
	if v := l.cluster.TransactionVersion; v < 2 && !cfg.AllowTransactionVersion1 {
		return fmt.Errorf("the cluster has transaction.version=%d: a late request of one transaction may end up in the next one; run: kafka-features.sh --bootstrap-server %s upgrade --feature transaction.version=2 (or take the risk with --allow-transaction-version-1)", v, cfg.Brokers[0])
	}
	if err := l.preload(ctx); err != nil {
		return err
	}
	if i.sender, err = l.sender(ctx); err != nil {
		return err
	}
	metrics := kafka.NewMetrics(l.conn.Metrics)
	if i.watch, err = l.watch(metrics, kafka.Topics.Commands, kafka.Topics.Events, kafka.Topics.Outcomes); err != nil {
		return err
	}
	for n := range max(cfg.Workers, 1) {
		w, err := kafka.NewWorker(kafka.WorkerConfig{
			Client: l.client, Topics: l.topics, Aggregates: l.app.Aggregates, Codec: l.codec, Source: l.app.Name,
			Group: cfg.Prefix + l.app.Name + ".ingest", Slot: fmt.Sprintf("%s%s.ingest.%s.%d", cfg.Prefix, l.app.Name, cfg.Instance, n),
			KeepSlot: cfg.KeepSlot, Log: l.conn.Log, Metrics: metrics, Tracer: l.conn.tracer(),
		})
		if err != nil {
			return err
		}
		i.workers = append(i.workers, w)
	}
	i.http, err = httpapi.NewCommands(httpapi.CommandsConfig{
		Aggregates: l.app.Aggregates, Sender: i.sender, DecodeJSON: l.decodeJSON, Name: l.app.Name, JSONSchema: l.schema, Log: l.conn.Log,
		Metrics: httpapi.NewMetrics(l.conn.Metrics), Tracer: l.conn.tracer(),
	})
	return err
}

// sender connects the way in for commands.
func (l *link) sender(ctx context.Context) (*kafka.Sender, error) {
	sctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return kafka.NewSender(sctx, kafka.SenderConfig{
		Client: l.client, Topics: l.topics, Aggregates: l.app.Aggregates, Codec: l.codec, Source: l.app.Name, Log: l.conn.Log,
	})
}

// decodeJSON reads a command's body by its schema.
func (l *link) decodeJSON(_ *processing.Aggregate, t processing.Type, body []byte) (any, error) {
	value, err := l.codec.FromJSON(l.codec.FullName(t.Value(t.New())), body)
	var bad *schemas.JSONError
	if !errors.As(err, &bad) {
		return value, err
	}
	switch bad.Kind {
	case schemas.Fractional:
		return nil, fmt.Errorf("%w: %w", httpapi.ErrFractional, &processing.FieldError{Field: bad.Field, Reason: bad.Reason})
	case schemas.Invalid:
		return nil, &processing.FieldError{Field: bad.Field, Reason: bad.Reason}
	default:
		return nil, err
	}
}

// Register adds the routes for commands.
func (i *Ingest) Register(mux *http.ServeMux) { i.http.Register(mux) }

// Ready returns nil once a worker has recovered its first partitions, if none is in trouble and the
// brokers answered when [Ingest.Run] last asked them, a few seconds ago; else why not, a line each. It
// asks nobody.
func (i *Ingest) Ready() error {
	var why reasons
	recovered := false
	for _, w := range i.workers {
		why.add(w.Trouble())
		select {
		case <-w.Ready():
			recovered = true
		default:
		}
	}
	if !recovered {
		why.add(errors.New("no partition of commands is recovered yet"))
	}
	why.add(i.brokers.why())
	return why.err()
}

// Run decides commands until ctx ends. It returns an error only if the process must end: its slot was
// taken by another one.
func (i *Ingest) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range i.workers {
		group.Go(func() error { return w.Run(ctx) })
	}
	group.Go(func() error {
		i.brokers.run(ctx, func(ctx context.Context) error {
			_, err := i.watch.Look(ctx)
			return err
		})
		return nil
	})
	return group.Wait()
}

// Close closes the connections. Requests that still wait are answered as undecided.
func (i *Ingest) Close() {
	if i.sender != nil {
		i.sender.Close()
	}
	if i.watch != nil {
		i.watch.Close()
	}
	i.link.close()
}

// Sender returns the way in for commands, for a caller in the same process.
func (i *Ingest) Sender() *kafka.Sender { return i.sender }
