package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// catalogAge is how old a catalog may be. A generation is kept for longer than that after another
// has taken its place.
const catalogAge = time.Second

// catalogs remembers each model's catalog for catalogAge, so that a query is one round trip.
type catalogs struct {
	store Store

	mu      sync.Mutex
	byModel map[string]readCatalog
}

type readCatalog struct {
	catalog readstore.Catalog
	// at is the time before it was read.
	at time.Time
}

func newCatalogs(store Store) *catalogs {
	return &catalogs{store: store, byModel: map[string]readCatalog{}}
}

// get returns the catalog of model and whether it is a remembered one; with fresh it never is.
func (c *catalogs) get(ctx context.Context, model string, fresh bool) (readstore.Catalog, bool, error) {
	now := time.Now()
	c.mu.Lock()
	known, ok := c.byModel[model]
	c.mu.Unlock()
	if ok && !fresh && now.Sub(known.at) < catalogAge {
		return known.catalog, true, nil
	}
	catalog, err := c.store.Catalog(ctx, model)
	if err != nil {
		return readstore.Catalog{}, false, fmt.Errorf("reading catalog of %s: %w", model, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Two readers may come back in the other order than they asked: the later question has the newer answer.
	if !c.byModel[model].at.After(now) {
		c.byModel[model] = readCatalog{catalog: catalog, at: now}
	}
	return catalog, false, nil
}

// generation returns the generation to read: the wanted one if a cursor names it and it still is
// followed, else the active one. A remembered catalog without it is read again.
func (c *catalogs) generation(ctx context.Context, model, wanted string, fresh bool) (readstore.Generation, error) {
	for {
		catalog, remembered, err := c.get(ctx, model, fresh)
		if err != nil {
			return readstore.Generation{}, err
		}
		g, missing := choose(catalog, wanted)
		if missing == nil && g.Buckets < 1 {
			return g, fmt.Errorf("reading catalog of %s: generation %s has no buckets", model, g.ID)
		}
		if missing == nil {
			return g, nil
		}
		if !remembered {
			return g, missing
		}
		fresh = true
	}
}

func choose(catalog readstore.Catalog, wanted string) (readstore.Generation, *problem) {
	active, ok := catalog.ActiveGeneration()
	if wanted == "" || ok && wanted == active.ID {
		if !ok {
			return active, refuse(http.StatusServiceUnavailable, "read-model-rebuilding", "this read model has no active generation yet")
		}
		return active, nil
	}
	if g, ok := catalog.Generations[wanted]; ok && g.State == readstore.Ready {
		return g, nil
	}
	return active, refuse(http.StatusGone, "cursor-expired", "the generation that this cursor reads is gone: start again without a cursor")
}
