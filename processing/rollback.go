package processing

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// Rollback makes the standby generation active again, and the active one standby. It refuses when there
// is none, or when it is behind: it waits up to wait for it to reach the end that the log had at the
// call, which it does only while a processor of its code version runs.
func Rollback(ctx context.Context, cfg RebuildConfig, wait time.Duration) (readstore.Generation, error) {
	if err := cfg.check(); err != nil {
		return readstore.Generation{}, err
	}
	if cfg.Model.Snapshots {
		return readstore.Generation{}, errChosen(cfg.Model)
	}
	c, err := cfg.Store.Catalog(ctx, cfg.Model.Name)
	if err != nil {
		return readstore.Generation{}, fmt.Errorf("reading generations of %s: %w", cfg.Model.Name, err)
	}
	g, ok := c.Generations[c.Standby]
	if !ok || g.State != readstore.Ready {
		return g, fmt.Errorf("rolling %s back: there is no standby generation; see: rebuild status %s", cfg.Model.Name, cfg.Model.Name)
	}
	if err := awaitEnd(ctx, &cfg, g, wait); err != nil {
		return g, fmt.Errorf("rolling %s back to generation %s: %w", cfg.Model.Name, g.ID, err)
	}
	err = UpdateCatalog(ctx, cfg.Store, cfg.Model.Name, func(c *readstore.Catalog) error {
		now, ok := c.Generations[g.ID]
		if !ok || now.State != readstore.Ready || c.Standby != g.ID {
			return fmt.Errorf("rolling %s back: generation %s is no longer the standby", cfg.Model.Name, g.ID)
		}
		now.PromotedAt = cfg.Now().UTC()
		c.Generations[g.ID], g = now, now
		c.Active, c.Standby = c.Standby, c.Active
		return nil
	})
	return g, err
}

// Prunable returns the generations of a model that nobody needs: all but the active one, the standby
// and those being built. Of snapshots, it is all but the one that workers of this code version use and
// those being built: a worker of another version makes a new one. Oldest first.
func Prunable(ctx context.Context, cfg RebuildConfig) ([]readstore.Generation, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c, err := cfg.Store.Catalog(ctx, cfg.Model.Name)
	if err != nil {
		return nil, fmt.Errorf("reading generations of %s: %w", cfg.Model.Name, err)
	}
	var list []readstore.Generation
	for _, g := range c.Generations {
		if prunable(c, cfg.Model, g, cfg.Now()) {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b readstore.Generation) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return list, nil
}

func prunable(c readstore.Catalog, m *ReadModel, g readstore.Generation, now time.Time) bool {
	return !IsActive(c, m, g.ID) && (g.ID != c.Standby || g.State == readstore.Retired) &&
		(g.State != readstore.Building || now.After(g.LeaseUntil))
}

// Prune deletes a generation that is Prunable: it marks it retired, waits grace for readers in the
// middle of a page and for followers to let go of it, and deletes its keys. Interrupted, it may be run
// again.
func Prune(ctx context.Context, cfg RebuildConfig, generation string, grace time.Duration) error {
	if err := cfg.check(); err != nil {
		return err
	}
	var g readstore.Generation
	err := UpdateCatalog(ctx, cfg.Store, cfg.Model.Name, func(c *readstore.Catalog) error {
		var ok bool
		if g, ok = c.Generations[generation]; !ok {
			return fmt.Errorf("%s has no generation %q; see: rebuild status %s", cfg.Model.Name, generation, cfg.Model.Name)
		}
		if !prunable(*c, cfg.Model, g, cfg.Now()) {
			return fmt.Errorf("pruning generation %s of %s: it is active, standby or being built", g.ID, cfg.Model.Name)
		}
		g.State, g.Builder, g.LeaseUntil = readstore.Retired, "", time.Time{}
		c.Generations[g.ID] = g
		if c.Standby == g.ID {
			c.Standby = ""
		}
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(grace):
	}
	if err := cfg.Store.Drop(ctx, g); err != nil {
		return fmt.Errorf("deleting generation %s of %s: %w", g.ID, cfg.Model.Name, err)
	}
	return UpdateCatalog(ctx, cfg.Store, cfg.Model.Name, func(c *readstore.Catalog) error {
		delete(c.Generations, g.ID)
		return nil
	})
}
