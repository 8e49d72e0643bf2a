package redisstore_test

import (
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

func TestNewRefuses(t *testing.T) {
	addresses := []string{"localhost:6379"}
	for name, config := range map[string]redisstore.Config{
		"no client":       {},
		"brace in prefix": {Client: redis.NewClient(&redis.Options{}), Prefix: "{a}"},
		"replicas":        {Client: redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses, ReadOnly: true})},
		"near replicas":   {Client: redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses, RouteByLatency: true})},
		"ring":            {Client: redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": addresses[0]}})},
	} {
		t.Run(name, func(t *testing.T) {
			if config.Client != nil {
				t.Cleanup(func() { _ = config.Client.Close() })
			}
			if _, err := redisstore.New(config); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestNewClient(t *testing.T) {
	for _, url := range []string{"redis://localhost:6379", "rediss://user:secret@redis.example:6380/2", "redis://a:7000?addr=b:7001", "unix:///run/redis.sock"} {
		client, err := redisstore.NewClient(redisstore.ClientConfig{URL: url})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		_ = client.Close()
	}
	for _, url := range []string{"localhost:6379", "http://u:secret@localhost", "redis://u:secret@local host", "redis://u:secret@a:7000?addr=b:7001&what=1", "redis://u:secret@a:x", ""} {
		_, err := redisstore.NewClient(redisstore.ClientConfig{URL: url})
		if err == nil {
			t.Errorf("%q: no error", url)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("error tells the password: %v", err)
		}
		if !strings.Contains(err.Error(), "type it like redis://") {
			t.Errorf("error gives no hint: %v", err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) { // knows neither ROLE nor CONFIG
		s, _ := openMini(t)
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		server := miniredis.RunT(t)
		s, _ := open(t, "redis://"+server.Addr(), "")
		server.Close()
		if err := s.Check(t.Context()); err == nil {
			t.Error("no error")
		}
	})
	t.Run("no answer to give", func(t *testing.T) {
		server := miniredis.RunT(t)
		server.RequireAuth("secret")
		s, _ := open(t, "redis://"+server.Addr(), "")
		if err := s.Check(t.Context()); err == nil {
			t.Error("no error without the password")
		}
	})
	for name, test := range map[string]struct {
		args []string
		hint string // "" for none: the server is good
	}{
		"no limit":        {nil, ""},
		"no eviction":     {[]string{"--maxmemory", "100mb", "--maxmemory-policy", "noeviction"}, ""},
		"eviction":        {[]string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, "redis-cli CONFIG SET maxmemory-policy noeviction"},
		"idle eviction":   {[]string{"--maxmemory-policy", "allkeys-lru"}, ""},
		"replica":         {[]string{"--replicaof", "127.0.0.1", "1"}, "--redis-url"},
		"CONFIG disabled": {[]string{"--rename-command", "CONFIG", ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t, "unix://"+startRedis(t, append([]string{"--port", "0"}, test.args...)...), "")
			err := s.Check(t.Context())
			if test.hint == "" && err != nil {
				t.Errorf("a good server is refused: %v", err)
			}
			if test.hint != "" && (err == nil || !strings.Contains(err.Error(), test.hint)) {
				t.Errorf("check returned %v, want a hint of %q", err, test.hint)
			}
		})
	}
}
