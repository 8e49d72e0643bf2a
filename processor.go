package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

// ProcessorConfig configures a [Processor].
type ProcessorConfig struct {
	Connection
}

// Processor folds events into read models and answers queries.
type Processor struct {
	link       *link
	store      *redisstore.Store
	closeStore func()
	log        *kafka.Log
	handler    *processing.Processor
	consumer   *kafka.Consumer
	http       *httpapi.Queries
	watch      *kafka.Watch
	metrics    *processing.Metrics
	brokers    *probe
	models     *probe
	trouble    atomic.Pointer[error]
}

// NewProcessor checks topics and Redis and connects. It returns an error that says what to type.
func NewProcessor(ctx context.Context, app App, cfg ProcessorConfig) (*Processor, error) {
	if len(app.ReadModels) == 0 {
		return nil, errors.New("app: a processor needs read models")
	}
	l, err := connect(ctx, app, cfg.Connection, app.processorAccess(cfg.Prefix, app.processorGroup(cfg.Prefix)))
	if err != nil {
		return nil, err
	}
	p := &Processor{link: l}
	if err := p.start(ctx, cfg); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Processor) start(ctx context.Context, cfg ProcessorConfig) (err error) {
	l := p.link
	p.brokers, p.models = newProbe("Kafka"), newProbe("Redis")
	if p.store, p.closeStore, err = l.store(ctx); err != nil {
		return err
	}
	if err := l.sameLog(ctx, p.store, l.app.ReadModels); err != nil {
		return err
	}
	if err := l.servedByRegistry(ctx); err != nil {
		return err
	}
	if p.log, err = kafka.NewLog(l.log()); err != nil {
		return err
	}
	metrics := kafka.NewMetrics(l.conn.Metrics)
	if p.watch, err = l.watch(metrics, kafka.Topics.Events); err != nil {
		return err
	}
	p.metrics = processing.NewMetrics(l.conn.Metrics)
	p.handler, err = processing.NewProcessor(processing.ProcessorConfig{
		Models: l.app.ReadModels, Store: p.store, Events: p.log, Log: l.conn.Log, Metrics: p.metrics, Tracer: l.conn.tracer(),
	})
	if err != nil {
		return err
	}
	p.consumer, err = kafka.NewConsumer(kafka.ConsumerConfig{
		LogConfig: l.log(), Group: l.app.processorGroup(cfg.Prefix),
		Handler: p.handler, Log: l.conn.Log, Trouble: func(err error) { p.trouble.Store(&err) }, Metrics: metrics,
	})
	if err != nil {
		return err
	}
	p.http, err = l.queries(p.store, p.log)
	return err
}

// queries makes the query API on read models in store and events in log.
func (l *link) queries(store *redisstore.Store, log *kafka.Log) (*httpapi.Queries, error) {
	return httpapi.NewQueries(httpapi.QueriesConfig{
		Models: l.app.ReadModels, Store: store, Partition: kafka.PartitionOf[string], Partitions: l.partitions,
		Aggregates: l.app.Aggregates, Events: log, Name: l.app.Name, JSONSchema: l.schema, Log: l.conn.Log,
		Metrics: l.requests, Tracer: l.conn.tracer(),
	})
}

// Register adds the routes for queries.
func (p *Processor) Register(mux *http.ServeMux) { p.http.Register(mux) }

// Ready returns nil if every read model has an active generation, events are processed, and Kafka and
// Redis answered when [Processor.Run] last asked them, a few seconds ago; else why not, a line each. It
// asks nobody.
func (p *Processor) Ready() error {
	var why reasons
	why.add(p.models.why())
	if err := p.trouble.Load(); err != nil {
		why.add(*err)
	}
	why.add(p.brokers.why())
	return why.err()
}

// lookAtModels returns why the read models cannot be queried, nil if they can.
func (p *Processor) lookAtModels(ctx context.Context) error {
	without, err := p.link.withoutGeneration(ctx, p.store)
	if err != nil {
		return err
	}
	var why reasons
	for _, model := range without {
		why.add(fmt.Errorf("read model %s has no active generation yet", model))
	}
	return why.err()
}

// withoutGeneration returns the read models that have no active generation.
func (l *link) withoutGeneration(ctx context.Context, store readstore.Catalogs) (models []string, err error) {
	for _, m := range l.app.ReadModels {
		c, err := store.Catalog(ctx, m.Name)
		if err != nil {
			return nil, fmt.Errorf("redis does not answer: %w", err)
		}
		if _, ok := c.ActiveGeneration(); !ok {
			models = append(models, m.Name)
		}
	}
	return models, nil
}

// lookAtLog returns why the log cannot be read, nil if it can.
func (p *Processor) lookAtLog(ctx context.Context) error {
	ends, err := p.watch.Look(ctx)
	if err == nil {
		p.metrics.Ends(ends)
	}
	return err
}

// Run processes events until ctx ends. It builds the read models that have no active generation.
func (p *Processor) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer p.handler.Close()
		return p.consumer.Run(ctx)
	})
	for p, look := range map[*probe]func(context.Context) error{p.brokers: p.lookAtLog, p.models: p.lookAtModels} {
		group.Go(func() error {
			p.run(ctx, look)
			return nil
		})
	}
	host, _ := os.Hostname()
	for _, m := range p.link.app.ReadModels {
		group.Go(func() error {
			return processing.Keep(ctx, processing.RebuildConfig{Model: m, Store: p.store, Events: p.log, Owner: "processor " + host, Log: p.link.conn.Log, Metrics: p.metrics})
		})
	}
	return group.Wait()
}

// Close closes the connections.
func (p *Processor) Close() {
	if p.watch != nil {
		p.watch.Close()
	}
	if p.log != nil {
		p.log.Close()
	}
	if p.closeStore != nil {
		p.closeStore()
	}
	p.link.close()
}
