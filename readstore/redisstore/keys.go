package redisstore

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore"
)

// The parts of a bucket: what stands last in its keys. A ranked list's part is RankPart and its name.
const (
	CheckpointsPart = "checkpoints"
	DocumentsPart   = "docs"
	SumsPart        = "sums"
	EntriesPart     = "entries"
	ParkedPart      = "parked"
	IndexPart       = "index"
	RankPart        = "rank:"
)

// fixedParts are the parts of every bucket, in the order in which scripts take their keys.
var fixedParts = []string{CheckpointsPart, DocumentsPart, SumsPart, EntriesPart, ParkedPart, IndexPart}

// BucketKey returns the key of a part of a bucket: ledgerline:{order-status.20261123-7f3a.11}:docs.
func BucketKey(prefix string, b readstore.Bucket, part string) string {
	return prefix + ":{" + b.String() + "}:" + part
}

// Prefix returns what begins every key of the store.
func (s *Store) Prefix() string { return s.prefix }

func checkPrefix(prefix string) error {
	if strings.ContainsAny(prefix, "{}") {
		return fmt.Errorf("creating a Redis store: prefix %q holds a brace, which would move its keys to another slot: leave it out", prefix)
	}
	return nil
}

func (s *Store) bucketKey(b readstore.Bucket, part string) string {
	return BucketKey(s.prefix, b, part)
}

// bucketKeys returns the keys of fixedParts.
func (s *Store) bucketKeys(b readstore.Bucket) []string {
	keys := make([]string, len(fixedParts), len(fixedParts)+1)
	for i, part := range fixedParts {
		keys[i] = s.bucketKey(b, part)
	}
	return keys
}

func (s *Store) catalogKeys(model string) []string {
	tag := s.prefix + ":{" + model + "}:"
	return []string{tag + "active", tag + "generations", tag + "catalog"}
}

// scanCount is how many keys the server looks at for one SCAN.
const scanCount = 1000

var globEscape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// scan returns every key that begins with start. A key that comes or goes meanwhile may be in it or not.
func (s *Store) scan(ctx context.Context, start string) (map[string]bool, error) {
	var mu sync.Mutex
	keys := map[string]bool{}
	err := s.eachMaster(ctx, func(ctx context.Context, client redis.UniversalClient) error {
		found := map[string]bool{}
		iterator := client.Scan(ctx, 0, globEscape.Replace(start)+"*", scanCount).Iterator()
		for iterator.Next(ctx) {
			found[iterator.Val()] = true
		}
		mu.Lock()
		defer mu.Unlock()
		maps.Copy(keys, found)
		return iterator.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("listing keys that begin with %s: %w", start, err)
	}
	return keys, nil
}
