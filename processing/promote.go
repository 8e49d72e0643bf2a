package processing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// Promote makes a generation the one that readers use. It refuses one that is not ready, never was
// verified (unless unverified), or is behind: it waits up to wait for it to reach the end that the log
// had at the call. Readers change over between two requests; none sees a mixture.
func Promote(ctx context.Context, cfg RebuildConfig, generation string, unverified bool, wait time.Duration) (readstore.Generation, error) {
	if err := cfg.check(); err != nil {
		return readstore.Generation{}, err
	}
	if cfg.Model.Snapshots {
		return readstore.Generation{}, errChosen(cfg.Model)
	}
	g, err := generationOf(ctx, cfg.Store, cfg.Model, generation)
	if err != nil {
		return g, err
	}
	if g.State != readstore.Ready {
		return g, fmt.Errorf("promoting generation %s of %s: it is %s, not ready", g.ID, cfg.Model.Name, g.State)
	}
	if g.VerifiedAt.IsZero() && !unverified {
		return g, fmt.Errorf("promoting generation %s of %s: it was never verified; run: rebuild verify %s %s", g.ID, cfg.Model.Name, cfg.Model.Name, g.ID)
	}
	if err := awaitEnd(ctx, &cfg, g, wait); err != nil {
		return g, fmt.Errorf("promoting generation %s of %s: %w", g.ID, cfg.Model.Name, err)
	}
	err = UpdateCatalog(ctx, cfg.Store, cfg.Model.Name, func(c *readstore.Catalog) error {
		now, ok := c.Generations[g.ID]
		if !ok || now.State != readstore.Ready {
			return fmt.Errorf("promoting generation %s of %s: it is no longer ready", g.ID, cfg.Model.Name)
		}
		now.PromotedAt = cfg.Now().UTC()
		c.Generations[g.ID], g = now, now
		if c.Active != g.ID {
			c.Standby, c.Active = c.Active, g.ID
		}
		return nil
	})
	return g, err
}

// errChosen says that the generations of snapshots are not switched by hand.
func errChosen(m *ReadModel) error {
	return fmt.Errorf("%s is not promoted or rolled back: each worker uses the generation of its state version that became ready last", m.Name)
}

// IsActive reports whether a generation is the one that is used: the active one, or, of snapshots, the
// one that workers of the model's code version choose.
func IsActive(c readstore.Catalog, m *ReadModel, generation string) bool {
	if m.Snapshots {
		g, ok := CurrentSnapshots(c, m)
		return ok && g.ID == generation
	}
	return generation != "" && generation == c.Active
}

// awaitEnd waits until every bucket has applied what the log held at the call.
func awaitEnd(ctx context.Context, cfg *RebuildConfig, g readstore.Generation, wait time.Duration) error {
	marks, err := sourcesOf(ctx, cfg.Events, cfg.Model)
	if err != nil {
		return err
	}
	deadline := cfg.Now().Add(wait)
	for {
		behind, err := lag(ctx, cfg, g, marks)
		if err != nil || behind == 0 {
			return err
		}
		if cfg.Now().After(deadline) {
			return fmt.Errorf("it is %d offsets behind the log after %s; is a processor of code version %d running?", behind, wait, g.CodeVersion)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// lag is the most offsets that any bucket lacks of any source.
func lag(ctx context.Context, cfg *RebuildConfig, g readstore.Generation, marks map[readstore.Source]Mark) (int64, error) {
	var most int64
	for n := range g.Buckets {
		_, checkpoints, err := cfg.Store.Load(ctx, readstore.Bucket{Model: cfg.Model.Name, Generation: g.ID, Number: n}, nil)
		if err != nil {
			return 0, fmt.Errorf("loading checkpoints of bucket %d: %w", n, err)
		}
		for s, mark := range marks {
			if cfg.Model.KeyedAsEvents && int(s.Partition) != n {
				continue
			}
			most = max(most, mark.End-checkpoints[s].Offset)
		}
	}
	return most, nil
}

// Lag returns how many offsets of the log's end the most backward bucket of a generation lacks.
func Lag(ctx context.Context, cfg RebuildConfig, g readstore.Generation) (int64, error) {
	marks, err := cfg.Events.Marks(ctx, cfg.Model.Aggregates)
	if err != nil {
		return 0, err
	}
	return lag(ctx, &cfg, g, marks)
}

// Keep sees to it that the model has an active generation: while it has none of an unbroken code
// version, it builds one and promotes it unverified. It checks about every second, until ctx ends.
func Keep(ctx context.Context, cfg RebuildConfig) error {
	if err := cfg.check(); err != nil {
		return err
	}
	often := Sparing(cfg.Log)
	for {
		if err := keep(ctx, cfg); err != nil && ctx.Err() == nil && !errors.Is(err, ErrBeingBuilt) && !errors.Is(err, errNotNeeded) {
			often.WarnContext(ctx, "read model is not kept, trying again", "projection", cfg.Model.Name, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func keep(ctx context.Context, cfg RebuildConfig) error {
	c, err := cfg.Store.Catalog(ctx, cfg.Model.Name)
	if err != nil {
		return fmt.Errorf("reading generations of %s: %w", cfg.Model.Name, err)
	}
	if g, ok := c.ActiveGeneration(); ok && g.State == readstore.Ready {
		return nil
	}
	g, ok := ready(c, cfg.Model)
	if !ok {
		g, err = buildIf(ctx, cfg, func(c readstore.Catalog) bool {
			_, ok := ready(c, cfg.Model)
			return !ok
		})
		if err != nil {
			return err
		}
		cfg.Log.InfoContext(ctx, "generation built", "projection", cfg.Model.Name, "generation", g.ID)
	}
	_, err = Promote(ctx, cfg, g.ID, true, 10*time.Second)
	return cfg.retireBroken(ctx, g.ID, err)
}

// ready returns a ready generation of the model's code version.
func ready(c readstore.Catalog, m *ReadModel) (readstore.Generation, bool) {
	for _, g := range c.Generations {
		if g.State == readstore.Ready && g.CodeVersion == m.CodeVersion {
			return g, true
		}
	}
	return readstore.Generation{}, false
}
