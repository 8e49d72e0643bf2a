package redisstore_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
	"github.com/ledgerline/ledgerline/readstore/storetest"
)

// openMini returns a store on an embedded Redis of its own, and a plain client beside it.
func openMini(t *testing.T) (*redisstore.Store, redis.UniversalClient) {
	t.Helper()
	return open(t, "redis://"+miniredis.RunT(t).Addr(), "")
}

// open returns a store with keys of its own on a Redis, and a plain client beside it.
func open(t *testing.T, url, prefix string) (*redisstore.Store, redis.UniversalClient) {
	t.Helper()
	client, err := redisstore.NewClient(redisstore.ClientConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	store, err := redisstore.New(redisstore.Config{Client: client, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return store, client
}

func TestConformanceOnMiniredis(t *testing.T) {
	clients := map[readstore.Store]redis.UniversalClient{}
	storetest.Run(t, func(t *testing.T) readstore.Store {
		store, client := openMini(t)
		clients[store] = client
		return store
	}, storetest.PoisonedBy(func(t *testing.T, s readstore.Store, b readstore.Bucket) {
		// HINCRBY of miniredis wraps around; a key of another type makes HSET fail after the mark.
		key := redisstore.BucketKey(redisstore.DefaultPrefix, b, redisstore.DocumentsPart)
		if err := clients[s].Set(t.Context(), key, "not a hash", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}))
}

func TestConformanceOnRedis(t *testing.T) {
	url := realRedis(t)
	storetest.Run(t, func(t *testing.T) readstore.Store {
		prefix := "ledgerline-test-" + rand.Text() + `[*]?\` // odd, to prove that scans take it as it is
		store, client := open(t, url, prefix)
		t.Cleanup(func() { removeKeys(t, client, strings.TrimSuffix(prefix, `[*]?\`)) })
		return store
	})
}

// TestConformanceOnCluster runs on a real server in cluster mode, which refuses a script whose keys lie
// in different slots.
func TestConformanceOnCluster(t *testing.T) {
	address := startCluster(t)
	storetest.Run(t, func(t *testing.T) readstore.Store {
		prefix := "ledgerline-test-" + rand.Text()
		store, client := open(t, "redis://"+address+"?addr="+address, prefix)
		if _, ok := client.(*redis.ClusterClient); !ok {
			t.Fatalf("the client is a %T", client)
		}
		return store
	})
}

// realRedis returns the URL of a Redis that may be used, or skips the test.
func realRedis(t *testing.T) string {
	t.Helper()
	if url := os.Getenv("LEDGERLINE_TEST_REDIS_URL"); url != "" {
		return url
	}
	return "unix://" + startRedis(t, "--port", "0")
}

// startRedis starts a server for the test or benchmark and returns its socket's path, or skips it.
func startRedis(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no real Redis: put redis-server on PATH, or set LEDGERLINE_TEST_REDIS_URL to one (its other keys are left alone)")
	}
	dir, err := os.MkdirTemp("", "redis") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	command := exec.Command(path, append([]string{"--save", "", "--appendonly", "no", "--dir", dir, "--unixsocket", socket}, args...)...)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "eady to accept connections at") {
				ready <- true
			}
		}
		close(ready)
	}()
	if !<-ready {
		t.Fatal("redis-server ended before it was ready")
	}
	return socket
}

// startCluster starts a cluster of one node and returns its address, or skips the test.
func startCluster(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	bus, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, busPort, _ := net.SplitHostPort(bus.Addr().String())
	_ = listener.Close()
	_ = bus.Close()
	socket := startRedis(t, "--bind", "127.0.0.1", "--port", port, "--cluster-enabled", "yes", "--cluster-port", busPort)
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer func() { _ = client.Close() }()
	if err := client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	for {
		info, err := client.ClusterInfo(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(info, "cluster_state:ok") {
			return "127.0.0.1:" + port
		}
	}
}

// removeKeys takes the keys of a test out of a Redis that is not ours.
func removeKeys(t *testing.T, client redis.UniversalClient, prefix string) {
	ctx := context.Background() // the test's has ended when it cleans up
	keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := client.Unlink(ctx, keys.Val()).Err(); err != nil {
			t.Errorf("removing the test's keys: %v", err)
		}
	}
	if err := keys.Err(); err != nil {
		t.Errorf("removing the test's keys: %v", err)
	}
}

func TestBucketKey(t *testing.T) {
	b := readstore.Bucket{Model: "order-status", Generation: "20261123-7f3a", Number: 11}
	want := "ledgerline:{order-status.20261123-7f3a.11}:docs"
	if got := redisstore.BucketKey(redisstore.DefaultPrefix, b, redisstore.DocumentsPart); got != want {
		t.Errorf("key is %s, want %s", got, want)
	}
	if got := redisstore.BucketKey("p", b, redisstore.RankPart+"gbp"); !strings.HasSuffix(got, "}:rank:gbp") {
		t.Errorf("key of a ranked list is %s", got)
	}
}

func ExampleBucketKey() {
	b := readstore.Bucket{Model: "customer-orders", Generation: "20261123-7f3a", Number: readstore.BucketOf("c-1", 16)}
	fmt.Println("redis-cli HGETALL", redisstore.BucketKey(redisstore.DefaultPrefix, b, redisstore.SumsPart))
	// Output: redis-cli HGETALL ledgerline:{customer-orders.20261123-7f3a.8}:sums
}
