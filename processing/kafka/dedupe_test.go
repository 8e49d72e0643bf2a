package kafka

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

// testClock is a clock that stands until it is moved.
type testClock struct{ at atomic.Int64 }

func (c *testClock) Now() time.Time          { return time.UnixMilli(c.at.Load()).UTC() }
func (c *testClock) advance(d time.Duration) { c.at.Add(d.Milliseconds()) }

// newTestClock stands at the begin of a slice of command ids, so that what is in one of them is known. It is
// the brokers' clock, too.
func newTestClock(f *fixture) *testClock {
	c := &testClock{}
	c.at.Store(time.Now().Truncate(time.Minute).UnixMilli())
	f.brokersClock(c.Now)
	return c
}

// smallMemory has a worker remember 40 ids a partition: eight batches.
func smallMemory(c *testClock, change ...func(*WorkerConfig)) func(*WorkerConfig) {
	return func(cfg *WorkerConfig) {
		cfg.Now, cfg.MaxBatch, cfg.DedupeMemory = c.Now, 5, 1
		for _, more := range change {
			more(cfg)
		}
	}
}

// looks returns n commands to one order that are refused, each of an id of that time.
func (f *fixture) looks(key string, at time.Time, n int) []*kgo.Record {
	var records []*kgo.Record
	for range n {
		records = append(records, f.command(key, idOfTime(at), ship))
	}
	return records
}

// codes returns what became of the commands sent, by code, "" for a decision and "repeat" for a repeat. Those
// sent before must be answered.
func (o *observer) codes(sent []*kgo.Record) map[string]int {
	o.f.t.Helper()
	n := len(o.records["order.outcomes"])
	o.f.send(sent...)
	count := map[string]int{}
	for _, a := range o.outcomes(n + len(sent))[n:] {
		switch {
		case a.Decision:
			count[""]++
		case a.Status == processing.Failed:
			count[a.Code]++
		default:
			count["repeat"]++
		}
	}
	return count
}

// again returns copies of commands.
func again(sent []*kgo.Record) []*kgo.Record {
	var copies []*kgo.Record
	for _, r := range sent {
		copies = append(copies, &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	return copies
}

// The floor that a full memory has raised is the successor's too: it refuses what its predecessor refused.
func TestTakeoverKeepsARaisedFloor(t *testing.T) {
	f := newFixture(t, 1)
	clock := newTestClock(f)
	w := f.worker("slot-0", smallMemory(clock)).waitReady()
	o := f.observe()
	var sent []*kgo.Record
	for range 8 {
		some := f.looks("o-1", clock.Now(), 10)
		if got := o.codes(some); got[""] != 10 {
			t.Fatalf("got %v, want 10 decided", got)
		}
		sent = append(sent, some...)
		clock.advance(time.Minute)
	}
	home := topicPartition{"order.commands", PartitionOf("o-1", testPartitions)}
	floor := func() time.Time {
		m, err := processing.ParseMetadata(f.committed()[home].Metadata)
		if err != nil {
			t.Fatal(err)
		}
		return m.Floor
	}
	raised := floor()
	if raised.Before(clock.Now().Add(-8*time.Minute)) || raised.After(clock.Now().Add(-time.Minute)) {
		t.Fatalf("the floor is %s, it is %s", raised, clock.Now())
	}
	want := o.codes(again(sent))
	if want["repeat"] == 0 || want[processing.CodeTooOld] == 0 || len(want) != 2 {
		t.Fatalf("the predecessor answers %v", want)
	}
	raised = floor()
	w.stop()
	second := f.worker("slot-1", smallMemory(clock)).waitReady()
	if got := o.codes(again(sent)); fmt.Sprint(got) != fmt.Sprint(want) || !floor().Equal(raised) {
		t.Errorf("the successor answers %v, with floor %s; its predecessor %v, with %s", got, floor(), want, raised)
	}
	o.check(nil, second)
}

// Outcomes that retention, or somebody, has cut off: what they decided is not decided again.
func TestMissingOutcomes(t *testing.T) {
	for _, c := range []struct {
		name string
		// cut is up to where outcomes are deleted, of as many as there are.
		cut  func(n int64) int64
		want map[string]int // of two decided first, two later and two at last
	}{
		{"some", func(n int64) int64 { return n / 2 }, map[string]int{processing.CodeTooOld: 4, "repeat": 2}},
		{"all", func(n int64) int64 { return n }, map[string]int{processing.CodeTooOld: 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, 1)
			clock := newTestClock(f)
			reg := prometheus.NewRegistry()
			withClock := func(cfg *WorkerConfig) { cfg.Now, cfg.Metrics = clock.Now, NewMetrics(reg) }
			w := f.worker("slot-0", func(cfg *WorkerConfig) { cfg.Now = clock.Now }).waitReady()
			o := f.observe()
			var sent []*kgo.Record
			for range 3 {
				clock.advance(10 * time.Minute)
				some := f.looks("o-1", clock.Now(), 2)
				o.codes(some)
				sent = append(sent, some...)
			}
			w.stop()
			home := topicPartition{"order.outcomes", PartitionOf("o-1", testPartitions)}
			marks, err := readMarks(t.Context(), f.adm, home.topic)
			if err != nil {
				t.Fatal(err)
			}
			offsets := kadm.Offsets{}
			offsets.Add(kadm.Offset{Topic: home.topic, Partition: home.partition, At: c.cut(marks[home].high)})
			if _, err := f.adm.DeleteRecords(t.Context(), offsets); err != nil {
				t.Fatal(err)
			}

			second := f.worker("slot-1", withClock).waitReady()
			second.log.wait(t, "level=ERROR", "has a gap", fmt.Sprintf("partition=%d", home.partition), "outcomes", processing.CodeTooOld)
			clock.advance(2 * time.Minute)
			if got := o.codes(again(sent)); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if got := o.codes(f.looks("o-1", clock.Now(), 2)); got[""] != 2 {
				t.Errorf("new commands: %v", got)
			}
			if got := gathered(t, reg, "ledgerline_command_ids_floor_raised_total")["gap"]; got != 1 {
				t.Errorf("%v gaps counted, want 1", got)
			}
			second.stop()
			// The gap is closed: it is not found again, and what was refused stays refused.
			third := f.worker("slot-0", func(cfg *WorkerConfig) { cfg.Now = clock.Now }).waitReady()
			if got := o.codes(again(sent)); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("the next worker answers %v, want %v", got, c.want)
			}
			if text := third.log.String(); strings.Contains(text, "has a gap") {
				t.Errorf("the gap is found again:\n%s", text)
			}
			o.check(nil, third)
		})
	}
}

// A partition that has been idle for longer than outcomes are kept lacks nothing that it needs.
func TestOutcomesOfOldAreNotMissed(t *testing.T) {
	f := newFixture(t, 1)
	clock := newTestClock(f)
	w := f.worker("slot-0", func(cfg *WorkerConfig) { cfg.Now = clock.Now }).waitReady()
	o := f.observe()
	o.codes(f.looks("o-1", clock.Now(), 3))
	w.stop()
	home := topicPartition{"order.outcomes", PartitionOf("o-1", testPartitions)}
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: home.topic, Partition: home.partition, At: 4})
	if _, err := f.adm.DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	clock.advance(8 * 24 * time.Hour)
	w = f.worker("slot-0", func(cfg *WorkerConfig) { cfg.Now = clock.Now }).waitReady()
	if got := o.codes(f.looks("o-1", clock.Now(), 2)); got[""] != 2 {
		t.Errorf("after a week: %v", got)
	}
	if text := w.log.String(); strings.Contains(text, "level=ERROR") {
		t.Error("something is missed")
	}
	o.check(nil, w)
}

// More ids at once than may be remembered: commands wait until the first are a minute old, others do not.
func TestFullMemoryHoldsCommands(t *testing.T) {
	f := newFixture(t, 1)
	clock := newTestClock(f)
	reg := prometheus.NewRegistry()
	w := f.worker("slot-0", smallMemory(clock, func(cfg *WorkerConfig) { cfg.Metrics = NewMetrics(reg) })).waitReady()
	o := f.observe()
	hot := PartitionOf("o-1", testPartitions)
	f.send(f.looks("o-1", clock.Now(), 60)...)
	w.log.wait(t, "memory of command ids is full", fmt.Sprintf("partition=%d", hot))
	if err := w.Trouble(); err == nil || !strings.Contains(err.Error(), "--dedupe-memory") || strings.Contains(err.Error(), "\n") {
		t.Errorf("trouble: %v", err)
	}
	gauge := func(name string) float64 {
		t.Helper()
		v, ok := gathered(t, reg, name)[fmt.Sprintf("%d order.commands", hot)]
		if !ok {
			t.Fatalf("no %s", name)
		}
		return v
	}
	held := gauge("ledgerline_command_ids")
	if full, n := gauge("ledgerline_command_ids_full"), gauge("ledgerline_command_ids_bytes"); full != 1 || held < 20 || held > 40 || n > 40*processing.CommandIDBytes {
		t.Errorf("full %v, %v ids of %v bytes", full, held, n)
	}
	// Another partition goes on.
	elsewhere := f.command(orderIn((hot+1)%testPartitions, "x"), idOfTime(clock.Now()), place)
	f.send(elsewhere)
	if a := o.outcomeOf(idOf(t, elsewhere), 0); a.Status != processing.Accepted {
		t.Errorf("elsewhere: %s %s", a.Status, a.Code)
	}
	if n := len(o.records["order.outcomes"]); n != int(held)+1 {
		t.Errorf("%d outcomes, with %v ids remembered", n, held)
	}
	// As time passes it goes on. Those that have waited too long are refused, later ones decided.
	clock.advance(75 * time.Second)
	later := f.command("o-1", idOfTime(clock.Now()), ship)
	f.send(later)
	o.outcomes(62)
	count := map[string]int{}
	for _, a := range f.answers(o.records["order.outcomes"]) {
		if a.AggregateID == "o-1" {
			count[a.Code]++
		}
	}
	if decided := count["order-not-found"]; decided != int(held)+1 || count[processing.CodeTooOld] != 60-int(held) {
		t.Errorf("got %v, with %v ids remembered", count, held)
	}
	if err := w.Trouble(); err != nil {
		t.Errorf("trouble: %v", err)
	}
	if age := gauge("ledgerline_command_ids_floor_age_seconds"); age > 24*3600-1 {
		t.Errorf("the floor is %v s old", age)
	}
	if got := gathered(t, reg, "ledgerline_command_ids_floor_raised_total")["memory"]; got != 1 {
		t.Errorf("raised %v times, want once", got)
	}
	o.check([]*kgo.Record{elsewhere}, w)
}

// Ids without a time that fill their share: new ones fail, those known are recognised.
func TestDedupeFull(t *testing.T) {
	f := newFixture(t, 1)
	clock := newTestClock(f)
	w := f.worker("slot-0", smallMemory(clock)).waitReady()
	o := f.observe()
	var timeless []*kgo.Record
	for range 40 {
		timeless = append(timeless, f.command("o-1", uuid.NewString(), ship))
	}
	got := o.codes(timeless)
	if got[""] < 15 || got[processing.CodeDedupeFull] < 10 || len(got) != 2 {
		t.Errorf("got %v", got)
	}
	if known := o.codes(again(timeless)); known["repeat"] != got[""] || known[processing.CodeDedupeFull] != got[processing.CodeDedupeFull] {
		t.Errorf("sent again: %v, first %v", known, got)
	}
	if got := o.codes(f.looks("o-1", clock.Now(), 5)); got[""] != 5 {
		t.Errorf("ids with a time: %v", got)
	}
	o.check(nil, w)
}
