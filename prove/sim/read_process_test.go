package sim

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

// reading is a process of the read side, a processor or a rebuild job, with networks of its own.
type reading struct {
	w              *readWorld
	name           string
	code           int
	brokers, redis *network
	client         redis.UniversalClient
	store          *redisstore.Store
	events         *kafka.Log
	http           http.Handler // of a processor
	cancel         context.CancelFunc
	done           chan struct{}

	mu      sync.Mutex
	strikes []redisStrike
}

// redisStrike is what happens to the next write to Redis; act returns true if the connection is to be closed.
type redisStrike struct {
	// after says that it strikes when Redis has been told.
	after bool
	act   func() bool
}

// newReading connects a process. It does nothing by itself.
func (w *readWorld) newReading(kind string, code int) *reading {
	w.mu.Lock()
	w.started++
	name := kind + "-" + strconv.Itoa(w.started)
	w.mu.Unlock()
	p := &reading{w: w, name: name, code: code, brokers: newNetwork(w.net.DialContext), redis: newNetwork(nil), done: make(chan struct{})}
	var err error
	p.client, err = redisstore.NewClient(redisstore.ClientConfig{URL: fmt.Sprintf("redis://127.0.0.1:6379?pool_size=%d", poolSize), Dial: p.dialRedis})
	if err == nil {
		p.store, err = redisstore.New(redisstore.Config{Client: p.client, Prefix: "prove"})
	}
	if err == nil {
		p.events, err = kafka.NewLog(p.logConfig())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (p *reading) logConfig() kafka.LogConfig {
	return kafka.LogConfig{
		Client: kafka.ClientConfig{Brokers: p.w.cluster.ListenAddrs(), Dial: p.brokers.dial}, Aggregates: []string{"tally"}, Codec: p.w.codec,
		MaxBatch: 1 + p.w.intN(60),
	}
}

func (p *reading) close() {
	p.events.Close()
	_ = p.client.Close()
}

// job returns the configuration of a rebuild job's verbs.
func (p *reading) job(model string) processing.RebuildConfig {
	cfg := processing.RebuildConfig{Store: p.store, Events: p.events, Owner: p.name, Now: p.brokers.now, Log: p.w.log.With("process", p.name)}
	for _, m := range modelsOf(p.code) {
		if m.Name == model {
			cfg.Model = m
		}
	}
	return cfg
}

// launch starts a processor.
func (w *readWorld) launch(code int) *reading {
	p := w.newReading("processor", code)
	log := w.log.With("process", p.name)
	handler, err := processing.NewProcessor(processing.ProcessorConfig{Models: modelsOf(code), Store: p.store, Events: p.events, Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	consumer, err := kafka.NewConsumer(kafka.ConsumerConfig{
		LogConfig: p.logConfig(), Group: groupOf(code), Handler: handler, Log: log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	queries, err := httpapi.NewQueries(httpapi.QueriesConfig{
		Models: modelsOf(code), Store: p.store, Partition: kafka.PartitionOf[string], Partitions: func(string) int32 { return readPartitions }, Log: log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	mux := http.NewServeMux()
	queries.Register(mux)
	p.http = mux
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer handler.Close()
		return consumer.Run(ctx)
	})
	for _, m := range models {
		group.Go(func() error { return processing.Keep(ctx, p.job(m)) })
	}
	w.mu.Lock()
	w.processors = append(w.processors, p)
	w.mu.Unlock()
	w.goes.Go(func() {
		defer close(p.done)
		err := group.Wait()
		p.close()
		log.Info("process ended", "err", err)
	})
	return p
}

func (p *reading) isOver() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// running returns the processors that run, those that are cut off or frozen too.
func (w *readWorld) running() []*reading {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []*reading
	for _, p := range w.processors {
		if !p.isOver() && !p.redis.isCut() {
			found = append(found, p)
		}
	}
	return found
}

// any returns a processor that runs; it starts one if there is none.
func (w *readWorld) any() *reading {
	found := w.running()
	if len(found) == 0 {
		return w.launch(1 + w.intN(2))
	}
	return found[w.intN(len(found))]
}

// kill ends the process as kill -9 does: it says nothing more to anybody.
func (p *reading) kill() {
	p.brokers.sever()
	p.redis.sever()
	p.cancel()
}

// freeze lets it stand still, until thaw.
func (p *reading) freeze() {
	p.brokers.freeze()
	p.redis.freeze()
}

func (p *reading) thaw() {
	p.brokers.thaw()
	p.redis.thaw()
}

// restore ends all that is done to it. One that was killed stays so.
func (p *reading) restore() {
	p.mu.Lock()
	p.strikes = nil
	p.mu.Unlock()
	p.thaw()
	if !p.redis.isCut() {
		p.brokers.mend()
	}
	p.brokers.disarm()
}

func (p *reading) arm(s redisStrike) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strikes = append(p.strikes, s)
}

// takeStrike returns what is to be done at a write, nil for nothing.
func (p *reading) takeStrike(after bool) func() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range p.strikes {
		if s.after == after {
			p.strikes = append(p.strikes[:i:i], p.strikes[i+1:]...)
			return s.act
		}
	}
	return nil
}
