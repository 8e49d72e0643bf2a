package kafka

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

const orderSnapshots = "order-snapshots"

// snapshots is a Redis on the wire, with workers that keep their states there.
type snapshots struct {
	f     *fixture
	redis *miniredis.Miniredis
	store *redisstore.Store
}

func (f *fixture) snapshots() *snapshots {
	f.t.Helper()
	s := &snapshots{f: f, redis: miniredis.RunT(f.t)}
	client, err := redisstore.NewClient(redisstore.ClientConfig{URL: "redis://" + s.redis.Addr()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = client.Close() })
	if s.store, err = redisstore.New(redisstore.Config{Client: client}); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// saving is a worker that keeps its states in snapshots.
type saving struct {
	*running
	s   *snapshots
	reg *prometheus.Registry
}

// worker writes snapshots as soon as anything has changed, unless change says otherwise.
func (s *snapshots) worker(slot string, change ...func(*WorkerConfig)) *saving {
	s.f.t.Helper()
	w := &saving{s: s, reg: prometheus.NewRegistry()}
	w.running = s.f.worker(slot, append([]func(*WorkerConfig){func(c *WorkerConfig) {
		c.Snapshots, c.SnapshotInterval, c.Metrics = s.store, time.Millisecond, NewMetrics(w.reg)
	}}, change...)...)
	return w
}

func (w *saving) waitReady() *saving {
	w.t.Helper()
	w.running.waitReady()
	return w
}

func (w *saving) metric(name, labels string) float64 {
	w.t.Helper()
	return gathered(w.t, w.reg, name)[labels]
}

// saved waits until the snapshots have all that the worker has decided.
func (w *saving) saved() *saving {
	w.t.Helper()
	eventually(w.t, "all states are saved", func() bool {
		return w.metric("ledgerline_state_memory_bytes", kindChanged) == 0 && w.metric("ledgerline_snapshots_total", resultCommitted) > 0
	})
	return w
}

func (s *snapshots) generations() map[string]readstore.Generation {
	s.f.t.Helper()
	c, err := s.store.Catalog(s.f.t.Context(), orderSnapshots)
	if err != nil {
		s.f.t.Fatal(err)
	}
	return c.Generations
}

// dump returns the content of Redis, restore puts it back in the place of what there is.
func (s *snapshots) dump() (restore func()) {
	hashes, texts := map[string]map[string]string{}, map[string]string{}
	for _, key := range s.redis.Keys() {
		if s.redis.Type(key) == "string" {
			texts[key], _ = s.redis.Get(key)
			continue
		}
		hashes[key] = map[string]string{}
		fields, _ := s.redis.HKeys(key)
		for _, field := range fields {
			hashes[key][field] = s.redis.HGet(key, field)
		}
	}
	return func() {
		s.redis.FlushAll()
		for key, text := range texts {
			_ = s.redis.Set(key, text)
		}
		for key, fields := range hashes {
			for field, value := range fields {
				s.redis.HSet(key, field, value)
			}
		}
	}
}

// TestRestartReadsWhatFollowsTheSnapshot counts the events that are read back.
func TestRestartReadsWhatFollowsTheSnapshot(t *testing.T) {
	f := newFixture(t, 1)
	s := f.snapshots()
	w := s.worker("slot-0").waitReady()
	o := f.observe()
	sent := f.flow("o-", 20)
	f.send(sent[:40]...) // placed and paid
	o.outcomes(40)
	w.saved().stop()

	never := func(c *WorkerConfig) { c.SnapshotInterval = time.Hour }
	w = s.worker("slot-0", never).waitReady()
	if n := w.metric("ledgerline_recovered_events_total", ""); n != 0 {
		t.Errorf("%v events are read back, though the snapshot has all", n)
	}
	f.send(sent[40:50]...)
	o.outcomes(50)
	if n := w.metric("ledgerline_states_loaded_total", resultFound); n != 10 {
		t.Errorf("%v states are loaded, want 10", n)
	}
	w.stop()

	w = s.worker("slot-0").waitReady()
	if n := w.metric("ledgerline_recovered_events_total", ""); n != 10 {
		t.Errorf("%v events are read back, want the 10 after the snapshot", n)
	}
	f.send(sent[50:]...)
	if got := accepted(o.outcomes(60)); got != 60 {
		t.Errorf("%d of 60 accepted", got)
	}
	w.saved()
	o.check(sent, w.running)
	s.checkDocuments(60)
}

// checkDocuments holds the snapshots to what they must be: each document as its events say.
func (s *snapshots) checkDocuments(events int64) {
	s.f.t.Helper()
	log, err := NewLog(LogConfig{Client: s.f.client, Aggregates: []string{"order"}, Codec: s.f.codec})
	if err != nil {
		s.f.t.Fatal(err)
	}
	defer log.Close()
	g, ok := processing.CurrentSnapshots(readstore.Catalog{Generations: s.generations()}, s.f.orders.Snapshots())
	if !ok {
		s.f.t.Fatal("no snapshots")
	}
	v, err := processing.Verify(s.f.t.Context(), processing.RebuildConfig{Model: s.f.orders.Snapshots(), Store: s.store, Events: log}, g.ID)
	if err != nil || !v.OK() || v.Events < events || v.Keys == 0 {
		s.f.t.Errorf("verified: %+v, %v", v, err)
	}
}

// Redis is emptied, put back to what it was long ago, broken: nothing of that is seen in the log.
func TestSnapshotsAreLost(t *testing.T) {
	for name, loses := range map[string]struct {
		lose func(s *snapshots, restore func())
		says string
	}{
		"wiped":       {func(s *snapshots, _ func()) { s.redis.FlushAll() }, "is not where it was left"},
		"rolled back": {func(_ *snapshots, restore func()) { restore() }, "is not where it was left"},
		"broken": {func(s *snapshots, _ func()) {
			for _, key := range s.redis.Keys() {
				if strings.HasPrefix(key, "ledgerline:{"+orderSnapshots) && strings.HasSuffix(key, ":checkpoints") {
					for _, field := range []string{"order/0", "order/1", "order/2", "order/3"} {
						if at := s.redis.HGet(key, field); at != "" {
							s.redis.HSet(key, field, readstore.BrokenPrefix+at)
						}
					}
				}
			}
		}, "a snapshot is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			s := f.snapshots()
			// Next to nothing fits into memory, so that most is loaded again and again.
			w := s.worker("slot-0", func(c *WorkerConfig) { c.StateMemory = 2000 }).waitReady()
			first := f.flow("first-", 4)
			f.send(first...)
			f.observe().outcomes(len(first))
			w.saved()
			restore := s.dump()
			step := func() {
				loses.lose(s, restore)
				w.log.wait(t, loses.says)
			}
			during(t, f, 60, func() []*running { return []*running{w.saved().running} }, step, func() { loses.lose(s, restore) }, func() { loses.lose(s, restore) })
			s.checkDocuments(60)
			var retired int
			for _, g := range s.generations() {
				if g.State == readstore.Retired {
					retired++
				}
			}
			if (retired > 0) != (name == "broken") {
				t.Errorf("%d generations are retired: %v", retired, s.generations())
			}
		})
	}
}

// Redis is gone: what is at hand is decided, the rest waits and is decided afterwards.
func TestRedisGoesAndComes(t *testing.T) {
	f := newFixture(t, 1)
	s := f.snapshots()
	w := s.worker("slot-0").waitReady()
	o := f.observe()
	var sent []*kgo.Record
	send := func(body any, ids ...string) {
		t.Helper()
		for _, id := range ids {
			r := f.command(id, newID(t), body)
			f.send(r)
			sent = append(sent, r)
		}
	}
	warm, cold := orderIn(0, "warm-"), make([]string, testPartitions)
	for p := range cold {
		cold[p] = orderIn(int32(p), "cold-")
	}
	send(place, append(cold, warm)...)
	o.outcomes(len(sent))
	w.saved().stop()
	w = s.worker("slot-0").waitReady()
	send(pay, warm)
	o.outcomes(len(sent))
	w.saved()

	s.redis.Close()
	held := func(n float64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%v partitions are held", n), func() bool { return w.metric("ledgerline_partitions_held", "") == n })
	}
	send(pay, cold[1])
	held(1)
	if err := w.Trouble(); err != nil {
		t.Errorf("others go on, and the worker says %v", err)
	}
	send(ship, warm)
	got := o.outcomes(len(sent) - 1)
	if last := got[len(got)-1]; last.AggregateID != warm || last.Status != processing.Accepted {
		t.Errorf("decided without Redis: %s, %s", last.AggregateID, last.Status)
	}
	send(pay, cold[0], cold[2], cold[3])
	send(ship, cold[1])
	held(testPartitions)
	eventually(t, "the worker says that nothing goes on", func() bool {
		err := w.Trouble()
		return err != nil && strings.Contains(err.Error(), "all 4 partitions wait for snapshots")
	})
	if n := len(o.records["order.outcomes"]); n != len(sent)-5 {
		t.Errorf("%d outcomes, want %d", n, len(sent)-5)
	}
	if err := s.redis.Restart(); err != nil {
		t.Fatal(err)
	}
	send(ship, cold[0])
	if got := accepted(o.outcomes(len(sent))); got != len(sent) {
		t.Errorf("%d of %d accepted", got, len(sent))
	}
	held(0)
	if err := w.Trouble(); err != nil {
		t.Errorf("Redis is back, and the worker says %v", err)
	}
	w.saved()
	o.check(sent, w.running)
	s.checkDocuments(int64(len(sent)))
}

// A worker starts without Redis: with an empty log it decides, with another it waits.
func TestStartWithoutRedis(t *testing.T) {
	f := newFixture(t, 1)
	s := f.snapshots()
	s.redis.Close()
	w := s.worker("slot-0").waitReady()
	o := f.observe()
	sent := f.flow("o-", 16) // of all partitions
	f.send(sent[:16]...)
	o.outcomes(16)
	w.stop()
	w = s.worker("slot-0")
	f.send(sent[16:]...)
	eventually(t, "the worker says that it waits", func() bool {
		err := w.Trouble()
		return err != nil && strings.Contains(err.Error(), "wait for snapshots")
	})
	if err := s.redis.Restart(); err != nil {
		t.Fatal(err)
	}
	w.waitReady()
	if got := accepted(o.outcomes(len(sent))); got != len(sent) {
		t.Errorf("%d of %d accepted", got, len(sent))
	}
	eventually(t, "the worker is fine", func() bool { return w.Trouble() == nil })
	w.saved()
	o.check(sent, w.running)
}

// What no snapshot has may fill the memory, and no more: then nothing is decided until Redis is back.
func TestBackpressure(t *testing.T) {
	f := newFixture(t, 1)
	s := f.snapshots()
	s.redis.Close()
	const limit = 20_000
	w := s.worker("slot-0", func(c *WorkerConfig) { c.StateMemory, c.MaxBatch = limit, 5 }).waitReady()
	o := f.observe()
	sent := f.flow("o-", 150)
	f.send(sent...)
	eventually(t, "the worker says that its memory is full", func() bool {
		err := w.Trouble()
		return err != nil && strings.Contains(err.Error(), "fills --state-memory")
	})
	if held := w.metric("ledgerline_state_memory_bytes", kindChanged); held <= limit || held > limit+5*500 {
		t.Errorf("%v bytes are held of %d", held, limit)
	}
	if err := s.redis.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := accepted(o.outcomes(len(sent))); got != len(sent) {
		t.Errorf("%d of %d accepted", got, len(sent))
	}
	w.saved()
	if err := w.Trouble(); err != nil {
		t.Errorf("Redis is back, and the worker says %v", err)
	}
	o.check(sent, w.running)
	s.checkDocuments(int64(len(sent)))
}

// A log that does not fit into memory is recovered all the same.
func TestRecoveryInLittleMemory(t *testing.T) {
	f := newFixture(t, 1)
	o := f.observe()
	w := f.worker("slot-0").waitReady() // without snapshots
	sent := f.flow("o-", 40)
	f.send(sent[:80]...)
	o.outcomes(80)
	w.stop()
	s := f.snapshots()
	small := func(c *WorkerConfig) { c.StateMemory, c.SnapshotInterval = 1000, time.Hour }
	v := s.worker("slot-0", small).waitReady()
	if n := v.metric("ledgerline_recovered_events_total", ""); n != 80 {
		t.Errorf("%v events are read back, want 80", n)
	}
	if n := v.metric("ledgerline_snapshot_states_total", ""); n < 30 {
		t.Errorf("%v states are written while they are read back", n)
	}
	f.send(sent[80:]...)
	if got := accepted(o.outcomes(len(sent))); got != len(sent) {
		t.Errorf("%d of %d accepted", got, len(sent))
	}
	o.check(sent, v.running)
}

// Another version of the state has snapshots of its own, made from the log.
func TestStateVersion(t *testing.T) {
	f := newFixture(t, 1)
	s := f.snapshots()
	o := f.observe()
	sent := f.flow("o-", 8)
	with := func(version int) *saving {
		d := order.Decider
		d.StateVersion = version
		return s.worker("slot-0", func(c *WorkerConfig) { c.Aggregates = []*processing.Aggregate{d.Erase()} }).waitReady()
	}
	for i, version := range []int{1, 2, 1} {
		w := with(version)
		f.send(sent[8*i : 8*i+8]...)
		if got := accepted(o.outcomes(8*i + 8)); got != 8*i+8 {
			t.Errorf("version %d: %d of %d accepted", version, got, 8*i+8)
		}
		if n, want := w.metric("ledgerline_recovered_events_total", ""), []float64{0, 8, 8}[i]; n != want {
			t.Errorf("version %d: %v events are read back, want %v", version, n, want)
		}
		w.saved().stop()
	}
	versions := map[int]int{}
	for _, g := range s.generations() {
		versions[g.CodeVersion]++
	}
	if len(versions) != 2 || versions[1] != 1 || versions[2] != 1 {
		t.Errorf("generations by version: %v", versions)
	}
	s.checkDocuments(24)
}

// The commands of an aggregate whose events cannot be decoded fail also once a snapshot is past them.
func TestUnreadableAggregateInASnapshot(t *testing.T) {
	f := newFixture(t, 1)
	s := f.snapshots()
	bad, good := orderIn(1, "bad-"), orderIn(1, "good-")
	w := s.worker("slot-0").waitReady()
	o := f.observe()
	f.send(f.command(bad, newID(t), place), f.command(good, newID(t), place))
	o.outcomes(2)
	w.saved().stop()
	garbage := &kgo.Record{Topic: "order.events", Partition: 1, Key: []byte(bad), Value: []byte("what is this")}
	if err := f.manual.ProduceSync(t.Context(), garbage).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for i, read := range []float64{1, 0} {
		w = s.worker("slot-0").waitReady()
		if n := w.metric("ledgerline_recovered_events_total", ""); n != read {
			t.Errorf("start %d: %v events are read back, want %v", i, n, read)
		}
		if i == 0 {
			w.saved()
		}
		ask := f.command(bad, newID(t), pay)
		f.send(ask)
		if a := o.outcomeOf(idOf(t, ask), 0); a.Status != processing.Failed || a.Code != processing.CodeUnreadable || a.Version != 1 {
			t.Errorf("start %d: got %+v", i, a.Outcome)
		}
		w.stop()
	}
	s.worker("slot-0").waitReady()
	ask := f.command(good, newID(t), pay)
	f.send(ask)
	if a := o.outcomeOf(idOf(t, ask), 0); a.Status != processing.Accepted {
		t.Errorf("the other aggregate: %+v", a.Outcome)
	}
}

// Two workers share partitions that come and go, with snapshots between them.
func TestSnapshotsInRebalances(t *testing.T) {
	f := newFixture(t, 1)
	s := f.snapshots()
	small := func(c *WorkerConfig) { c.StateMemory = 3000 }
	first := s.worker("slot-0", small).waitReady()
	var second *saving
	during(t, f, 60, func() []*running { return []*running{first.running, second.running} },
		func() { second = s.worker("slot-1", small).waitReady() },
		func() { first.stop() },
		func() { first = s.worker("slot-0", small).waitReady() },
		func() {
			s.redis.SetError("LOADING Redis is loading the dataset in memory")
			// A partition is held, or, if the memory is full before one needs a state, none is polled.
			eventually(t, "a worker misses Redis", func() bool {
				return strings.Contains(first.log.String()+second.log.String(), "the store of snapshots does not answer")
			})
			s.redis.SetError("")
		},
	)
	s.checkDocuments(1)
}

// slowStore is a store that answers only when it is let.
type slowStore struct {
	SnapshotStore
	let chan struct{}
}

func (s slowStore) Load(ctx context.Context, b readstore.Bucket, ids []string) (map[string]string, readstore.Checkpoints, error) {
	if len(ids) > 0 {
		select {
		case <-s.let:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("loading: %w", ctx.Err())
		}
	}
	return s.SnapshotStore.Load(ctx, b, ids)
}

// A Redis that takes the connection and answers nothing holds up what needs it, and nothing else.
func TestRedisThatHangs(t *testing.T) {
	f := newFixture(t, 1)
	s := f.snapshots()
	w := s.worker("slot-0").waitReady()
	o := f.observe()
	cold, fresh := orderIn(0, "cold-"), orderIn(1, "new-")
	first := f.command(cold, newID(t), place)
	f.send(first)
	o.outcomes(1)
	w.saved().stop()
	let := make(chan struct{})
	w = s.worker("slot-0", func(c *WorkerConfig) { c.Snapshots = slowStore{s.store, let} }).waitReady()
	second, third := f.command(cold, newID(t), pay), f.command(fresh, newID(t), place)
	f.send(second)
	eventually(t, "the partition is held", func() bool { return w.metric("ledgerline_partitions_held", "") == 1 })
	f.send(third) // its partition has no snapshot: nothing is to be loaded
	if a := o.outcomeOf(idOf(t, third), 0); a.Status != processing.Accepted {
		t.Errorf("the other partition: %+v", a.Outcome)
	}
	close(let)
	if a := o.outcomeOf(idOf(t, second), 0); a.Status != processing.Accepted || a.Version != 2 {
		t.Errorf("the held one: %+v", a.Outcome)
	}
	o.check([]*kgo.Record{first, second, third}, w.running)
}
