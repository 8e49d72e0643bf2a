package ledgerline

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

// Rebuild builds, verifies and promotes generations of read models. It may run anywhere, beside
// everything else.
type Rebuild struct {
	link       *link
	store      *redisstore.Store
	closeStore func()
	log        *kafka.Log
}

// promoteWait is how long a promotion waits for the followers of a generation to reach the log's end.
const promoteWait = 30 * time.Second

// NewRebuild checks topics and Redis and connects.
func NewRebuild(ctx context.Context, app App, conn Connection) (*Rebuild, error) {
	return newRebuild(ctx, app, conn, app.rebuildAccess(conn.Prefix))
}

func newRebuild(ctx context.Context, app App, conn Connection, access []kafka.Access) (*Rebuild, error) {
	l, err := connect(ctx, app, conn, access)
	if err != nil {
		return nil, err
	}
	r := &Rebuild{link: l}
	if r.store, r.closeStore, err = l.store(ctx); err == nil {
		err = l.servedByRegistry(ctx)
	}
	if err == nil {
		logs := l.log()
		logs.Aggregates = app.aggregates() // all of them have snapshots
		r.log, err = kafka.NewLog(logs)
	}
	if err == nil {
		err = l.sameLog(ctx, r.store, app.models())
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close closes the connections.
func (r *Rebuild) Close() {
	if r.log != nil {
		r.log.Close()
	}
	if r.closeStore != nil {
		r.closeStore()
	}
	r.link.close()
}

func (r *Rebuild) config(model string, progress func(processing.Progress)) (processing.RebuildConfig, error) {
	m, err := r.link.app.ReadModel(model)
	host, _ := os.Hostname()
	return processing.RebuildConfig{Model: m, Store: r.store, Events: r.log, Owner: fmt.Sprintf("rebuild %s %d", host, os.Getpid()), Progress: progress, Log: r.link.conn.Log}, err
}

// Run builds a new generation of a read model, as processing.Build does.
func (r *Rebuild) Run(ctx context.Context, model string, progress func(processing.Progress)) (readstore.Generation, error) {
	cfg, err := r.config(model, progress)
	if err != nil {
		return readstore.Generation{}, err
	}
	return processing.Build(ctx, cfg)
}

// Plan says what Run would do, as processing.PlanBuild does.
func (r *Rebuild) Plan(ctx context.Context, model string) (processing.Plan, error) {
	cfg, err := r.config(model, nil)
	if err != nil {
		return processing.Plan{}, err
	}
	return processing.PlanBuild(ctx, cfg)
}

// Verify compares a generation ("active" for the active one) with the log, as processing.Verify does.
func (r *Rebuild) Verify(ctx context.Context, model, generation string, progress func(processing.Progress)) (processing.Verification, error) {
	cfg, err := r.config(model, progress)
	if err != nil {
		return processing.Verification{}, err
	}
	return processing.Verify(ctx, cfg, generation)
}

// Promote makes a verified generation the active one, as processing.Promote does.
func (r *Rebuild) Promote(ctx context.Context, model, generation string) (readstore.Generation, error) {
	return r.promote(ctx, model, generation, false)
}

// PromoteUnverified is Promote of a generation that need not be verified.
func (r *Rebuild) PromoteUnverified(ctx context.Context, model, generation string) (readstore.Generation, error) {
	return r.promote(ctx, model, generation, true)
}

func (r *Rebuild) promote(ctx context.Context, model, generation string, unverified bool) (readstore.Generation, error) {
	cfg, err := r.config(model, nil)
	if err != nil {
		return readstore.Generation{}, err
	}
	return processing.Promote(ctx, cfg, generation, unverified, promoteWait)
}

// Documents visits the documents of a read model's active generation, each with its JSON text, in no
// order. The model is keyed as its events are.
func (r *Rebuild) Documents(ctx context.Context, model string, visit func(id, text string) error) error {
	c, err := r.store.Catalog(ctx, model)
	if err != nil {
		return err
	}
	g, ok := c.ActiveGeneration()
	if !ok {
		return fmt.Errorf("%s has no active generation", model)
	}
	for n := range g.Buckets {
		content, err := r.store.Inspect(ctx, readstore.Bucket{Model: model, Generation: g.ID, Number: n})
		if err != nil {
			return err
		}
		for id, text := range content.Documents {
			if err := visit(id, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// Rollback makes the standby generation active again, as processing.Rollback does.
func (r *Rebuild) Rollback(ctx context.Context, model string) (readstore.Generation, error) {
	cfg, err := r.config(model, nil)
	if err != nil {
		return readstore.Generation{}, err
	}
	return processing.Rollback(ctx, cfg, promoteWait)
}

// Prunable lists the generations that nobody needs, as processing.Prunable does.
func (r *Rebuild) Prunable(ctx context.Context, model string) ([]readstore.Generation, error) {
	cfg, err := r.config(model, nil)
	if err != nil {
		return nil, err
	}
	return processing.Prunable(ctx, cfg)
}

// Prune deletes a generation, as processing.Prune does.
func (r *Rebuild) Prune(ctx context.Context, model, generation string, grace time.Duration) error {
	cfg, err := r.config(model, nil)
	if err != nil {
		return err
	}
	return processing.Prune(ctx, cfg, generation, grace)
}

// GenerationStatus is a generation as `rebuild status` shows it.
type GenerationStatus struct {
	readstore.Generation
	Active  bool `json:"active"`
	Standby bool `json:"standby"`
	// Behind is how many offsets of the log its most backward bucket lacks; -1 if nobody can tell. Snapshots
	// always lack some: the end of the last transaction, and what came since they were written.
	Behind int64 `json:"behind"`
}

// Status lists the generations of the named read models, or of all, oldest first.
func (r *Rebuild) Status(ctx context.Context, models ...string) ([]GenerationStatus, error) {
	if len(models) == 0 {
		for _, m := range r.link.app.models() {
			models = append(models, m.Name)
		}
	}
	var all []GenerationStatus
	for _, model := range models {
		cfg, err := r.config(model, nil)
		if err != nil {
			return nil, err
		}
		c, err := r.store.Catalog(ctx, model)
		if err != nil {
			return nil, err
		}
		var list []GenerationStatus
		for id, g := range c.Generations {
			s := GenerationStatus{Generation: g, Active: processing.IsActive(c, cfg.Model, id), Standby: id == c.Standby, Behind: -1}
			if n, err := processing.Lag(ctx, cfg, g); err == nil {
				s.Behind = n
			}
			list = append(list, s)
		}
		slices.SortFunc(list, func(a, b GenerationStatus) int { return strings.Compare(a.ID, b.ID) })
		all = append(all, list...)
	}
	return all, nil
}
