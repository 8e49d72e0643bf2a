package main

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/e2e/native"
	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/prove/history"
)

// TestModesLoseWhatTheySay: what was written before prepare stays but for a wipe, what came after it goes where
// something is prepared.
func TestModesLoseWhatTheySay(t *testing.T) {
	if _, err := native.Find(); err != nil {
		t.Skip(err)
	}
	for name, want := range map[string][2]string{"flushall": {"", ""}, "kill-aof": {"1", "2"}, "kill-rdb": {"1", "1"}, "replica": {"1", "1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &run{cfg: config{dir: t.TempDir(), mode: name}, began: time.Now()}
			var err error
			if r.out, err = history.Create(r.cfg.dir, history.Run{}); err != nil {
				t.Fatal(err)
			}
			ports, release, err := stack.ReservePorts(redisPorts)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			r.redis, err = startRedis(t.Context(), r, ports)
			defer r.redis.close()
			if err == nil {
				r.store, err = openStore(r.redis.url())
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.store.client.Close()
			set := func(key, value string) {
				t.Helper()
				if err := r.store.client.Set(t.Context(), key, value, 0).Err(); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second time with what the first one left
				set("early", "1")
				set("late", "1")
				if r.redis.proxy != nil { // the replica is to have it
					if err := r.store.client.Do(t.Context(), "WAIT", 1, 10000).Err(); err != nil {
						t.Fatal(err)
					}
				}
				if err := r.prepare(t.Context()); err != nil {
					t.Fatal(err)
				}
				set("late", "2")
				if err := r.strike(t.Context(), r.chance("test"), 0, "redis"); err != nil {
					t.Fatal(err)
				}
				for i, key := range []string{"early", "late"} {
					got, err := r.store.client.Get(t.Context(), key).Result()
					if err != nil && !errors.Is(err, redis.Nil) {
						t.Fatal(err)
					}
					if got != want[i] {
						t.Errorf("%s is %q, want %q", key, got, want[i])
					}
				}
			}
		})
	}
}
