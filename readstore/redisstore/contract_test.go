package redisstore_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore"
)

// dump reads every key as any Redis client can.
func dump(t *testing.T, client redis.UniversalClient) map[string]string {
	t.Helper()
	ctx := t.Context()
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, key := range keys {
		kind, err := client.Type(ctx, key).Result()
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case "hash":
			out[key] = fmt.Sprint("hash ", client.HGetAll(ctx, key).Val())
		case "zset":
			out[key] = fmt.Sprint("zset ", client.ZRangeWithScores(ctx, key, 0, -1).Val())
		default:
			out[key] = kind + " " + client.Get(ctx, key).Val()
		}
	}
	return out
}

func mustDump(t *testing.T, client redis.UniversalClient, want map[string]string) {
	t.Helper()
	got := dump(t, client)
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			t.Errorf("%s\n is  %s\nnot  %s", key, got[key], want[key])
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("more keys than promised: %v", got)
	}
}

// TestBucketContract holds what other people's programs read.
func TestBucketContract(t *testing.T) {
	s, client := openMini(t)
	mustApply(t, s, write(0), write(1))
	const tag = "ledgerline:{customer-orders.20261123-7f3a.11}:"
	mustDump(t, client, map[string]string{
		tag + "checkpoints": "hash map[order/3:20261123-7f3a 1 topic 2 -1 x]",
		tag + "docs":        `hash map[o-1:{"amount":1250}]`,
		tag + "sums":        "hash map[c-1/total:200]",
		tag + "entries":     "hash map[c-1/o-1:Paid]",
		tag + "parked":      `hash map[order/o-1:{"events":[]}]`,
		tag + "index":       "zset [{0 c-1/e/o-1} {0 c-1/s/total}]",
		tag + "rank:gbp":    "zset [{200 c-1}]",
	})
	if err := s.Drop(t.Context(), readstore.Generation{ID: bucket.Generation, Model: bucket.Model, Buckets: 16}); err != nil {
		t.Fatal(err)
	}
	mustDump(t, client, nil)
}

// TestCatalogContract holds what other people's programs read to find the active generation.
func TestCatalogContract(t *testing.T) {
	s, client := openMini(t)
	const tag = "ledgerline:{order-status}:"
	store := func(c readstore.Catalog) readstore.Catalog {
		t.Helper()
		if err := s.UpdateCatalog(t.Context(), "order-status", c); err != nil {
			t.Fatal(err)
		}
		got, err := s.Catalog(t.Context(), "order-status")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	c := store(readstore.Catalog{Active: "g1", Standby: "g0", Generations: map[string]readstore.Generation{
		"g1": {ID: "g1", Model: "order-status", State: readstore.Ready, CodeVersion: 2, Buckets: 12},
	}})
	mustDump(t, client, map[string]string{
		tag + "active": "string g1",
		tag + "generations": `hash map[g1:{"id":"g1","model":"order-status","state":"ready","code_version":2,"buckets":12,` +
			`"cluster_id":"","topic_ids":null,"created_at":"0001-01-01T00:00:00Z"}]`,
		tag + "catalog": "hash map[revision:" + c.Revision + " standby:g0]",
	})
	c = store(readstore.Catalog{Revision: c.Revision}) // without an active generation there is no pointer
	mustDump(t, client, map[string]string{tag + "catalog": "hash map[revision:" + c.Revision + " standby:]"})
}
