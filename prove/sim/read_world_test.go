package sim

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/prove/projection/groups"
	"github.com/ledgerline/ledgerline/prove/projection/tallies"
)

const (
	readPartitions = 4
	groupBuckets   = 4
	tallySums      = "tally-sums"
	groupTotals    = "group-totals"
)

var models = []string{tallySums, groupTotals}

// readWorld is one run of the read side: brokers, Redis, a writer of events, processors, rebuild jobs and
// readers.
type readWorld struct {
	*lab
	redis  *redisServer
	writer *writer

	// What follows is guarded by the lab's mu.
	processors []*reading
	started    int
}

// modelsOf returns the read models of a code version.
func modelsOf(code int) []*processing.ReadModel {
	totals := groups.ReadModel(code)
	totals.Buckets = groupBuckets
	return []*processing.ReadModel{tallies.ReadModel(code).Erase(), totals.Erase()}
}

// groupOf is the consumer group of a code version's processors.
func groupOf(code int) string { return fmt.Sprintf("prove.processor-%d", code) }

// runRead is one run, from the first broker to what verify says of a store that was tampered with.
func runRead(t *testing.T, seed uint64, hist *history.Writer, logFile string) {
	l, f := newLab(t, seed, hist, logFile)
	defer func() { _ = f.Close() }()
	w := &readWorld{lab: l, redis: newRedisServer()}
	w.startBrokers(readPartitions, nil)
	w.makeTopic()
	w.writer = newWriter(w)
	w.live()
	end := hist.Close
	if err := w.finish(); err != nil {
		t.Error(err)
		end = hist.Abandon
	}
	w.goes.Wait()
	w.redis.setAway(true)
	w.redis.server().Close()
	w.cluster.Close()
	if err := end(); err != nil {
		t.Error(err)
	}
}

// makeTopic makes the events topic as provisioning does.
func (w *readWorld) makeTopic() {
	adm := kadm.NewClient(w.plain())
	defer adm.Close()
	for _, t := range (kafka.Topics{}).Of("tally", readPartitions) {
		if t.Name != eventsTopic {
			continue
		}
		insync := "2"
		configs := map[string]*string{"min.insync.replicas": &insync}
		for name, value := range t.Configs {
			configs[name] = &value
		}
		if _, err := adm.CreateTopic(context.Background(), readPartitions, brokers, configs, t.Name); err != nil {
			w.t.Fatal(err)
		}
	}
}

// live is the run's life: events are written, and everything is done to those who read them.
func (w *readWorld) live() {
	w.writer.burst(60 + w.intN(120))
	for range 1 + w.intN(2) {
		w.launch(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	parts := []func(context.Context){w.writer.run, w.inflict, w.rebuilds, w.images}
	for i := range 3 {
		parts = append(parts, w.newReader(i).run)
	}
	done := make(chan struct{}, len(parts))
	for _, part := range parts {
		go func() {
			defer func() { done <- struct{}{} }()
			part(ctx)
		}()
	}
	for range parts {
		<-done
	}
}

// images has Redis remember what it holds, for rewinds.
func (w *readWorld) images(ctx context.Context) {
	for pauseCtx(ctx, w.between(500*time.Millisecond, 5*time.Second)) {
		w.redis.remember()
	}
}

// finish ends all faults, waits until the read models hold all that was written, and writes down what there
// is. What they do not hold then, the checker will find.
func (w *readWorld) finish() error {
	w.redis.heal()
	w.mu.Lock()
	processors := w.processors
	w.mu.Unlock()
	for _, p := range processors {
		p.restore()
	}
	w.launchBoth()
	if err := w.writer.close(); err != nil {
		return err
	}
	w.awaitWhole()
	for _, m := range models {
		w.verifyActive(m)
	}
	w.stopAll()
	if err := w.dump([]string{eventsTopic}); err != nil {
		return err
	}
	held, err := w.redis.image()
	if err != nil {
		return err
	}
	for _, stored := range held.sorted() {
		w.hist.Stored(stored)
	}
	w.tamper(held)
	return nil
}

// awaitWhole waits until the active generations hold the log, as long as can be expected.
func (w *readWorld) awaitWhole() {
	adm := kadm.NewClient(w.plain())
	defer adm.Close()
	var lacks error
	odd := 0
	for i := range 600 {
		pause(500 * time.Millisecond)
		if lacks = w.lacks(adm); lacks == nil {
			return
		}
		if w.isOdd(adm) {
			odd++
		}
		// A group may get stuck as no Kafka's does, see isOdd. Nothing else is helped.
		if i%100 == 99 {
			if odd > 50 {
				w.fault("embedded-group-stuck", "all")
				w.stopAll()
				pause(25 * time.Second)
				w.launchBoth()
			}
			odd = 0
		}
	}
	w.log.Error("the read models do not hold the log", "err", lacks)
}

// isOdd reports whether a group is in a rebalance, or has a member that no process is. Neither lasts on Kafka:
// the embedded broker never ends the session of a member whose connection goes while its JoinGroup is
// answered. Such a member holds up rebalances, or keeps the partitions that it is given.
func (w *readWorld) isOdd(adm *kadm.Client) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	groups, err := adm.DescribeGroups(ctx, groupOf(1), groupOf(2))
	if err != nil {
		return false
	}
	processes := map[string]int{}
	for _, p := range w.running() {
		processes[groupOf(p.code)]++
	}
	for name, g := range groups {
		if g.State == "PreparingRebalance" || g.State == "CompletingRebalance" || len(g.Members) > processes[name] {
			return true
		}
	}
	return false
}

// launchBoth starts a processor of each code version.
func (w *readWorld) launchBoth() {
	for code := 1; code <= 2; code++ {
		w.launch(code)
	}
}

// stopAll ends all processors in good order.
func (w *readWorld) stopAll() {
	w.mu.Lock()
	processors := w.processors
	w.mu.Unlock()
	for _, p := range processors {
		p.cancel()
	}
	for _, p := range processors {
		<-p.done
	}
}

func (w *readWorld) lacks(adm *kadm.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ends, err := endsOf(ctx, adm)
	if err != nil {
		return err
	}
	for _, m := range models {
		all, active := w.catalog(m)
		g := all[active]
		if g.State != "ready" {
			return fmt.Errorf("generation %q of %s is %q", active, m, g.State)
		}
		at := w.reached(m, g)
		for _, key := range checkpointKeys(m, g) {
			if end := endOf(ends, key); at[key] < end {
				return fmt.Errorf("%s of generation %s of %s is at %d of %d", key, active, m, at[key], end)
			}
		}
	}
	return nil
}

// checkpointKeys names the checkpoints that a generation must have.
func checkpointKeys(model string, g generation) []string {
	var keys []string
	for n := range g.Buckets {
		for p := range readPartitions {
			if model == groupTotals || n == p {
				keys = append(keys, fmt.Sprintf("%d tally/%d", n, p))
			}
		}
	}
	return keys
}
