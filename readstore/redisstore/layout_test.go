package redisstore_test

// What docs/adr/0004-redis-layout.md says of the layout is measured here, against a real Redis:
//
//	go test ./readstore/redisstore -run '^$' -bench Layout -benchtime 3s -count 5
//
// Each benchmark runs the layout in use and another in turns, and reports the medians and their ratio,
// "other/in-use": above 1, the layout in use is the better one.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

const (
	layoutBatch     = 500    // documents to one write
	layoutDocuments = 20_000 // among which a write changes some, in one bucket
	layoutDropped   = 100_000
)

// BenchmarkLayoutDocuments compares the fields of one hash with a key per document.
func BenchmarkLayoutDocuments(b *testing.B) {
	client := layoutRedis(b)
	inUse, other := newBench(b, client, 1), newBench(b, client, 2,
		`call('HSET', KEYS[2], ARGV, at + 1, at + documents)`, `for i = 1, documents / 2 do redis.call('SET', KEYS[5 + i], ARGV[at + 2 * i]) end`,
		`for list = 6, #KEYS do`, `for list = 6, 5 do`)
	hashed := func(ids []int) time.Duration { return inUse.write(nil, documentsOf(ids)...) }
	keyed := func(ids []int) time.Duration {
		keys := make([]string, len(ids))
		for i, id := range ids {
			keys[i] = redisstore.BucketKey(redisstore.DefaultPrefix, other.bucket, redisstore.DocumentsPart) + ":" + idOf(id)
		}
		return other.write(keys, documentsOf(ids)...)
	}
	var bytes [2]float64
	for i, write := range []func([]int) time.Duration{hashed, keyed} {
		before := usedMemory(b, client)
		everyDocument(func(ids []int) { write(ids) })
		bytes[i] = usedMemory(b, client) - before
	}
	compare(b, hashed, keyed)
	b.ReportMetric(bytes[1]/bytes[0], "bytes-other/in-use")
}

// What apply.lua could do instead of one HINCRBY per sum, with one HMGET and one HSET for all of them:
// keep a document's sums in one JSON, or add to the fields themselves. Both calculate in doubles.
var otherSums = map[string]string{
	"JSON": `
  local ids, changes = {}, {}
  for _ = 1, tonumber(argument()) do
    local id, field, delta, list = argument(), argument(), argument(), argument()
    if not changes[id] then ids[#ids + 1], changes[id] = id, {} end
    changes[id][field] = (changes[id][field] or 0) + delta
  end
  local found, out = redis.call('HMGET', KEYS[3], unpack(ids)), {}
  for i, id in ipairs(ids) do
    local sums = found[i] and cjson.decode(found[i]) or {}
    for field, delta in pairs(changes[id]) do sums[field] = (sums[field] or 0) + delta end
    out[2 * i - 1], out[2 * i] = id, cjson.encode(sums)
  end
  call('HSET', KEYS[3], out, 1, #out)
`,
	"fields": `
  local names, deltas = {}, {}
  for n = 1, tonumber(argument()) do
    local id, field, delta, list = argument(), argument(), argument(), argument()
    names[n], deltas[n] = id .. '/' .. field, delta
  end
  local found, out = redis.call('HMGET', KEYS[3], unpack(names)), {}
  for n, name in ipairs(names) do
    out[2 * n - 1], out[2 * n] = name, string.format('%.0f', (found[n] or 0) + deltas[n])
  end
  call('HSET', KEYS[3], out, 1, #out)
`,
}

// BenchmarkLayoutSums compares HINCRBY per sum, three of a document as customer-orders has.
func BenchmarkLayoutSums(b *testing.B) {
	_, rest, ok := strings.Cut(applySource(b), "local index, ranks = {}, {}")
	sums, _, ok2 := strings.Cut(rest, "local entries, members")
	if !ok || !ok2 {
		b.Fatal("apply.lua is no longer what this benchmark replaces parts of")
	}
	added := func(l *bench) func([]int) time.Duration {
		return func(ids []int) time.Duration {
			args := []any{0, 3 * len(ids)}
			for _, id := range ids {
				for _, field := range []string{"GBP/orders", "GBP/total_spent", "placed"} {
					args = append(args, idOf(id), field, 1+id%1000, 0)
				}
			}
			return l.write(nil, append(args, 0)...)
		}
	}
	for name, script := range otherSums {
		b.Run(name, func(b *testing.B) {
			client := layoutRedis(b)
			inUse, other := added(newBench(b, client, 1)), added(newBench(b, client, 2, sums, script))
			everyDocument(func(ids []int) { inUse(ids); other(ids) }) // a sum that is new costs a place in the index as well
			compare(b, inUse, other)
		})
	}
}

// BenchmarkLayoutDrop compares the unlinking of a generation of 16 buckets with that of a key per document.
func BenchmarkLayoutDrop(b *testing.B) {
	client, ctx := layoutRedis(b), b.Context()
	store, err := redisstore.New(redisstore.Config{Client: client})
	if err != nil {
		b.Fatal(err)
	}
	g := readstore.Generation{ID: "g", Model: "m", Buckets: 16}
	fill := func(put func(pipe redis.Pipeliner, key string, id int)) {
		if err := client.FlushAll(ctx).Err(); err != nil {
			b.Fatal(err)
		}
		for first := 0; first < layoutDropped; first += 1000 {
			_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
				for id := first; id < first+1000; id++ {
					bucket := readstore.Bucket{Model: g.Model, Generation: g.ID, Number: id % g.Buckets}
					put(pipe, redisstore.BucketKey(redisstore.DefaultPrefix, bucket, redisstore.DocumentsPart), id)
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	timed := func(drop func() error) time.Duration {
		began := time.Now()
		err, took := drop(), time.Since(began)
		if left := client.DBSize(ctx).Val(); err != nil || left > 0 {
			b.Fatalf("%d keys are left, %v", left, err)
		}
		return took
	}
	compare(b, func([]int) time.Duration {
		fill(func(pipe redis.Pipeliner, key string, id int) { pipe.HSet(ctx, key, idOf(id), textOf(id)) })
		return timed(func() error { return store.Drop(ctx, g) })
	}, func([]int) time.Duration {
		fill(func(pipe redis.Pipeliner, key string, id int) { pipe.Set(ctx, key+":"+idOf(id), textOf(id), 0) })
		return timed(func() error { return scanAndUnlink(ctx, client, redisstore.DefaultPrefix+":{m.g.*") })
	})
}

// scanAndUnlink unlinks many keys by one command, which a cluster takes within one bucket only.
func scanAndUnlink(ctx context.Context, client redis.UniversalClient, pattern string) error {
	for cursor := uint64(0); ; {
		keys, next, err := client.Scan(ctx, cursor, pattern, 1000).Result()
		if err == nil && len(keys) > 0 {
			err = client.Unlink(ctx, keys...).Err()
		}
		if err != nil || next == 0 {
			return err
		}
		cursor = next
	}
}

// BenchmarkLayoutCheckpoint compares a write with one that neither compares, marks nor stores checkpoints.
func BenchmarkLayoutCheckpoint(b *testing.B) {
	for _, n := range []int{1, layoutBatch} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			client := layoutRedis(b)
			inUse, other := newBench(b, client, 1), newBench(b, client, 2,
				`local flat = redis.call('HGETALL', KEYS[1])`, `local flat = {}`,
				`if not expected then return {0, flat} end`, ``,
				`call('HSET', KEYS[1], marks, 1, #marks)`, ``,
				`call('HSET', KEYS[1], checkpoints, 1, #checkpoints)`, ``)
			compare(b, func(ids []int) time.Duration { return inUse.write(nil, documentsOf(ids[:n])...) },
				func(ids []int) time.Duration { return other.write(nil, documentsOf(ids[:n])...) })
		})
	}
}

// bench is a layout: a bucket, and the script that writes it.
type bench struct {
	b          *testing.B
	client     redis.UniversalClient
	script     *redis.Script
	bucket     readstore.Bucket
	checkpoint readstore.Checkpoint
}

// newBench makes a layout of apply.lua with pieces of it replaced: old, new, old, new.
func newBench(b *testing.B, client redis.UniversalClient, number int, pieces ...string) *bench {
	b.Helper()
	source := applySource(b)
	for i := 0; i < len(pieces); i += 2 {
		if strings.Count(source, pieces[i]) != 1 {
			b.Fatalf("apply.lua does not have once: %s", pieces[i])
		}
		source = strings.Replace(source, pieces[i], pieces[i+1], 1)
	}
	l := &bench{b: b, client: client, script: redis.NewScript(source), bucket: readstore.Bucket{Model: "m", Generation: "20261123-160414-a0c19d29", Number: number}}
	if err := l.script.Load(b.Context(), client).Err(); err != nil {
		b.Fatal(err)
	}
	return l
}

func applySource(b *testing.B) string {
	b.Helper()
	source, err := os.ReadFile("lua/apply.lua")
	if err != nil {
		b.Fatal(err)
	}
	return string(source)
}

// write runs the script once, and returns how long that took.
func (l *bench) write(moreKeys []string, operations ...any) time.Duration {
	l.b.Helper()
	from, to := "", readstore.Checkpoint{Generation: l.bucket.Generation, CodeVersion: 1, TopicID: "9rN5nSH41AikFcwF4BqXcw", Offset: l.checkpoint.Offset + layoutBatch, Command: l.checkpoint.Offset, Change: "c0ffee12"}
	if l.checkpoint.Offset > 0 {
		from = l.checkpoint.String()
	}
	var keys []string
	for _, part := range []string{"checkpoints", "docs", "sums", "entries", "index"} {
		keys = append(keys, redisstore.BucketKey(redisstore.DefaultPrefix, l.bucket, part))
	}
	keys, args := append(keys, moreKeys...), append([]any{1, "order/3", from, to.String()}, operations...)
	began := time.Now()
	answer, err := l.script.EvalSha(l.b.Context(), l.client, keys, args...).Slice()
	took := time.Since(began)
	if err != nil || len(answer) != 1 || answer[0] != int64(1) {
		l.b.Fatalf("the script answered %v, %v", answer, err)
	}
	l.checkpoint = to
	return took
}

// compare runs both in turns, each time on the same documents, and reports the medians and their ratio.
func compare(b *testing.B, inUse, other func(ids []int) time.Duration) {
	var took [2][]time.Duration
	for turn := 0; b.Loop(); turn++ {
		ids := rand.Perm(layoutDocuments)[:layoutBatch]
		for i := range 2 {
			which := (turn + i) % 2 // the second finds its caches warm
			took[which] = append(took[which], []func([]int) time.Duration{inUse, other}[which](ids))
		}
	}
	median := func(i int) float64 { slices.Sort(took[i]); return took[i][len(took[i])/2].Seconds() }
	b.ReportMetric(0, "ns/op") // of both together: it says nothing
	b.ReportMetric(median(0)*1e6, "µs-in-use")
	b.ReportMetric(median(1)*1e6, "µs-other")
	b.ReportMetric(median(1)/median(0), "other/in-use")
}

func layoutRedis(b *testing.B) redis.UniversalClient {
	b.Helper()
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: startRedis(b, "--port", "0")})
	b.Cleanup(func() { _ = client.Close() })
	return client
}

func usedMemory(b *testing.B, client redis.UniversalClient) float64 {
	b.Helper()
	n, err := strconv.ParseFloat(client.InfoMap(b.Context(), "memory").Item("Memory", "used_memory"), 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// everyDocument calls write with all documents, in batches.
func everyDocument(write func(ids []int)) {
	for ids := range slices.Chunk(rand.Perm(layoutDocuments), layoutBatch) {
		write(ids)
	}
}

func idOf(id int) string { return "o-" + strconv.Itoa(500_000+id) }

func textOf(id int) string {
	return fmt.Sprintf(`{"version":1,"order_id":"%s","customer_id":"c-%d","amount":{"minor_units":%d,"currency":"GBP"},"status":"placed","placed_at":"2026-11-23T16:04:14.339Z"}`, idOf(id), id%1000, id)
}

// documentsOf returns the operations that set documents.
func documentsOf(ids []int) []any {
	args := []any{len(ids)}
	for _, id := range ids {
		args = append(args, idOf(id), textOf(id))
	}
	return append(args, 0, 0)
}
