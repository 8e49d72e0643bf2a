package processing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/readstore"
)

// ProcessorConfig configures a [Processor].
type ProcessorConfig struct {
	Models []*ReadModel
	Store  readstore.Store
	// Events is the log, for what lags far behind. Required.
	Events Log
	Log    *slog.Logger
	// Metrics count what is done. Defaults to nobody.
	Metrics *Metrics
	// Tracer makes a span for each event that comes with a sampled traceparent, and read model that
	// holds it. Defaults to none.
	Tracer trace.Tracer
}

// Processor follows every ready generation of the code versions that it carries, of all its read
// models, over the sources that it owns. One that is far behind the others reads the log by itself until it
// has caught up. It implements what processing/kafka's Consumer asks for; one goroutine calls it.
type Processor struct {
	cfg       ProcessorConfig
	often     *slog.Logger // takes what would be said again and again
	sources   map[readstore.Source]bool
	followers map[string]*Follower // by model and generation, as the next
	laggards  map[string]*laggard
	catching  sync.WaitGroup
}

// NewProcessor checks the configuration.
func NewProcessor(cfg ProcessorConfig) (*Processor, error) {
	if len(cfg.Models) == 0 || cfg.Store == nil || cfg.Events == nil {
		return nil, errors.New("processor: read models, a store and a log are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	if cfg.Tracer == nil {
		cfg.Tracer = NoTracer
	}
	for _, m := range cfg.Models {
		cfg.Metrics.start(m.Name)
	}
	return &Processor{cfg: cfg, often: Sparing(cfg.Log), sources: map[readstore.Source]bool{}, followers: map[string]*Follower{}, laggards: map[string]*laggard{}}, nil
}

// Assign adds sources and returns where each must be read from, for those that a follower reads.
func (p *Processor) Assign(ctx context.Context, sources []readstore.Source) (map[readstore.Source]int64, error) {
	moved := map[readstore.Source]int64{}
	for key, f := range p.followers {
		starts, err := f.Assign(ctx, sources)
		if errors.Is(err, readstore.ErrBroken) {
			p.giveUp(ctx, key, f, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		maps.Copy(moved, starts)
	}
	for _, s := range sources {
		p.sources[s] = true
	}
	return p.starts(ctx, moved)
}

// Revoke removes sources.
func (p *Processor) Revoke(sources []readstore.Source) {
	for _, s := range sources {
		delete(p.sources, s)
	}
	for _, f := range p.followers {
		f.Revoke(sources)
	}
	p.tellLag()
}

// Refresh looks which generations are to be followed. The sources in rewind are where new ones begin.
func (p *Processor) Refresh(ctx context.Context) (map[readstore.Source]int64, error) {
	p.rejoin(ctx)
	moved := map[readstore.Source]int64{}
	wanted := map[string]bool{}
	for _, m := range p.cfg.Models {
		catalog, err := p.cfg.Store.Catalog(ctx, m.Name)
		if err != nil {
			return nil, fmt.Errorf("reading generations of %s: %w", m.Name, err)
		}
		p.cfg.Metrics.catalog(m.Name, catalog)
		for id, g := range catalog.Generations {
			key := m.Name + "." + id
			if g.State != readstore.Ready || g.CodeVersion != m.CodeVersion {
				continue
			}
			wanted[key] = true
			if p.followers[key] != nil || p.laggards[key] != nil {
				continue
			}
			f, err := NewFollower(FollowerConfig{Model: m, Generation: g, Store: p.cfg.Store, Log: p.often, Metrics: p.cfg.Metrics})
			if err != nil {
				return nil, err
			}
			from, err := f.Assign(ctx, slices.Collect(maps.Keys(p.sources)))
			if errors.Is(err, readstore.ErrBroken) {
				p.giveUp(ctx, key, f, err)
				continue
			}
			if err != nil {
				return nil, err
			}
			p.followers[key] = f
			maps.Copy(moved, from)
			p.cfg.Log.InfoContext(ctx, "generation followed", "projection", m.Name, "generation", id)
		}
	}
	for key := range p.followers {
		if !wanted[key] {
			delete(p.followers, key)
		}
	}
	for key, l := range p.laggards {
		if !wanted[key] {
			l.stop()
		}
	}
	if err := p.audit(ctx, moved); err != nil {
		return nil, err
	}
	from, err := p.starts(ctx, moved)
	p.tellLag()
	return from, err
}

// audit has every follower look for what its store has lost.
func (p *Processor) audit(ctx context.Context, moved map[readstore.Source]int64) error {
	since := time.Now().Add(-auditEvery)
	for key, f := range p.followers {
		again, err := f.Audit(ctx, since)
		if errors.Is(err, readstore.ErrBroken) {
			p.giveUp(ctx, key, f, err)
			continue
		}
		if err != nil {
			return err
		}
		maps.Copy(moved, again)
	}
	return nil
}

// Apply has every follower fold what was read.
func (p *Processor) Apply(ctx context.Context, in Fetched) (map[readstore.Source]int64, error) {
	moved := map[readstore.Source]int64{}
	for key, f := range p.followers {
		before, began := p.reached(f, in), time.Now()
		again, err := f.Apply(ctx, in)
		if errors.Is(err, readstore.ErrBroken) {
			p.giveUp(ctx, key, f, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		p.tellApplied(ctx, f, in, before, began)
		maps.Copy(moved, again)
	}
	p.tellProgress(in)
	return p.starts(ctx, moved)
}

// starts returns, for the sources of moved, the lowest offset that any follower needs: what suits the
// one that asked may lie ahead of what another one has yet to see.
func (p *Processor) starts(ctx context.Context, moved map[readstore.Source]int64) (map[readstore.Source]int64, error) {
	from := map[readstore.Source]int64{}
	if len(moved) == 0 {
		return from, nil
	}
	needs := map[string]map[readstore.Source]int64{}
	for key, f := range p.followers {
		need, err := f.needs(ctx)
		if errors.Is(err, readstore.ErrBroken) {
			p.giveUp(ctx, key, f, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		needs[key] = need
	}
	p.part(ctx, needs)
	for key := range p.followers {
		lowest(from, needs[key])
	}
	for s := range from {
		if _, ok := moved[s]; !ok {
			delete(from, s)
		}
	}
	return from, nil
}

// giveUp retires a broken generation, so that another one is built.
func (p *Processor) giveUp(ctx context.Context, key string, f *Follower, cause error) {
	delete(p.followers, key)
	p.cfg.Metrics.broken.WithLabelValues(f.Model().Name).Inc()
	p.cfg.Log.ErrorContext(ctx, "generation is broken and retired", "projection", f.Model().Name, "generation", f.Generation().ID, "err", cause)
	err := UpdateCatalog(ctx, p.cfg.Store, f.Model().Name, func(c *readstore.Catalog) error {
		g, ok := c.Generations[f.Generation().ID]
		if ok {
			g.State = readstore.Retired
			c.Generations[g.ID] = g
		}
		return nil
	})
	if err != nil {
		p.cfg.Log.ErrorContext(ctx, "broken generation could not be retired", "projection", f.Model().Name, "generation", f.Generation().ID, "err", err)
	}
}

func lowest(into, from map[readstore.Source]int64) {
	for s, o := range from {
		if have, ok := into[s]; !ok || o < have {
			into[s] = o
		}
	}
}

// UpdateCatalog changes a read model's catalog, again from the start whenever somebody else was first.
// An error of change is returned as it is.
func UpdateCatalog(ctx context.Context, store readstore.Catalogs, model string, change func(*readstore.Catalog) error) error {
	for {
		c, err := store.Catalog(ctx, model)
		if err != nil {
			return fmt.Errorf("reading generations of %s: %w", model, err)
		}
		if c.Generations == nil {
			c.Generations = map[string]readstore.Generation{}
		}
		if err := change(&c); err != nil {
			return err
		}
		err = store.UpdateCatalog(ctx, model, c)
		if !errors.Is(err, readstore.ErrCatalogChanged) {
			if err != nil {
				return fmt.Errorf("storing generations of %s: %w", model, err)
			}
			return nil
		}
	}
}
