// Package storetest holds every [readstore.Store] to the same rules.
//
// It owns the rules only: how a store is opened, and what lies beneath it, is the caller's.
package storetest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/ledgerline/ledgerline/readstore"
)

// suite is what the subtests are made from.
type suite struct {
	open   func(t *testing.T) readstore.Store
	poison func(t *testing.T, s readstore.Store, b readstore.Bucket)
}

// Option changes how Run works.
type Option func(*suite)

// PoisonedBy sets what makes the next write of a document and of a sum that is at its highest value fail
// half-way. It is for a store on a server whose sums wrap around instead of failing, such as miniredis.
func PoisonedBy(poison func(t *testing.T, s readstore.Store, b readstore.Bucket)) Option {
	return func(s *suite) { s.poison = poison }
}

// Run runs a subtest for each rule of a store. Each of them calls open once, which returns a store with
// nothing in it and cleans up when its test ends.
func Run(t *testing.T, open func(t *testing.T) readstore.Store, options ...Option) {
	s := &suite{open: open, poison: func(*testing.T, readstore.Store, readstore.Bucket) {}}
	for _, option := range options {
		option(s)
	}
	rules := map[string]func(t *testing.T, s readstore.Store){
		"an empty bucket has nothing":             emptyBucket,
		"what was applied is loaded":              appliedIsLoaded,
		"a refused write changes nothing":         refusedChangesNothing,
		"every source must match":                 everySourceMustMatch,
		"every part of a checkpoint is compared":  everyPartIsCompared,
		"writes are atomic on their own":          writesOnTheirOwn,
		"writes that cannot be kept are errors":   impossibleWrites,
		"large writes":                            largeWrites,
		"documents and checkpoints change as one": changeAsOne,
		"conflicting writers: one wins":           oneWriterWins,
		"random writes against a model":           randomWrites,
		"sums":                                    sums,
		"entries are paged in byte order":         entries,
		"ranked lists are paged":                  rankedPages,
		"ranks follow their sums":                 ranksFollow,
		"ranked sums beyond 2^53 are rounded":     roundedRanks,
		"ids that begin alike do not mix":         similarIDs,
		"inspect shows everything":                inspectShowsAll,
		"catalog round trip":                      catalogRoundTrip,
		"catalog is compared and set":             catalogCompared,
		"catalog writers: one wins":               oneCatalogWriterWins,
		"drop removes everything":                 dropRemovesAll,
		"a context that has ended is an error":    endedContext,
		"a write that fails half-way breaks the bucket": func(t *testing.T, store readstore.Store) {
			breaks(t, store, s.poison)
		},
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		t.Run(name, func(t *testing.T) { rules[name](t, open(t)) })
	}
}

// bucket is the bucket of most subtests.
var bucket = readstore.Bucket{Model: "customer-orders", Generation: "20261123-7f3a", Number: 11}

// left and right are sources.
var (
	left  = readstore.Source{Aggregate: "order", Partition: 3}
	right = readstore.Source{Aggregate: "order", Partition: 11}
)

// at returns a checkpoint with that offset; 0 is the zero checkpoint.
func at(offset int64) readstore.Checkpoint {
	if offset == 0 {
		return readstore.Checkpoint{}
	}
	return readstore.Checkpoint{
		Generation: bucket.Generation, CodeVersion: 2, TopicID: "J3kUyCkGSbu2rT8mzCkJEw",
		Offset: offset, Command: offset - 2, Change: "c0ffee",
	}
}

func advance(source readstore.Source, from, to int64) readstore.Advance {
	return readstore.Advance{Source: source, From: at(from), To: at(to)}
}

// write is a write of left in bucket.
func write(from, to int64, ops ...readstore.Op) readstore.Write {
	return readstore.Write{Bucket: bucket, Advances: []readstore.Advance{advance(left, from, to)}, Ops: ops}
}

func document(id, json string) readstore.Op {
	return readstore.Op{Kind: readstore.SetDocument, ID: id, Value: json}
}

func sum(id, field string, delta int64, list string) readstore.Op {
	return readstore.Op{Kind: readstore.AddSum, ID: id, Field: field, Delta: delta, Rank: list}
}

func entry(id, field, value string) readstore.Op {
	return readstore.Op{Kind: readstore.SetEntry, ID: id, Field: field, Value: value}
}

// apply returns the results of writes that a store must have understood.
func apply(t testing.TB, s readstore.Store, writes ...readstore.Write) []readstore.Result {
	t.Helper()
	results, err := s.Apply(t.Context(), writes)
	if err != nil {
		t.Fatalf("applying: %v", err)
	}
	if len(results) != len(writes) {
		t.Fatalf("%d results of %d writes", len(results), len(writes))
	}
	return results
}

// mustApply makes writes that must all be applied.
func mustApply(t testing.TB, s readstore.Store, writes ...readstore.Write) {
	t.Helper()
	for i, r := range apply(t, s, writes...) {
		if !r.Applied || r.Err != nil {
			t.Fatalf("write %d was not applied: %+v", i, r)
		}
	}
}

// mustRefuse makes one write that must be refused because these are stored.
func mustRefuse(t testing.TB, s readstore.Store, w readstore.Write, stored readstore.Checkpoints) {
	t.Helper()
	r := apply(t, s, w)[0]
	if r.Applied || r.Err != nil {
		t.Fatalf("write was not just refused: %+v", r)
	}
	if !maps.Equal(r.Stored, stored) {
		t.Fatalf("refused write shows checkpoints %v, want %v", r.Stored, stored)
	}
}

func inspect(t testing.TB, s readstore.Store, b readstore.Bucket) readstore.Content {
	t.Helper()
	content, err := s.Inspect(t.Context(), b)
	if err != nil {
		t.Fatalf("inspecting: %v", err)
	}
	if len(content.Strange) > 0 {
		t.Fatalf("strange content: %q", content.Strange)
	}
	return content
}

// difference says how two contents differ, "" if they do not.
func difference(got, want readstore.Content) string {
	switch {
	case !maps.Equal(got.Documents, want.Documents):
		return fmt.Sprintf("documents %v, want %v", got.Documents, want.Documents)
	case !maps.Equal(got.Sums, want.Sums):
		return fmt.Sprintf("sums %v, want %v", got.Sums, want.Sums)
	case !maps.Equal(got.Entries, want.Entries):
		return fmt.Sprintf("entries %v, want %v", got.Entries, want.Entries)
	case !maps.EqualFunc(got.Ranked, want.Ranked, maps.Equal):
		return fmt.Sprintf("ranked %v, want %v", got.Ranked, want.Ranked)
	case !maps.Equal(got.Parked, want.Parked):
		return fmt.Sprintf("parked %v, want %v", got.Parked, want.Parked)
	case !maps.Equal(got.Checkpoints, want.Checkpoints):
		return fmt.Sprintf("checkpoints %v, want %v", got.Checkpoints, want.Checkpoints)
	}
	return ""
}

func mustHold(t testing.TB, s readstore.Store, b readstore.Bucket, want readstore.Content) {
	t.Helper()
	if d := difference(inspect(t, s, b), want); d != "" {
		t.Fatalf("%s holds %s", b, d)
	}
}

const highest = math.MaxInt64
