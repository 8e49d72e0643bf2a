package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
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
	l, err := connect(ctx, app, cfg.Connection)
	if err != nil {
		return nil, err
	}
	p := &Processor{link: l, brokers: newProbe("Kafka"), models: newProbe("Redis")}
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
	logConfig := kafka.LogConfig{Client: l.client, Topics: l.topics, Aggregates: l.app.eventAggregates(), Codec: l.codec}
	if p.log, err = kafka.NewLog(logConfig); err != nil {
		return err
	}
	metrics := kafka.NewMetrics(l.conn.Metrics)
	if p.watch, err = l.watch(metrics, kafka.Topics.Events); err != nil {
		return err
	}
	p.metrics = processing.NewMetrics(l.conn.Metrics)
	handler, err := processing.NewProcessor(processing.ProcessorConfig{
		Models: l.app.ReadModels, Store: p.store, Log: l.conn.Log, Metrics: p.metrics, Tracer: l.conn.tracer(),
	})
	if err != nil {
		return err
	}
	// Two code versions side by side must both see all partitions.
	var carried []string
	for _, m := range l.app.ReadModels {
		carried = append(carried, fmt.Sprintf("%s-%d", m.Name, m.CodeVersion))
	}
	slices.Sort(carried)
	p.consumer, err = kafka.NewConsumer(kafka.ConsumerConfig{
		LogConfig: logConfig, Group: fmt.Sprintf("%s%s.processor.%s", cfg.Prefix, l.app.Name, strings.Join(carried, ".")),
		Handler: handler, Log: l.conn.Log, Trouble: func(err error) { p.trouble.Store(&err) }, Metrics: metrics,
	})
	if err != nil {
		return err
	}
	p.http, err = httpapi.NewQueries(httpapi.QueriesConfig{
		Models: l.app.ReadModels, Store: p.store, Partition: kafka.PartitionOf[string], Partitions: l.partitions,
		Aggregates: l.app.Aggregates, Events: p.log, Name: l.app.Name, JSONSchema: l.schema, Log: l.conn.Log,
		Metrics: httpapi.NewMetrics(l.conn.Metrics), Tracer: l.conn.tracer(),
	})
	return err
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
	var why reasons
	for _, m := range p.link.app.ReadModels {
		c, err := p.store.Catalog(ctx, m.Name)
		if err != nil {
			return fmt.Errorf("redis does not answer: %w", err)
		}
		if _, ok := c.ActiveGeneration(); !ok {
			why.add(fmt.Errorf("read model %s has no active generation yet", m.Name))
		}
	}
	return why.err()
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
	group.Go(func() error { return p.consumer.Run(ctx) })
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
