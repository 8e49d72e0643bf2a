package kafka

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ledgerline/ledgerline/processing"
)

// awaitTrouble waits until a worker's trouble has all the words; with none, until it has none.
func (r *running) awaitTrouble(words ...string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("trouble with %q", words), func() bool {
		err := r.Trouble()
		has := (err == nil) == (len(words) == 0)
		for _, w := range words {
			has = has && strings.Contains(err.Error(), w)
		}
		return has
	})
}

// skewed is a clock that is off by so many milliseconds.
type skewed struct{ by atomic.Int64 }

func (s *skewed) Now() time.Time {
	return time.Now().Add(time.Duration(s.by.Load()) * time.Millisecond)
}

// A worker whose clock is off decides nothing, says so, and leaves its partitions to one whose clock is right.
func TestWrongClockDecidesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		by   time.Duration
		want string
	}{"ahead": {45 * time.Second, "ahead of that of the Kafka brokers"}, "behind": {-time.Hour, "behind that of the Kafka brokers"}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			clock := &skewed{}
			clock.by.Store(c.by.Milliseconds())
			w := f.worker("slot-0", func(cfg *WorkerConfig) { cfg.Now = clock.Now }).waitReady()
			o := f.observe()
			sent := f.flow("o-", 4)
			f.send(sent...)
			w.awaitTrouble(c.want, "timedatectl")
			if strings.Contains(w.Trouble().Error(), "\n") {
				t.Errorf("more than a line: %s", w.Trouble())
			}
			second := f.worker("slot-1").waitReady()
			o.outcomes(len(sent))
			w.awaitTrouble(c.want)
			o.check(sent, second) // and in order, and at a right time
			for _, a := range f.answers(o.records["order.outcomes"]) {
				if d := time.Since(a.Time); d.Abs() > processing.MaxClockOff {
					t.Errorf("decided at %s", a.Time)
				}
			}
			clock.by.Store(0)
			later := f.flow("later-", 4)
			f.send(later...)
			o.outcomes(len(sent) + len(later))
			w.awaitTrouble()
			o.check(append(sent, later...), w)
		})
	}
}

// A clock that jumps while the worker is at work is noticed with the next transaction.
func TestClockJumps(t *testing.T) {
	f := newFixture(t, 1)
	asked := f.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeTransactions}, Count: -1, Observe: true})
	clock := &skewed{}
	reg := prometheus.NewRegistry()
	w := f.worker("slot-0", func(cfg *WorkerConfig) { cfg.Now, cfg.Metrics = clock.Now, NewMetrics(reg) }).waitReady()
	o := f.observe()
	var sent []*kgo.Record
	began := time.Now()
	for range 10 {
		r := f.command("o-"+newID(t), newID(t), place)
		f.send(r)
		sent = append(sent, r)
		o.outcomes(len(sent))
	}
	if n := asked.Hits(); n < 1 || n > 1+int(time.Since(began)/clockEvery) {
		t.Errorf("asked for the time %d times in 10 transactions", n)
	}
	if off := gathered(t, reg, "ledgerline_clock_ahead_seconds")[""]; off < -1 || off > 5 {
		t.Errorf("the clock is said to be %v s ahead", off)
	}
	for _, by := range []time.Duration{-2 * time.Minute, 2 * time.Minute} {
		clock.by.Store(by.Milliseconds())
		r := f.command("o-"+newID(t), newID(t), place)
		f.send(r)
		sent = append(sent, r)
		w.awaitTrouble("the clock of this host is 2m0s")
		if n := len(o.records["order.outcomes"]); n != len(sent)-1 {
			t.Errorf("%d outcomes of %d commands", n, len(sent))
		}
		clock.by.Store(0)
		o.outcomes(len(sent))
		w.awaitTrouble()
	}
	o.check(sent, w)
}

// Whatever else is against deciding holds a worker up like its own clock.
func TestHold(t *testing.T) {
	f := newFixture(t, 1)
	var hold atomic.Bool
	w := f.worker("slot-0", func(cfg *WorkerConfig) {
		cfg.Hold = func() error {
			if hold.Load() {
				return errors.New("the other clock is wrong")
			}
			return nil
		}
	}).waitReady()
	o := f.observe()
	sent := f.flow("o-", 4)
	f.send(sent...)
	o.outcomes(len(sent))
	hold.Store(true)
	w.awaitTrouble("the other clock is wrong")
	w.log.wait(t, "worker session ended", "the other clock is wrong")
	later := f.flow("later-", 4)
	f.send(later...)
	second := f.worker("slot-1").waitReady() // at once: the first has left the group
	o.outcomes(len(sent) + len(later))
	second.stop()
	hold.Store(false)
	last := f.flow("last-", 4)
	f.send(last...)
	o.outcomes(len(sent) + len(later) + len(last))
	w.awaitTrouble()
	o.check(append(append(sent, later...), last...), w)
}
