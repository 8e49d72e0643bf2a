package kafka

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
)

func TestWorkerDecidesInOrder(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	sent := f.flow("o-", 20)
	f.send(sent...)
	o := f.observe()
	if got := accepted(o.outcomes(len(sent))); got != len(sent) {
		t.Errorf("%d of %d accepted", got, len(sent))
	}
	o.check(sent, w)
}

func TestMisplacedCommands(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	key := orderIn(2, "o-")
	old := time.Now().Add(-time.Hour)
	withID, without, again := f.command(key, newID(t), place), f.command(key, "", pay), f.command(key, newID(t), ship, "ledgerline-moved-from", "0@17")
	for _, r := range []*kgo.Record{withID, without, again} {
		r.Timestamp = old // it has waited long
		f.sendTo(1, r)
	}
	// Of the same partition, and at home.
	home := f.command(orderIn(1, "o-"), newID(t), place)
	f.send(home)
	o.outcomes(3)
	o.check([]*kgo.Record{withID, home}, w)
	got := f.answers(o.records["order.outcomes"])
	if len(got) != 3 || accepted(got) != 3 {
		t.Errorf("%d outcomes, %d accepted, want 3", len(got), accepted(got))
	}
	var copies []*kgo.Record
	for _, r := range o.records["order.commands"] {
		if r.Partition == 2 {
			copies = append(copies, r)
		}
	}
	if len(copies) != 2 {
		t.Fatalf("%d copies, want 2", len(copies))
	}
	for i, r := range []*kgo.Record{withID, without} {
		c := copies[i]
		if string(c.Key) != key || string(c.Value) != string(r.Value) || header(c, "ledgerline-moved-from") != fmt.Sprintf("1@%d", r.Offset) {
			t.Errorf("copy %d: %v", i, c.Headers)
		}
		if idOf(t, c) != idOf(t, r) {
			t.Errorf("copy %d has id %s, the original %s", i, idOf(t, c), idOf(t, r))
		}
		for _, a := range got {
			if a.CommandID == idOf(t, r) && (a.record.Partition != 2 || a.CommandOffset != c.Offset || a.input != c.Offset) {
				t.Errorf("copy %d at %d: decided in %d, at %d, %d", i, c.Offset, a.record.Partition, a.CommandOffset, a.input)
			}
		}
	}
	letters := o.records["order.dead-letters"]
	if len(letters) != 1 || header(letters[0], "ledgerline-cause") != processing.CodeMisplaced || header(letters[0], "ledgerline-position") != fmt.Sprintf("order/1@%d", again.Offset) ||
		string(letters[0].Value) != string(again.Value) || header(letters[0], "ce_id") != header(again, "ce_id") {
		t.Errorf("dead letters: %v", letters)
	}
}

// A transaction that moved a command and of whose end nobody heard: the command is not moved again.
func TestMisplacedCommandIsMovedOnce(t *testing.T) {
	f := newFixture(t, 1, kfake.MaxVersions(kversion.V3_7_0()))
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	sent := f.command(orderIn(2, "o-"), "", place)
	f.losing.denyEnd()
	f.sendTo(1, sent)
	o.outcomes(1)
	o.check(nil, w)
	if f.losing.lost.Load() != 1 {
		t.Errorf("%d answers lost, want 1", f.losing.lost.Load())
	}
	if got := len(o.records["order.commands"]); got != 2 {
		t.Errorf("%d commands, want one and its copy", got)
	}
}

func TestRepeats(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	timed, timeless := newID(t), uuid.NewString()
	first := []*kgo.Record{f.command("o-1", timed, place), f.command("o-1", timeless, pay)}
	f.send(first...)
	originals := o.outcomes(2)
	otherBody := order.PlaceOrder{CustomerID: "c-2", TotalAmount: gbp(1250)}

	repeat := func(when string) {
		t.Helper()
		for i, original := range originals {
			again := first[i]
			same := raw("o-1", again.Value, "ce_id", header(again, "ce_id"), "content-type", "application/avro")
			reused := f.command("o-1", original.CommandID, otherBody)
			expecting := raw("o-1", again.Value, "ce_id", original.CommandID, "content-type", "application/avro", "ce_expectedversion", "0")
			elsewhere := f.command(orderIn(same.Partition, when+strconv.Itoa(i)), original.CommandID, place)
			n := len(o.records["order.outcomes"])
			f.send(same, reused, expecting, elsewhere)
			o.outcomes(n + 4)
			for _, a := range f.answers(o.records["order.outcomes"])[n:] {
				switch {
				case a.AggregateID != "o-1": // an id belongs to an aggregate
					if a.Status != processing.Accepted || !a.Decision {
						t.Errorf("%s, %d: other aggregate got %s %s", when, i, a.Status, a.Code)
					}
				case a.input == same.Offset:
					if a.Decision || a.Status != processing.Accepted || a.Version != original.Version || a.CommandOffset != original.CommandOffset ||
						len(a.Events) != 1 || a.Events[0] != original.Events[0] || a.CommandType != original.CommandType || !a.Time.Equal(original.Time) {
						t.Errorf("%s, %d: repeat got %+v, want %+v", when, i, a.Outcome, original.Outcome)
					}
					if p, ok := a.Position(); !ok || p.Offset != first[i].Offset {
						t.Errorf("%s, %d: repeat has position %v", when, i, p)
					}
				default:
					if a.Decision || a.Status != processing.Failed || a.Code != processing.CodeKeyReused {
						t.Errorf("%s, %d: other body got %s %s", when, i, a.Status, a.Code)
					}
				}
			}
		}
	}
	repeat("same-worker-")
	w.stop()
	w = f.worker("slot-1").waitReady()
	repeat("after-a-restart-")
	o.check(first, w)
}

// Within one batch there is no stored outcome to read yet.
func TestRepeatInOneBatch(t *testing.T) {
	f := newFixture(t, 1)
	id := newID(t)
	same := func() *kgo.Record { return f.command("o-1", id, place) }
	f.send(same(), same(), f.command("o-1", id, pay), same()) // before there is a worker
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	got := o.outcomes(4)
	o.check(nil, w)
	for i, a := range got {
		want := processing.Accepted
		if i == 2 {
			want = processing.Failed
		}
		if a.Status != want || a.Decision != (i == 0) || a.Status == processing.Accepted && (a.Version != 1 || a.CommandOffset != 0 || a.Events[0] != got[0].Events[0]) {
			t.Errorf("outcome %d: %+v", i, a.Outcome)
		}
	}
	if n := len(o.records["order.events"]); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// A refusal is a decision: it is remembered, although the command would be accepted by now.
func TestRefusalIsRemembered(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	early := f.command("o-1", newID(t), pay)
	f.send(early, f.command("o-1", newID(t), place))
	o.outcomes(2)
	w.stop()
	w = f.worker("slot-0").waitReady()
	f.send(f.command("o-1", header(early, "ce_id"), pay))
	got := o.outcomes(3)[2]
	if got.Status != processing.Refused || got.Code != order.ErrOrderNotFound.Code || got.Decision {
		t.Errorf("got %+v", got.Outcome)
	}
	o.check(nil, w)
}

func (f *fixture) committed() map[topicPartition]kadm.Offset {
	f.t.Helper()
	fetched, err := f.adm.FetchOffsets(f.t.Context(), testGroup)
	if err == nil {
		err = fetched.Error()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	all := map[topicPartition]kadm.Offset{}
	fetched.Each(func(o kadm.OffsetResponse) { all[topicPartition{o.Topic, o.Partition}] = o.Offset })
	return all
}

func TestEveryCommitCarriesMetadata(t *testing.T) {
	f := newFixture(t, 1)
	seen := f.cluster.Fault(observeCommits(t))
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	for n := range 3 {
		f.send(f.flow(fmt.Sprintf("o%d-", n), 8)...)
		o.outcomes((n + 1) * 24)
	}
	f.sendTo(0, raw(orderIn(0, "x"), []byte("not a command"))) // leads to an outcome and no event
	o.outcomes(73)
	w.stop()
	o.drain()
	if seen.Hits() < 4 {
		t.Errorf("%d commits seen", seen.Hits())
	}
	last := map[topicPartition]int64{}
	for _, topic := range []string{"order.events", "order.outcomes"} {
		for _, r := range o.records[topic] {
			last[topicPartition{topic, r.Partition}] = r.Offset
		}
	}
	commits := f.committed()
	if len(commits) != testPartitions {
		t.Fatalf("committed: %v", commits)
	}
	for tp, c := range commits {
		m, err := processing.ParseMetadata(c.Metadata)
		if err != nil {
			t.Error(err)
		}
		if want := last[topicPartition{"order.events", tp.partition}]; m.LastEvent != want {
			t.Errorf("%s: metadata says last event %d, it is %d", tp, m.LastEvent, want)
		}
		if want := last[topicPartition{"order.outcomes", tp.partition}]; m.LastOutcome != want {
			t.Errorf("%s: metadata says last outcome %d, it is %d", tp, m.LastOutcome, want)
		}
		if m.LowestOutcome != 0 || m.Floor.Before(time.Now().Add(-25*time.Hour)) {
			t.Errorf("%s: metadata says lowest outcome %d, floor %v", tp, m.LowestOutcome, m.Floor)
		}
	}
}

// What a worker must not go on from: it decides nothing and says why.
func TestRecoveryRefuses(t *testing.T) {
	home := topicPartition{"order.commands", PartitionOf("o-0", testPartitions)}
	for _, c := range []struct {
		name string
		do   func(f *fixture, at map[topicPartition]kadm.Offset)
		want []string
	}{
		{"an operator's reset", func(f *fixture, at map[topicPartition]kadm.Offset) {
			f.commit(home, at[home].At, "")
		}, []string{home.String(), "that no worker committed"}},
		{"a commit beyond the end", func(f *fixture, at map[topicPartition]kadm.Offset) {
			f.commit(home, at[home].At+100, at[home].Metadata)
		}, []string{home.String(), "before the committed offset"}},
		{"events without their beginning", func(f *fixture, _ map[topicPartition]kadm.Offset) {
			offsets := kadm.Offsets{}
			offsets.Add(kadm.Offset{Topic: "order.events", Partition: home.partition, At: 2})
			if _, err := f.adm.DeleteRecords(f.t.Context(), offsets); err != nil {
				f.t.Fatal(err)
			}
		}, []string{fmt.Sprintf("order.events/%d", home.partition), "not at 0"}},
		{"events that are gone", func(f *fixture, at map[topicPartition]kadm.Offset) {
			m, err := processing.ParseMetadata(at[home].Metadata)
			if err != nil {
				f.t.Fatal(err)
			}
			m.LastEvent += 10
			f.commit(home, at[home].At, m.String())
		}, []string{home.String(), "not whole"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, 1)
			w := f.worker("slot-0").waitReady()
			o := f.observe("order.outcomes")
			sent := f.flow("o-", 8)
			f.send(sent...)
			o.outcomes(len(sent))
			w.stop()
			c.do(f, f.committed())
			w = f.worker("slot-0")
			f.send(f.command("o-0", newID(t), place))
			w.log.wait(t, c.want...)
			w.stop()
			select {
			case <-w.Ready():
				t.Error("the worker is ready")
			default:
			}
			o.drainOf("order.outcomes")
			if n := len(o.records["order.outcomes"]); n != len(sent) {
				t.Errorf("%d outcomes, want %d", n, len(sent))
			}
		})
	}
}

// commit does what an operator's tool does.
func (f *fixture) commit(tp topicPartition, at int64, metadata string) {
	f.t.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: tp.topic, Partition: tp.partition, At: at, LeaderEpoch: -1, Metadata: metadata})
	committed, err := f.adm.CommitOffsets(f.t.Context(), testGroup, offsets)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func TestNewWorkerRefuses(t *testing.T) {
	whole := WorkerConfig{Client: ClientConfig{Brokers: []string{"localhost:1"}}, Aggregates: []*processing.Aggregate{order.Decider.Erase()}, Codec: newFixtureCodec(t), Group: "g", Slot: "s"}
	if _, err := NewWorker(whole); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*WorkerConfig){
		func(c *WorkerConfig) { c.Client.Brokers = nil },
		func(c *WorkerConfig) { c.Aggregates = nil },
		func(c *WorkerConfig) { c.Codec = nil },
		func(c *WorkerConfig) { c.Group = "" },
		func(c *WorkerConfig) { c.Slot = "" },
		func(c *WorkerConfig) { c.SessionTimeout = time.Second },
		func(c *WorkerConfig) { c.TransactionTimeout = time.Second },
	} {
		broken := whole
		change(&broken)
		if _, err := NewWorker(broken); err == nil {
			t.Errorf("change %d: no error", i)
		}
	}
}

// A timeout that the brokers refuse is told of with the flag to set, and how.
func TestTimeoutsThatBrokersRefuse(t *testing.T) {
	for flag, change := range map[string]func(*WorkerConfig){
		"set --session-timeout, now 5s, ":       func(c *WorkerConfig) { c.SessionTimeout = 5 * time.Second },
		"set --transaction-timeout, now 1h0m0s": func(c *WorkerConfig) { c.TransactionTimeout = time.Hour },
	} {
		t.Run(flag, func(t *testing.T) {
			newFixture(t, 1, kfake.GroupMinSessionTimeout(DefaultSessionTimeout)).worker("slot-0", change).log.wait(t, "worker session ended", flag)
		})
	}
}

// With KeepSlot the group still has the member after the worker has ended, else not.
func TestWorkerLeavesItsGroup(t *testing.T) {
	f := newFixture(t, 1)
	for slot, keeps := range map[string]bool{"slot-keep": true, "slot-leave": false} {
		w := f.worker(slot, func(c *WorkerConfig) { c.KeepSlot = keeps }).waitReady()
		w.stop()
		groups, err := f.adm.DescribeGroups(t.Context(), testGroup)
		if err != nil {
			t.Fatal(err)
		}
		has := false
		for _, m := range groups[testGroup].Members {
			has = has || m.InstanceID != nil && *m.InstanceID == slot
		}
		if has != keeps {
			t.Errorf("%s: member after its end: %t", slot, has)
		}
		f.worker(slot, func(c *WorkerConfig) { c.KeepSlot = false }).waitReady().stop()
	}
}

// A transaction that heeds no deadline ends the worker, though nothing can end the transaction.
func TestWorkerThatHangs(t *testing.T) {
	w, err := NewWorker(WorkerConfig{
		Client: ClientConfig{Brokers: []string{"127.0.0.1:1"}}, Aggregates: []*processing.Aggregate{order.Decider.Erase()}, Codec: newFixtureCodec(t), Group: "g", Slot: "slot-7",
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(t.Context()) }() // of the goroutine that is left behind, the test's end is the end
	w.hung <- struct{}{}
	if err := <-ended; !errors.Is(err, errHung) || !strings.Contains(err.Error(), "slot-7") {
		t.Errorf("Run returned %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{hung: make(chan struct{}, 1)}
		stop := w.watch()
		<-time.After(hungAfter - time.Second)
		if !stop() {
			t.Error("the watchdog barks too early")
		}
		w.watch()
		<-time.After(hungAfter + time.Second)
		if len(w.hung) != 1 {
			t.Error("the watchdog does not bark")
		}
	})
}
