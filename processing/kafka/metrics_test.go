package kafka

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ledgerline/ledgerline/readstore"
)

// gathered returns the values of a metric by the values of its labels.
func gathered(t *testing.T, reg *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetValue())
				}
				found[strings.Join(labels, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return found
}

// eventually waits until cond is true.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// What an open transaction hides is told while it is open, although no fetch shows it.
func TestWatchSeesAnOpenTransaction(t *testing.T) {
	f := newFixture(t, 1)
	reg := prometheus.NewRegistry()
	w, err := NewWatch(WatchConfig{Client: f.client, Names: []string{"order.commands", "order.events"}, Metrics: NewMetrics(reg)})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	look := func() map[readstore.Source]int64 {
		t.Helper()
		ends, err := w.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ends
	}
	open := f.kgo(kgo.TransactionalID("open"), kgo.TransactionTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := open.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := open.ProduceSync(t.Context(), &kgo.Record{Topic: "order.events", Partition: 1, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if got := look()[readstore.Source{Aggregate: "order", Partition: 1}]; got != 3 {
		t.Errorf("the log ends at %d, want 3", got)
	}
	const metric = "ledgerline_last_stable_offset_lag_records"
	if got := gathered(t, reg, metric); got["1 order.events"] != 3 || got["0 order.events"] != 0 || len(got) != 2*testPartitions {
		t.Errorf("while it is open: %v", got)
	}
	if err := open.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	look()
	if got := gathered(t, reg, metric); got["1 order.events"] != 0 {
		t.Errorf("once it has ended: %v", got)
	}
}

// Each end of a transaction is counted as what it is.
func TestTransactionsByResult(t *testing.T) {
	rows := []struct {
		result string
		strike func(*fixture) (hits func() int)
	}{
		{resultAborted, func(f *fixture) func() int {
			return f.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "order.events", Err: kerr.InvalidRecord}).Hits
		}},
		{resultUnknown, func(f *fixture) func() int {
			f.losing.denyEnd()
			return func() int { return int(f.losing.lost.Load()) }
		}},
		{resultFenced, func(f *fixture) func() int {
			fence(t, f, faultSlot)
			return func() int { return 1 }
		}},
	}
	for _, row := range rows {
		t.Run(row.result, func(t *testing.T) {
			f := newFixture(t, 1)
			reg := prometheus.NewRegistry()
			w := f.worker(faultSlot, func(c *WorkerConfig) { c.Metrics = NewMetrics(reg) }).waitReady()
			o := f.observe()
			warm := f.flow("warm-", 4)
			f.send(warm...)
			o.outcomes(len(warm))
			hits := row.strike(f)
			f.send(f.flow("o-", 2)...)
			if row.result == resultFenced {
				w.waitFenced(faultSlot)
			} else {
				o.until("all decisions", func() bool { return accepted(f.answers(o.records["order.outcomes"])) >= 6 })
				eventually(t, "the end is counted", func() bool { // a moment after others see it
					return gathered(t, reg, "ledgerline_transactions_total")[row.result] > 0 &&
						(row.result != resultAborted || gathered(t, reg, "ledgerline_worker_sessions_ended_total")[""] == 1)
				})
				w.stop()
			}
			if hits() == 0 {
				t.Error("the fault did not strike")
			}
			got := gathered(t, reg, "ledgerline_transactions_total")
			for _, result := range []string{resultAborted, resultUnknown, resultFenced} {
				if want := map[bool]float64{true: 1}[result == row.result]; got[result] != want {
					t.Errorf("%s is %v, want %v; there are %v", result, got[result], want, got)
				}
			}
			if got[resultCommitted] == 0 {
				t.Error("no transaction is counted as committed")
			}
		})
	}
}

// A lag in seconds grows while nothing is decided, also over sessions, and is 0 when all is.
func TestCommandsLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		p := NewMetrics(reg).progress
		tp := topicPartition{"order.commands", 2}
		first, second := new(int), new(int)
		expect := func(when string, owned, records, seconds float64) {
			t.Helper()
			got := [3]map[string]float64{gathered(t, reg, "ledgerline_partitions_owned"), gathered(t, reg, "ledgerline_commands_lag_records"), gathered(t, reg, "ledgerline_commands_lag_seconds")}
			want := [3]map[string]float64{{"order.commands": owned}, {"2 order.commands": records}, {"2 order.commands": seconds}}
			if owned == 0 {
				want[1], want[2] = map[string]float64{}, map[string]float64{}
			}
			for i := range got {
				if !maps.Equal(got[i], want[i]) {
					t.Errorf("%s: got %v, want %v", when, got, want)
					return
				}
			}
		}
		none, all := func(topicPartition) bool { return false }, func(topicPartition) bool { return true }
		pass := func(d time.Duration) { <-time.After(d) }
		p.expect("order.commands")
		expect("at first", 0, 0, 0)
		p.look(map[topicPartition]ends{tp: {high: 10, stable: 10}})
		p.own(first, tp, 10)
		expect("caught up", 1, 0, 0)
		pass(time.Hour)
		p.idle(first, none)
		appended := time.Now()
		p.look(map[topicPartition]ends{tp: {high: 15, stable: 15}})
		pass(10 * time.Second)
		expect("behind", 1, 5, 10)
		p.decided(first, tp, 12, appended.Add(4*time.Second))
		expect("some decided", 1, 3, 6)
		p.end(first)
		expect("no session", 0, 0, 0)
		pass(5 * time.Second)
		p.own(second, tp, 12)
		p.decided(first, tp, 15, time.Now()) // of a session that has ended
		p.release(first, tp)
		expect("the next session", 1, 3, 11)
		p.look(map[topicPartition]ends{tp: {high: 15, stable: 14}})
		p.idle(second, none) // it is offered nothing, for a transaction is open
		expect("hidden", 1, 3, 11)
		p.look(map[topicPartition]ends{tp: {high: 15, stable: 15}})
		p.idle(second, all)
		expect("held", 1, 3, 11)
		p.idle(second, none)
		expect("only markers", 1, 3, 0)
		p.release(second, tp)
		expect("somebody else's", 0, 0, 0)
	})
}

func TestWatchSaysWhoDoesNotAnswer(t *testing.T) {
	f := newFixture(t, 1)
	w, err := NewWatch(WatchConfig{Client: f.client, Names: []string{"order.events"}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f.cluster.Close()
	if _, err := w.Look(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(f.client.Brokers)) {
		t.Errorf("got %v", err)
	}
}
