package redisstore_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

var (
	bucket = readstore.Bucket{Model: "customer-orders", Generation: "20261123-7f3a", Number: 11}
	source = readstore.Source{Aggregate: "order", Partition: 3}
)

// at returns a checkpoint at an offset from 1, the zero one at 0.
func at(offset int64) readstore.Checkpoint {
	if offset == 0 {
		return readstore.Checkpoint{}
	}
	return readstore.Checkpoint{Generation: bucket.Generation, CodeVersion: 1, TopicID: "topic", Offset: offset, Command: -1, Change: "x"}
}

// write advances the bucket by one and touches every part of it.
func write(from int64) readstore.Write {
	return readstore.Write{
		Bucket:   bucket,
		Advances: []readstore.Advance{{Source: source, From: at(from), To: at(from + 1)}},
		Ops: []readstore.Op{
			{Kind: readstore.SetDocument, ID: "o-1", Value: `{"amount":1250}`},
			{Kind: readstore.AddSum, ID: "c-1", Field: "total", Delta: 100, Rank: "gbp"},
			{Kind: readstore.SetEntry, ID: "c-1", Field: "o-1", Value: "Paid"},
			{Kind: readstore.SetParked, ID: "o-1", Field: "order", Value: `{"events":[]}`},
			{Kind: readstore.SetParked, ID: "o-2", Field: "order", Value: ""},
		},
	}
}

func mustApply(t *testing.T, s *redisstore.Store, writes ...readstore.Write) {
	t.Helper()
	results, err := s.Apply(t.Context(), writes)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if !r.Applied {
			t.Fatalf("write %d was not applied: %+v", i, r)
		}
	}
}

func key(part string) string {
	return redisstore.BucketKey(redisstore.DefaultPrefix, bucket, part)
}

func TestInspectSeesTampering(t *testing.T) {
	ctx := context.Background()
	for name, tamper := range map[string]struct {
		do      func(c redis.UniversalClient) error
		strange string // what Content.Strange must say, and nothing else
	}{
		"nothing":       {func(redis.UniversalClient) error { return nil }, ""},
		"unknown part":  {func(c redis.UniversalClient) error { return c.Set(ctx, key("docs2"), "x", 0).Err() }, "docs2: no such part"},
		"empty part":    {func(c redis.UniversalClient) error { return c.Set(ctx, key(""), "x", 0).Err() }, ": no such part"},
		"wrong type":    {func(c redis.UniversalClient) error { return retype(c, "entries") }, "entries: is a string, not a hash"},
		"wrong rank":    {func(c redis.UniversalClient) error { return retype(c, "rank:gbp") }, "rank:gbp: is a string, not a zset"},
		"lost index":    {func(c redis.UniversalClient) error { return c.ZRem(ctx, key("index"), "c-1/s/total").Err() }, "sum c-1/total: not in the index"},
		"lost entry":    {func(c redis.UniversalClient) error { return c.HDel(ctx, key("entries"), "c-1/o-1").Err() }, "index: c-1/e/o-1 has no sum or entry"},
		"odd index":     {func(c redis.UniversalClient) error { return zadd(c, "index", "what", 0) }, "index: what has no sum or entry"},
		"index score":   {func(c redis.UniversalClient) error { return zadd(c, "index", "c-1/s/total", 2) }, "c-1/s/total has score 2, not 0"},
		"half a point":  {func(c redis.UniversalClient) error { return zadd(c, "rank:gbp", "c-1", 1.5) }, "c-1 has score 1.5, not a whole number"},
		"infinite rank": {func(c redis.UniversalClient) error { return c.Do(ctx, "ZADD", key("rank:gbp"), "+inf", "c-1").Err() }, "has score inf, not a whole number"},
		"no number":     {func(c redis.UniversalClient) error { return c.HSet(ctx, key("sums"), "c-1/total", "many").Err() }, `"many" is not a whole number`},
	} {
		t.Run(name, func(t *testing.T) {
			s, client := openMini(t)
			mustApply(t, s, write(0))
			if err := tamper.do(client); err != nil {
				t.Fatal(err)
			}
			content, err := s.Inspect(t.Context(), bucket)
			if err != nil {
				t.Fatal(err)
			}
			if tamper.strange == "" {
				if len(content.Strange) != 0 {
					t.Fatalf("nothing was altered, strange is %q", content.Strange)
				}
				return
			}
			if !slices.ContainsFunc(content.Strange, func(s string) bool { return strings.Contains(s, tamper.strange) }) {
				t.Fatalf("strange is %q, want something with %q", content.Strange, tamper.strange)
			}
		})
	}
}

func retype(c redis.UniversalClient, part string) error {
	return c.Set(context.Background(), key(part), "x", 0).Err()
}

func zadd(c redis.UniversalClient, part, member string, score float64) error {
	return c.ZAdd(context.Background(), key(part), redis.Z{Member: member, Score: score}).Err()
}

// TestInspectSeesAlteredContent alters values as redis-cli would: they are well-formed, so that only a
// comparison with the log can tell, and Inspect must show them as they are.
func TestInspectSeesAlteredContent(t *testing.T) {
	s, client := openMini(t)
	mustApply(t, s, write(0))
	ctx := t.Context()
	for _, err := range []error{
		client.HSet(ctx, key("docs"), "o-1", `{"amount":1251}`, "o-2", `{}`).Err(),
		client.HIncrBy(ctx, key("sums"), "c-1/total", 1).Err(),
		client.HSet(ctx, key("entries"), "c-1/o-1", "Shipped").Err(),
		zadd(client, "rank:gbp", "c-1", 99),
		zadd(client, "rank:usd", "c-9", 5),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := s.Inspect(ctx, bucket)
	if err != nil {
		t.Fatal(err)
	}
	if c.Documents["o-1"] != `{"amount":1251}` || c.Documents["o-2"] != `{}` || c.Sums["c-1/total"] != 101 ||
		c.Entries["c-1/o-1"] != "Shipped" || c.Ranked["gbp"]["c-1"] != 99 || c.Ranked["usd"]["c-9"] != 5 {
		t.Errorf("inspect shows %+v", c)
	}
}

// TestUnknownCheckpoint: a checkpoint that nobody can read is an error to all, and written over by nobody.
func TestUnknownCheckpoint(t *testing.T) {
	s, client := openMini(t)
	mustApply(t, s, write(0))
	if err := client.HSet(t.Context(), key("checkpoints"), source.String(), "who knows").Err(); err != nil {
		t.Fatal(err)
	}
	results, err := s.Apply(t.Context(), []readstore.Write{write(1)})
	if err != nil || results[0].Applied || results[0].Err == nil {
		t.Errorf("writing returned %+v, %v", results, err)
	}
	if _, _, err := s.Load(t.Context(), bucket, nil); err == nil {
		t.Error("loading returned no error")
	}
	if _, err := s.Inspect(t.Context(), bucket); err == nil {
		t.Error("inspecting returned no error")
	}
}

func TestApplyLoadsTheScriptAgain(t *testing.T) {
	s, client := openMini(t)
	for round := range int64(3) {
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, write(3*round), write(3*round+1), write(3*round+2)) // each needs the one before it
		if _, _, err := s.Sums(t.Context(), bucket, "c-1"); err != nil {
			t.Fatal(err)
		}
	}
	sums, checkpoints, err := s.Sums(t.Context(), bucket, "c-1")
	if err != nil || sums["total"] != 900 || checkpoints[source] != at(9) {
		t.Fatalf("sums %v at %v, %v", sums, checkpoints, err)
	}
}

// countingConn counts what is sent.
type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	c.sent.Add(1)
	return c.Conn.Write(b)
}

func TestApplyIsOneRoundTrip(t *testing.T) {
	var sent atomic.Int64
	client := redis.NewClient(&redis.Options{
		Addr: miniredis.RunT(t).Addr(),
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return countingConn{conn, &sent}, err
		},
	})
	t.Cleanup(func() { _ = client.Close() })
	s, err := redisstore.New(redisstore.Config{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, write(0)) // connects, and teaches the server the script
	before := sent.Load()
	mustApply(t, s, write(1), write(2), write(3))
	if n := sent.Load() - before; n != 1 {
		t.Errorf("three writes were sent in %d parts", n)
	}
}

// TestLostAnswer: the server applied a write, its answer got lost, the client sent it again. It must
// not be applied twice, and the caller must be told where the bucket stands.
func TestLostAnswer(t *testing.T) {
	server := miniredis.RunT(t)
	var lose atomic.Bool
	var lost atomic.Int64
	client := redis.NewClient(&redis.Options{
		Addr: server.Addr(),
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return losingConn{conn, &lose, &lost}, err
		},
	})
	t.Cleanup(func() { _ = client.Close() })
	s, err := redisstore.New(redisstore.Config{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, write(0))
	lose.Store(true)
	results, err := s.Apply(t.Context(), []readstore.Write{write(1)})
	if lost.Load() != 1 {
		t.Fatalf("%d answers were lost", lost.Load())
	}
	if err != nil || results[0].Applied || results[0].Stored[source] != at(2) {
		t.Errorf("write returned %+v, %v", results, err)
	}
	sums, _, err := s.Sums(t.Context(), bucket, "c-1")
	if err != nil || sums["total"] != 200 {
		t.Errorf("sums are %v, %v", sums, err)
	}
}

// losingConn swallows one answer and breaks the connection.
type losingConn struct {
	net.Conn
	lose *atomic.Bool
	lost *atomic.Int64
}

func (c losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.lose.CompareAndSwap(true, false) {
		c.lost.Add(1)
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// TestDeadline asks a server that accepts and never answers.
func TestDeadline(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s, _ := open(t, "redis://"+listener.Addr().String(), "")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := s.Apply(ctx, []readstore.Write{write(0)}); err == nil {
		t.Error("a write that nobody answered returned no error")
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("a deadline of 50 ms was kept after %s", took)
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("the write ended before its deadline")
	}
}
