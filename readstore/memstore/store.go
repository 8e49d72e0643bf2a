// Package memstore keeps read models in memory. It is the model of what a store does: verification
// folds the log into one and compares, and storetest holds it to the same rules as redisstore.
//
// It owns no durability and no speed: one lock, plain maps, and every query goes through the whole
// bucket.
package memstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/ledgerline/ledgerline/readstore"
)

// Store is a [readstore.Store] in memory. Its methods may be called from several goroutines. Like
// redisstore it keeps ranked sums exact up to 2^53 and as the nearest floating-point number beyond.
type Store struct {
	mu       sync.Mutex
	buckets  map[readstore.Bucket]*bucket
	catalogs map[string]readstore.Catalog
	revision int
}

var _ readstore.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{buckets: map[readstore.Bucket]*bucket{}, catalogs: map[string]readstore.Catalog{}}
}

type bucket struct {
	broken      bool
	checkpoints readstore.Checkpoints
	documents   map[string]string
	sums        map[string]int64  // id/field → sum
	entries     map[string]string // id/field → value
	ranked      map[string]map[string]int64
	parked      map[string]string // aggregate/id → value
}

func newBucket() *bucket {
	return &bucket{
		checkpoints: readstore.Checkpoints{}, documents: map[string]string{}, sums: map[string]int64{},
		entries: map[string]string{}, ranked: map[string]map[string]int64{}, parked: map[string]string{},
	}
}

// Apply makes the writes in their order. It refuses a write without an Advance and an id with '/'
// before it makes any.
func (s *Store) Apply(ctx context.Context, writes []readstore.Write) ([]readstore.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("applying %d writes: %w", len(writes), err)
	}
	for _, w := range writes {
		if err := check(w); err != nil {
			return nil, fmt.Errorf("writing %s: %w", w.Bucket, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]readstore.Result, len(writes))
	for i, w := range writes {
		if s.buckets[w.Bucket] == nil {
			s.buckets[w.Bucket] = newBucket()
		}
		results[i] = s.buckets[w.Bucket].apply(w)
	}
	return results, nil
}

func check(w readstore.Write) error {
	if len(w.Advances) == 0 {
		return errors.New("a write without an Advance cannot be checked")
	}
	for _, op := range w.Ops {
		if strings.Contains(op.ID, "/") && op.Kind != readstore.SetParked {
			return fmt.Errorf("document id %q holds '/'", op.ID)
		}
		if !strings.ContainsRune("DAEP", rune(op.Kind)) {
			return fmt.Errorf("operation of unknown kind %q", op.Kind)
		}
	}
	return nil
}

func (b *bucket) apply(w readstore.Write) readstore.Result {
	if b.broken {
		return readstore.Result{Err: fmt.Errorf("writing %s: %w", w.Bucket, readstore.ErrBroken)}
	}
	stored, expected := readstore.Checkpoints{}, true
	for _, a := range w.Advances {
		if at, ok := b.checkpoints[a.Source]; ok {
			stored[a.Source] = at
		}
		expected = expected && b.checkpoints[a.Source] == a.From
	}
	if !expected {
		return readstore.Result{Stored: stored}
	}
	for _, op := range w.Ops {
		if !b.change(op) {
			b.broken = true
			return readstore.Result{Err: fmt.Errorf("writing %s: sum %s/%s overflows: %w", w.Bucket, op.ID, op.Field, readstore.ErrBroken)}
		}
	}
	for _, a := range w.Advances {
		b.checkpoints[a.Source] = a.To
		if a.To == (readstore.Checkpoint{}) {
			delete(b.checkpoints, a.Source)
		}
	}
	return readstore.Result{Applied: true}
}

// change reports false when a sum would overflow.
func (b *bucket) change(op readstore.Op) bool {
	name := op.ID + "/" + op.Field
	switch op.Kind {
	case readstore.SetDocument:
		b.documents[op.ID] = op.Value
	case readstore.SetEntry:
		b.entries[name] = op.Value
	case readstore.SetParked:
		name = op.Field + "/" + op.ID
		if b.parked[name] = op.Value; op.Value == "" {
			delete(b.parked, name)
		}
	case readstore.AddSum:
		sum := b.sums[name] + op.Delta
		if (sum < b.sums[name]) != (op.Delta < 0) {
			return false
		}
		b.sums[name] = sum
		if op.Rank != "" {
			if b.ranked[op.Rank] == nil {
				b.ranked[op.Rank] = map[string]int64{}
			}
			b.ranked[op.Rank][op.ID] = rounded(sum)
		}
	}
	return true
}

// rounded is what remains of a sum in Redis' ranked lists: the nearest float64, within int64.
func rounded(sum int64) int64 {
	if f := float64(sum); f < 1<<63 {
		return int64(f)
	}
	return math.MaxInt64
}

// read calls visit with the bucket and returns its checkpoints.
func (s *Store) read(ctx context.Context, name readstore.Bucket, visit func(*bucket)) (readstore.Checkpoints, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		b = newBucket()
	}
	if b.broken {
		return nil, fmt.Errorf("reading %s: %w", name, readstore.ErrBroken)
	}
	visit(b)
	return maps.Clone(b.checkpoints), nil
}

// Load returns the documents of those ids that exist.
func (s *Store) Load(ctx context.Context, name readstore.Bucket, ids []string) (map[string]string, readstore.Checkpoints, error) {
	documents := map[string]string{}
	checkpoints, err := s.read(ctx, name, func(b *bucket) {
		for _, id := range ids {
			if document, ok := b.documents[id]; ok {
				documents[id] = document
			}
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return documents, checkpoints, nil
}

// Parked returns what is parked of those names, or all that is.
func (s *Store) Parked(ctx context.Context, name readstore.Bucket, names ...string) (map[string]string, readstore.Checkpoints, error) {
	parked := map[string]string{}
	checkpoints, err := s.read(ctx, name, func(b *bucket) {
		for n, value := range b.parked {
			if len(names) == 0 || slices.Contains(names, n) {
				parked[n] = value
			}
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return parked, checkpoints, nil
}

// Sums returns the sums of a document by field.
func (s *Store) Sums(ctx context.Context, name readstore.Bucket, id string) (map[string]int64, readstore.Checkpoints, error) {
	sums := map[string]int64{}
	checkpoints, err := s.read(ctx, name, func(b *bucket) {
		for key, sum := range b.sums {
			if field, ok := strings.CutPrefix(key, id+"/"); ok {
				sums[field] = sum
			}
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return sums, checkpoints, nil
}

// Entries returns a page of a document's entries.
func (s *Store) Entries(ctx context.Context, name readstore.Bucket, id, after string, limit int) ([]readstore.Entry, readstore.Checkpoints, error) {
	entries := []readstore.Entry{}
	checkpoints, err := s.read(ctx, name, func(b *bucket) {
		for key, value := range b.entries {
			if field, ok := strings.CutPrefix(key, id+"/"); ok && (after == "" || field > after) {
				entries = append(entries, readstore.Entry{Field: field, Value: value})
			}
		}
	})
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(entries, func(a, b readstore.Entry) int { return cmp.Compare(a.Field, b.Field) })
	return entries[:min(max(limit, 0), len(entries))], checkpoints, nil
}

// Ranked returns a page of a ranked list.
func (s *Store) Ranked(ctx context.Context, name readstore.Bucket, list string, after *readstore.Rank, limit int) ([]readstore.Rank, readstore.Checkpoints, error) {
	order := func(a, b readstore.Rank) int { return cmp.Or(cmp.Compare(b.Sum, a.Sum), cmp.Compare(b.ID, a.ID)) }
	ranks := []readstore.Rank{}
	checkpoints, err := s.read(ctx, name, func(b *bucket) {
		for id, sum := range b.ranked[list] {
			rank := readstore.Rank{ID: id, Sum: sum}
			if after == nil || order(*after, rank) < 0 {
				ranks = append(ranks, rank)
			}
		}
	})
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(ranks, order)
	return ranks[:min(max(limit, 0), len(ranks))], checkpoints, nil
}

// Inspect returns a copy of everything that the bucket holds.
func (s *Store) Inspect(ctx context.Context, name readstore.Bucket) (readstore.Content, error) {
	var content readstore.Content
	checkpoints, err := s.read(ctx, name, func(b *bucket) {
		content = readstore.Content{
			Documents: maps.Clone(b.documents), Sums: maps.Clone(b.sums), Entries: maps.Clone(b.entries),
			Ranked: make(map[string]map[string]int64, len(b.ranked)), Parked: maps.Clone(b.parked),
		}
		for list, ranked := range b.ranked {
			content.Ranked[list] = maps.Clone(ranked)
		}
	})
	content.Checkpoints = checkpoints
	return content, err
}
