package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore"
)

// Catalog reads a read model's catalog as of one moment.
func (s *Store) Catalog(ctx context.Context, model string) (readstore.Catalog, error) {
	c, err := s.catalog(ctx, model)
	if err != nil {
		return readstore.Catalog{}, fmt.Errorf("reading the catalog of %s: %w", model, err)
	}
	return c, nil
}

func (s *Store) catalog(ctx context.Context, model string) (readstore.Catalog, error) {
	answer, err := s.read(ctx, catalogScript, s.catalogKeys(model))
	if err != nil {
		return readstore.Catalog{}, err
	}
	if len(answer) != 3 {
		return readstore.Catalog{}, fmt.Errorf("script answered %d parts, not 3", len(answer))
	}
	generations, err := texts(answer[1])
	if err != nil {
		return readstore.Catalog{}, err
	}
	rest, err := texts(answer[2])
	if err != nil {
		return readstore.Catalog{}, err
	}
	c := readstore.Catalog{Generations: make(map[string]readstore.Generation, len(generations)/2)}
	c.Active, _ = answer[0].(string)
	named := toMap(rest)
	c.Standby, c.Revision = named["standby"], named["revision"]
	for i := 0; i < len(generations); i += 2 {
		var g readstore.Generation
		if err := json.Unmarshal([]byte(generations[i+1]), &g); err != nil {
			return readstore.Catalog{}, fmt.Errorf("generation %s: %w", generations[i], err)
		}
		c.Generations[generations[i]] = g
	}
	return c, nil
}

// UpdateCatalog stores c if the stored catalog still has c's Revision, else it returns
// readstore.ErrCatalogChanged, wrapped. The new revision is a random text: read the catalog to learn it.
func (s *Store) UpdateCatalog(ctx context.Context, model string, c readstore.Catalog) error {
	args := []any{c.Revision, rand.Text(), c.Active, c.Standby}
	for _, id := range slices.Sorted(maps.Keys(c.Generations)) {
		text, err := json.Marshal(c.Generations[id])
		if err != nil {
			return fmt.Errorf("storing the catalog of %s: generation %s: %w", model, id, err)
		}
		args = append(args, id, text)
	}
	stored, err := updateCatalogScript.Run(ctx, s.client, s.catalogKeys(model), args...).Int()
	if err != nil {
		return fmt.Errorf("storing the catalog of %s: %w", model, err)
	}
	if stored == 0 {
		return fmt.Errorf("storing the catalog of %s: %w", model, readstore.ErrCatalogChanged)
	}
	return nil
}

// dropBatch is how many keys are unlinked in one round trip.
const dropBatch = 500

// Drop unlinks every key of every bucket of a generation; Redis frees the memory in the background.
// It may be called again after an error. It leaves the catalog alone.
func (s *Store) Drop(ctx context.Context, g readstore.Generation) error {
	start := s.prefix + ":{" + g.Model + "." + g.ID + "."
	found, err := s.scan(ctx, start)
	if err != nil {
		return fmt.Errorf("dropping generation %s of %s: %w", g.ID, g.Model, err)
	}
	for n := range g.Buckets {
		for _, key := range s.bucketKeys(readstore.Bucket{Model: g.Model, Generation: g.ID, Number: n}) {
			found[key] = true
		}
	}
	var keys []string
	for key := range found {
		number, _, ok := strings.Cut(strings.TrimPrefix(key, start), "}:")
		if ok && number != "" && strings.Trim(number, "0123456789") == "" {
			keys = append(keys, key)
		}
	}
	for batch := range slices.Chunk(keys, dropBatch) {
		_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, key := range batch { // one by one: a command's keys must lie on one node
				pipe.Unlink(ctx, key)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("dropping generation %s of %s: %w", g.ID, g.Model, err)
		}
	}
	return nil
}
