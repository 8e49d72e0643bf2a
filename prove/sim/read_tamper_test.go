package sim

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/prove/history"
)

// tampering is a way to change what a key of a bucket holds: a field of a part, or one beside it.
type tampering struct {
	part string
	do   func(w *readWorld, key string, held history.Stored, field string)
}

var tamperings = map[string]tampering{
	"document changed": {"docs", func(w *readWorld, key string, held history.Stored, field string) {
		w.redis.server().HSet(key, field, strings.Replace(held.Fields[field], `"sum":`, `"sum":1`, 1))
	}},
	"document removed": {"docs", func(w *readWorld, key string, _ history.Stored, field string) { w.redis.server().HDel(key, field) }},
	"document added": {"docs", func(w *readWorld, key string, held history.Stored, field string) {
		w.redis.server().HSet(key, field+"x", held.Fields[field])
	}},
	"sum changed": {"sums", func(w *readWorld, key string, held history.Stored, field string) {
		n, _ := strconv.ParseInt(held.Fields[field], 10, 64)
		w.redis.server().HSet(key, field, strconv.FormatInt(n+1, 10))
	}},
	"sum removed": {"sums", func(w *readWorld, key string, _ history.Stored, field string) { w.redis.server().HDel(key, field) }},
	"entry changed": {"entries", func(w *readWorld, key string, held history.Stored, field string) {
		w.redis.server().HSet(key, field, strings.Replace(held.Fields[field], `"version":`, `"version":1`, 1))
	}},
	"entry removed": {"entries", func(w *readWorld, key string, _ history.Stored, field string) { w.redis.server().HDel(key, field) }},
	"rank changed": {"rank:total:all", func(w *readWorld, key string, held history.Stored, field string) {
		_, _ = w.redis.server().ZAdd(key, held.Scores[field]+1, field)
	}},
	"rank removed": {"rank:total:all", func(w *readWorld, key string, _ history.Stored, field string) {
		_, _ = w.redis.server().ZRem(key, field)
	}},
	"index removed": {"index", func(w *readWorld, key string, _ history.Stored, field string) {
		_, _ = w.redis.server().ZRem(key, field)
	}},
	"index added": {"index", func(w *readWorld, key string, _ history.Stored, field string) {
		_, _ = w.redis.server().ZAdd(key, 0, field+"x")
	}},
}

// tamper changes a few things in Redis, one after the other, each on what Redis held, and writes down what
// verify says of it. Nothing else runs.
func (w *readWorld) tamper(held image) {
	kinds := slices.Sorted(maps.Keys(tamperings))
	for range 4 {
		what := kinds[w.intN(len(kinds))]
		model := groupTotals
		if tamperings[what].part == "docs" {
			model = tallySums
		}
		all, active := held.generations(model)
		var keys []string
		for n := range all[active].Buckets {
			if key := bucketKey(model, active, n, tamperings[what].part); held[key].Type != "" {
				keys = append(keys, key)
			}
		}
		if len(keys) == 0 {
			continue // the checker has something to say already
		}
		key := keys[w.intN(len(keys))]
		fields := slices.Sorted(maps.Keys(held[key].Fields))
		if held[key].Type == "zset" {
			fields = slices.Sorted(maps.Keys(held[key].Scores))
		}
		field := fields[w.intN(len(fields))]
		tamperings[what].do(w, key, held[key], field)
		t := history.Tamper{Model: model, Generation: active, What: what, Key: key, Field: field}
		t.Said = w.said(model, active)
		w.hist.Tamper(t)
		w.redis.replace(held)
	}
}

// said is what verify says.
func (w *readWorld) said(model, generation string) (said []string) {
	job := w.verifier(model)
	defer job.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found, err := processing.Verify(ctx, job.job(model), generation)
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	for _, d := range found.Differences {
		said = append(said, d.String())
	}
	return said
}
