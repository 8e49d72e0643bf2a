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
	consumer   *kafka.Consumer
	http       *httpapi.Queries
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
	if p.store, p.closeStore, err = l.store(ctx); err != nil {
		return err
	}
	if err := l.sameLog(ctx, p.store); err != nil {
		return err
	}
	if err := l.servedByRegistry(ctx); err != nil {
		return err
	}
	if p.log, err = kafka.NewLog(l.log()); err != nil {
		return err
	}
	handler, err := processing.NewProcessor(processing.ProcessorConfig{Models: l.app.ReadModels, Store: p.store, Log: l.conn.Log})
	if err != nil {
		return err
	}
	p.consumer, err = kafka.NewConsumer(kafka.ConsumerConfig{
		LogConfig: l.log(), Group: l.app.processorGroup(cfg.Prefix),
		Handler: handler, Log: l.conn.Log, Trouble: func(err error) { p.trouble.Store(&err) },
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
	})
}

// Register adds the routes for queries.
func (p *Processor) Register(mux *http.ServeMux) { p.http.Register(mux) }

// Ready returns nil if every read model has an active generation and events are processed, else why not.
func (p *Processor) Ready(ctx context.Context) error {
	for _, m := range p.link.app.ReadModels {
		c, err := p.store.Catalog(ctx, m.Name)
		if err != nil {
			return err
		}
		if _, ok := c.ActiveGeneration(); !ok {
			return fmt.Errorf("read model %s has no active generation yet", m.Name)
		}
	}
	if err := p.trouble.Load(); err != nil && *err != nil {
		return *err
	}
	return nil
}

// Run processes events until ctx ends. It builds the read models that have no active generation.
func (p *Processor) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.consumer.Run(ctx) })
	host, _ := os.Hostname()
	for _, m := range p.link.app.ReadModels {
		group.Go(func() error {
			return processing.Keep(ctx, processing.RebuildConfig{Model: m, Store: p.store, Events: p.log, Owner: "processor " + host, Log: p.link.conn.Log})
		})
	}
	return group.Wait()
}

// Close closes the connections.
func (p *Processor) Close() {
	if p.log != nil {
		p.log.Close()
	}
	if p.closeStore != nil {
		p.closeStore()
	}
	p.link.close()
}
