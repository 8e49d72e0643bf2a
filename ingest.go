package ledgerline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

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
	// SessionTimeout is how long the group waits for a worker that is silent before it gives its
	// partitions to others, TransactionTimeout how long what it left undone may hold them up: see
	// docs/guides/takeover.md. Default to 6 s and 10 s.
	SessionTimeout, TransactionTimeout time.Duration
	// DedupeMemory bounds, in bytes, what the process keeps of command ids; workers share it equally.
	// Defaults to kafka.DefaultDedupeMemory.
	DedupeMemory int64
	// AllowTransactionVersion1 accepts brokers on which a delayed request of one transaction may end up
	// in the next. Defaults to refusing them: no claim of zero loss holds there.
	AllowTransactionVersion1 bool
	// NoSnapshots has workers read back all events at a start and hold all states. Defaults to keeping
	// states in Redis. Ingest starts without Redis all the same, and decides commands of the aggregates
	// whose states are at hand.
	NoSnapshots bool
	// SnapshotEvents and SnapshotInterval are after how many events of a partition, or how long, what has
	// changed is written. Default to 10,000 and 10 s.
	SnapshotEvents   int64
	SnapshotInterval time.Duration
	// StateMemory bounds the states that all workers hold, in bytes: an estimate. Defaults to
	// kafka.DefaultStateMemory.
	StateMemory int64
	// Queries has it answer queries, too, as a [Processor] does: one address for everything. It then needs
	// Redis, for its start and for the queries; commands are decided without. Defaults to commands alone.
	Queries bool
}

// slots names the workers, for ever.
func (c IngestConfig) slots(app App) []string {
	slots := make([]string, max(c.Workers, 1))
	for n := range slots {
		slots[n] = fmt.Sprintf("%s.%s.%d", app.ingestGroup(c.Prefix), c.Instance, n)
	}
	return slots
}

// Ingest decides commands: those of its HTTP clients, and those that others produce to Kafka.
type Ingest struct {
	link    *link
	sender  *kafka.Sender
	workers []*kafka.Worker
	http    *httpapi.Commands
	watch   *kafka.Watch
	brokers *probe
	// closeSnapshots is nil without snapshots.
	closeSnapshots func()
	// queries, closeStore and log are nil without queries.
	queries    *httpapi.Queries
	closeStore func()
	log        *kafka.Log
}

// NewIngest checks topics and schemas and connects. It returns an error that says what to type.
func NewIngest(ctx context.Context, app App, cfg IngestConfig) (*Ingest, error) {
	if cfg.Instance == "" {
		cfg.Instance, _ = os.Hostname()
	}
	if cfg.Instance == "" {
		return nil, errors.New("this host has no name: set --instance")
	}
	l, err := connect(ctx, app, cfg.Connection, app.ingestAccess(cfg.Prefix, cfg.slots(app)...))
	if err != nil {
		return nil, err
	}
	i := &Ingest{link: l}
	if err := i.start(ctx, cfg); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

func (i *Ingest) start(ctx context.Context, cfg IngestConfig) (err error) {
	l := i.link
	i.brokers = newProbe("Kafka")
	if v := l.cluster.TransactionVersion; v < 2 && !cfg.AllowTransactionVersion1 {
		return fmt.Errorf("the cluster has transaction.version=%d: a late request of one transaction may end up in the next one; run: kafka-features.sh --bootstrap-server %s upgrade --feature transaction.version=2 (or take the risk with --allow-transaction-version-1)", v, cfg.Brokers[0])
	}
	if err := l.preload(ctx); err != nil {
		return err
	}
	if err := l.enforced(ctx); err != nil {
		return err
	}
	sctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := kafka.CheckMigrated(sctx, l.kafka, l.topics, l.app.ingestGroup(cfg.Prefix)); err != nil {
		return l.brokersError(err)
	}
	var snapshots kafka.SnapshotStore
	if !cfg.NoSnapshots {
		if snapshots, i.closeSnapshots, err = l.snapshots(ctx); err != nil {
			return err
		}
	}
	metrics := kafka.NewMetrics(l.conn.Metrics)
	if i.watch, err = l.watch(metrics, kafka.Topics.Commands, kafka.Topics.Events, kafka.Topics.Outcomes); err != nil {
		return err
	}
	if i.sender, err = l.sender(ctx); err != nil {
		return l.brokersError(err)
	}
	slots := cfg.slots(l.app)
	for _, slot := range slots {
		w, err := kafka.NewWorker(kafka.WorkerConfig{
			Client: l.kafka, Topics: l.topics, Aggregates: l.app.Aggregates, Codec: l.codec, Source: l.app.Name,
			Group: l.app.ingestGroup(cfg.Prefix), Slot: slot,
			KeepSlot: cfg.KeepSlot, SessionTimeout: cfg.SessionTimeout, TransactionTimeout: cfg.TransactionTimeout,
			Snapshots: snapshots, SnapshotEvents: cfg.SnapshotEvents, SnapshotInterval: cfg.SnapshotInterval,
			StateMemory:  cmp.Or(cfg.StateMemory, kafka.DefaultStateMemory) / int64(len(slots)),
			DedupeMemory: cmp.Or(cfg.DedupeMemory, kafka.DefaultDedupeMemory) / int64(len(slots)),
			Log:          l.conn.Log, Metrics: metrics, Tracer: l.conn.tracer(),
		})
		if err != nil {
			return err
		}
		i.workers = append(i.workers, w)
	}
	i.http, err = httpapi.NewCommands(httpapi.CommandsConfig{
		Aggregates: l.app.Aggregates, Sender: i.sender, DecodeJSON: l.decodeJSON, Name: l.app.Name, JSONSchema: l.schema, Log: l.conn.Log,
		Metrics: l.requests, Tracer: l.conn.tracer(),
	})
	if err != nil || !cfg.Queries {
		return err
	}
	return i.startQueries(ctx)
}

func (i *Ingest) startQueries(ctx context.Context) error {
	store, closeStore, err := i.link.store(ctx)
	if err != nil {
		return err
	}
	i.closeStore = closeStore
	if err := i.link.sameLog(ctx, store, i.link.app.ReadModels); err != nil {
		return err
	}
	if i.log, err = kafka.NewLog(i.link.log()); err != nil {
		return err
	}
	i.queries, err = i.link.queries(store, i.log)
	return err
}

// sender connects the way in for commands.
func (l *link) sender(ctx context.Context) (*kafka.Sender, error) {
	sctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return kafka.NewSender(sctx, kafka.SenderConfig{
		Client: l.kafka, Topics: l.topics, Aggregates: l.app.Aggregates, Codec: l.codec, Source: l.app.Name, Log: l.conn.Log,
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

// Register adds the routes for commands and, if it answers them, queries.
func (i *Ingest) Register(mux *http.ServeMux) {
	i.http.Register(mux)
	if i.queries != nil {
		i.queries.Register(mux)
	}
}

// Ready returns nil once a worker has recovered its first partitions, if none is in trouble and the brokers
// answered when [Ingest.Run] last asked them, a few seconds ago; else why not, a line each. It asks nobody.
// Redis is a reason only while no partition goes on without it: whoever queries is told otherwise.
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
	if i.log != nil {
		i.log.Close()
	}
	if i.closeStore != nil {
		i.closeStore()
	}
	if i.closeSnapshots != nil {
		i.closeSnapshots()
	}
	i.link.close()
}

// Sender returns the way in for commands, for a caller in the same process.
func (i *Ingest) Sender() *kafka.Sender { return i.sender }
