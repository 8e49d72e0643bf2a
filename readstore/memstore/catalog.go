package memstore

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	"github.com/ledgerline/ledgerline/readstore"
)

// Catalog returns a copy of a read model's catalog.
func (s *Store) Catalog(ctx context.Context, model string) (readstore.Catalog, error) {
	if err := ctx.Err(); err != nil {
		return readstore.Catalog{}, fmt.Errorf("reading the catalog of %s: %w", model, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return clone(s.catalogs[model]), nil
}

// UpdateCatalog stores a copy of c if the stored catalog still has c's Revision.
func (s *Store) UpdateCatalog(ctx context.Context, model string, c readstore.Catalog) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("storing the catalog of %s: %w", model, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.catalogs[model].Revision != c.Revision {
		return fmt.Errorf("storing the catalog of %s: %w", model, readstore.ErrCatalogChanged)
	}
	s.revision++
	c = clone(c)
	c.Revision = strconv.Itoa(s.revision)
	s.catalogs[model] = c
	return nil
}

// Drop forgets every bucket of a generation.
func (s *Store) Drop(ctx context.Context, g readstore.Generation) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("dropping generation %s of %s: %w", g.ID, g.Model, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.buckets, func(b readstore.Bucket, _ *bucket) bool {
		return b.Model == g.Model && b.Generation == g.ID
	})
	return nil
}

func clone(c readstore.Catalog) readstore.Catalog {
	generations := make(map[string]readstore.Generation, len(c.Generations))
	for id, g := range c.Generations {
		g.TopicIDs = maps.Clone(g.TopicIDs)
		generations[id] = g
	}
	c.Generations = generations
	return c
}
