package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/prove/history"
)

// model is a read model of the proofs' App.
type model struct {
	name string
	// keyed says that it is keyed as its events are: a bucket has one partition's events.
	keyed bool
}

var models = []model{{name: "tally-sums", keyed: true}, {name: "group-totals"}}

// generation is what the runner reads of one.
type generation struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Builder string `json:"builder"`
	Buckets int    `json:"buckets"`
}

type catalog struct {
	active      string
	generations map[string]generation
}

// store reads what lies in Redis, by the keys that the product promises and with nothing of its code.
type store struct{ client redis.UniversalClient }

// quiet drops what the client library says on its own: Redis is away on purpose.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func openStore(url string) (*store, error) {
	redis.SetLogger(quiet{})
	if strings.Contains(url, "addr=") {
		options, err := redis.ParseClusterURL(url)
		if err != nil {
			return nil, fmt.Errorf("opening Redis: %w", err)
		}
		options.ContextTimeoutEnabled = true
		return &store{redis.NewClusterClient(options)}, nil
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("opening Redis: %w", err)
	}
	options.MaxRetries, options.ContextTimeoutEnabled = -1, true
	return &store{redis.NewClient(options)}, nil
}

func key(m model, last string) string { return "prove:{" + m.name + "}:" + last }

func bucketTag(m model, generation string) string {
	return "prove:{" + m.name + "." + generation + "."
}

func (s *store) catalog(ctx context.Context, m model) (catalog, error) {
	c := catalog{generations: map[string]generation{}}
	both := s.client.TxPipeline()
	active, list := both.Get(ctx, key(m, "active")), both.HGetAll(ctx, key(m, "generations"))
	if _, err := both.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return c, fmt.Errorf("reading the catalog of %s: %w", m.name, err)
	}
	c.active = active.Val()
	for id, text := range list.Val() {
		var g generation
		if err := json.Unmarshal([]byte(text), &g); err != nil {
			return c, fmt.Errorf("reading generation %s of %s: %w", id, m.name, err)
		}
		c.generations[id] = g
	}
	return c, nil
}

// checkpoints returns the offsets of a generation's checkpoints; a broken one is -1.
func (s *store) checkpoints(ctx context.Context, m model, g generation) (history.Offsets, error) {
	pipe := s.client.Pipeline()
	answers := make([]*redis.MapStringStringCmd, g.Buckets)
	for n := range answers {
		answers[n] = pipe.HGetAll(ctx, bucketTag(m, g.ID)+strconv.Itoa(n)+"}:checkpoints")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading checkpoints of %s: %w", m.name, err)
	}
	at := history.Offsets{}
	for n, answer := range answers {
		for source, text := range answer.Val() {
			offset := int64(-1)
			if words := strings.Fields(text); len(words) == 6 && !strings.HasPrefix(text, "broken:") {
				var err error
				if offset, err = strconv.ParseInt(words[3], 10, 64); err != nil {
					return nil, fmt.Errorf("reading checkpoint %q of %s: %w", text, m.name, err)
				}
			}
			at[fmt.Sprintf("%d %s", n, source)] = offset
		}
	}
	return at, nil
}

// each calls do with every checkpoint that a generation must have, by the partitions of the log.
func (m model) each(buckets int, ends map[int32]int64, do func(key string, end int64)) {
	for p, end := range ends {
		for n := range buckets {
			if !m.keyed || n == int(p) {
				do(fmt.Sprintf("%d tally/%d", n, p), end)
			}
		}
	}
}

// lacks is how many offsets the checkpoints lack, of each source the most that any bucket does.
func (m model) lacks(at history.Offsets, buckets int, ends map[int32]int64) (n int64) {
	most := map[string]int64{}
	m.each(buckets, ends, func(key string, end int64) {
		_, source, _ := strings.Cut(key, " ")
		most[source] = max(most[source], end-at[key])
	})
	for _, lacks := range most {
		n += lacks
	}
	return n
}

// share is how much of the log's offsets the checkpoints have, from 0 to 1.
func (m model) share(at history.Offsets, buckets int, ends map[int32]int64) float64 {
	var have, want int64
	m.each(buckets, ends, func(key string, end int64) {
		have, want = have+min(at[key], end), want+end
	})
	return float64(have) / float64(max(want, 1))
}

// dump hands take the keys of a model's catalog and every key of its active generation.
func (s *store) dump(ctx context.Context, m model, take func(history.Stored)) error {
	c, err := s.catalog(ctx, m)
	if err != nil {
		return err
	}
	keys := map[string]bool{key(m, "active"): true, key(m, "generations"): true, key(m, "catalog"): true}
	scan := func(ctx context.Context, client redis.Cmdable) error {
		found := client.Scan(ctx, 0, bucketTag(m, c.active)+"*", 1000).Iterator()
		for found.Next(ctx) {
			keys[found.Val()] = true
		}
		return found.Err()
	}
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		var mu sync.Mutex
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, client *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			return scan(ctx, client)
		})
	} else {
		err = scan(ctx, s.client)
	}
	if err != nil {
		return fmt.Errorf("listing the keys of %s: %w", m.name, err)
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		stored := history.Stored{Key: k, Scores: map[string]float64{}}
		if stored.Type, err = s.client.Type(ctx, k).Result(); err == nil {
			switch stored.Type {
			case "string":
				stored.Text, err = s.client.Get(ctx, k).Result()
			case "hash":
				stored.Fields, err = s.client.HGetAll(ctx, k).Result()
			case "zset":
				var members []redis.Z
				members, err = s.client.ZRangeWithScores(ctx, k, 0, -1).Result()
				for _, z := range members {
					stored.Scores[fmt.Sprint(z.Member)] = z.Score
				}
			}
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", k, err)
		}
		take(stored)
	}
	return nil
}
