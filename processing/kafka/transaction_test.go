package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ledgerline/ledgerline/processing"
)

const faultSlot = "slot-fault"

// Whatever strikes a transaction, every command is decided once and in order.
func TestFaults(t *testing.T) {
	produce := []kmsg.Key{kmsg.Produce}
	refuse := func(faults ...kfake.Fault) func(*fixture) func() int {
		return func(f *fixture) func() int { return f.cluster.Fault(faults...).Hits }
	}
	lose := func(key kmsg.Key) func(*fixture) func() int {
		return func(f *fixture) func() int {
			f.losing.next(key)
			return func() int { return int(f.losing.lost.Load()) }
		}
	}
	denyEnd := func(f *fixture) func() int {
		f.losing.denyEnd()
		return func() int { return int(f.losing.lost.Load()) }
	}
	rows := []struct {
		name   string
		strike func(*fixture) (hits func() int)
		opts   []kfake.Opt
	}{
		{"produce of events refused", refuse(kfake.Fault{Keys: produce, Topic: "order.events", Err: kerr.InvalidRecord}), nil},
		{"produce of outcomes refused", refuse(kfake.Fault{Keys: produce, Topic: "order.outcomes", Err: kerr.InvalidRecord}), nil},
		{"produce refused, not leader", refuse(kfake.Fault{Keys: produce, Topic: "order.events", Err: kerr.NotLeaderForPartition, Count: 3}), nil},
		{"produce answered with a timeout after it was done", refuse(kfake.Fault{Keys: produce, Topic: "order.events", Err: kerr.RequestTimedOut}), nil},
		{"produce with too few replicas", refuse(kfake.Fault{Keys: produce, Topic: "order.outcomes", Err: kerr.NotEnoughReplicas, Count: 2}), nil},
		{"produce with too few replicas after it was done", refuse(kfake.Fault{Keys: produce, Topic: "order.outcomes", Err: kerr.NotEnoughReplicasAfterAppend}), nil},
		{"produce in a transaction that goes on", refuse(kfake.Fault{Keys: produce, Topic: "order.events", Err: kerr.ConcurrentTransactions, Count: 3}), nil},
		{"produce, epoch unknown", refuse(kfake.Fault{Keys: produce, Topic: "order.events", Err: kerr.InvalidProducerEpoch}), nil},
		{"produce, transaction abortable", refuse(kfake.Fault{Keys: produce, Topic: "order.events", Err: kerr.TransactionAbortable}), nil},
		{"offset commit refused, generation", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Topic: "order.commands", Err: kerr.IllegalGeneration}), nil},
		{"offset commit refused, unknown member", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Topic: "order.commands", Err: kerr.UnknownMemberID}), nil},
		{"offset commit refused, metadata too large", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Topic: "order.commands", Err: kerr.OffsetMetadataTooLarge}), nil},
		{"offset commit answered, answer lost", lose(kmsg.TxnOffsetCommit), nil},
		{"end refused, unknown error", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: faultSlot, Err: kerr.UnknownServerError}), nil},
		{"end refused, invalid state", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: faultSlot, Err: kerr.InvalidTxnState}), nil},
		{"end refused, abortable", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: faultSlot, Err: kerr.TransactionAbortable}), nil},
		{"end refused, goes on", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: faultSlot, Err: kerr.ConcurrentTransactions, Count: 3}), nil},
		{"end refused, coordinator moves", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: faultSlot, Err: kerr.NotCoordinator, Count: 2}), nil},
		{"end answered with a timeout after it was done", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: faultSlot, Err: kerr.RequestTimedOut}), nil},
		{"end done, answer lost", lose(kmsg.EndTxn), nil},
		{"end done, answer lost, version 1", lose(kmsg.EndTxn), []kfake.Opt{kfake.MaxVersions(kversion.V3_7_0())}},
		{"end done, answered as unknown", denyEnd, nil},
		{"end done, answered as unknown, version 1", denyEnd, []kfake.Opt{kfake.MaxVersions(kversion.V3_7_0())}},
		{"adding partitions, version 1", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, TxnID: faultSlot, TopLevel: false, Err: kerr.ConcurrentTransactions, Count: 3}), []kfake.Opt{kfake.MaxVersions(kversion.V3_7_0())}},
		{"heartbeat, rebalance", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: testGroup, Err: kerr.RebalanceInProgress}), nil},
		{"heartbeat, unknown member", refuse(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: testGroup, Err: kerr.UnknownMemberID}), nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			f := newFixture(t, 1, row.opts...)
			w := f.worker(faultSlot).waitReady()
			o := f.observe()
			warm := f.flow("warm-", 4)
			f.send(warm...)
			o.outcomes(len(warm))
			hits := row.strike(f)
			struck := f.flow("o-", 8)
			for _, r := range struck {
				f.send(r) // one by one, so that transactions follow each other
			}
			sent := append(warm, struck...)
			o.until("all decisions", func() bool { return accepted(f.answers(o.records["order.outcomes"])) >= len(sent) })
			if hits() == 0 {
				t.Error("the fault did not strike")
			}
			o.check(sent, w)
		})
	}
}

// A broker that is slow to take events holds their commands up, and nothing else.
func TestSlowProduce(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	held, release := make(chan struct{}), make(chan struct{})
	f.cluster.ControlKey(int16(kmsg.Produce), func(q kmsg.Request) (kmsg.Response, error, bool) {
		if q.(*kmsg.ProduceRequest).TransactionID == nil {
			return nil, nil, false
		}
		f.cluster.DropControl()
		f.cluster.SleepControl(func() {
			close(held)
			<-release
		})
		return nil, nil, false
	})
	first := f.flow("a-", 4)
	f.send(first...)
	<-held
	second := f.flow("b-", 4)
	f.send(second...)
	if n := len(o.records["order.outcomes"]); n != 0 {
		t.Errorf("%d outcomes before the commit", n)
	}
	close(release)
	o.outcomes(len(first) + len(second))
	o.check(append(first, second...), w)
}

// fence takes a slot's transactional id as a second process does.
func fence(t *testing.T, f *fixture, slot string) {
	t.Helper()
	if _, _, err := f.kgo(kgo.TransactionalID(slot)).ProducerID(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (r *running) waitFenced(slot string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	select {
	case <-r.done:
	case <-ctx.Done():
		r.t.Fatal("the worker goes on, although its slot was taken")
	}
	var fenced *FencedError
	if !errors.As(r.err, &fenced) || fenced.Slot != slot || !strings.Contains(r.err.Error(), slot) {
		r.t.Errorf("got %v, want a FencedError that names %s", r.err, slot)
	}
}

func TestFencedProducerEndsTheWorker(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	warm := f.flow("warm-", 4)
	f.send(warm...)
	o.outcomes(len(warm))
	fence(t, f, "slot-0")
	later := f.flow("o-", 40)
	f.send(later...)
	w.waitFenced("slot-0")
	if n := len(w.err.Error()); n > 1000 { // however many records failed
		t.Errorf("the error has %d characters: %s", n, w.err)
	}
	second := f.worker("slot-0").waitReady()
	o.outcomes(len(warm) + len(later))
	o.check(append(warm, later...), second)
}

// Two processes with one slot: the second takes it, the first ends, though it has nothing to do.
func TestSecondWorkerOfASlotEndsTheFirst(t *testing.T) {
	f := newFixture(t, 1)
	first := f.worker("slot-0").waitReady()
	o := f.observe()
	warm := f.flow("warm-", 4)
	f.send(warm...)
	o.outcomes(len(warm))
	second := f.worker("slot-0")
	first.waitFenced("slot-0")
	second.waitReady()
	later := f.flow("o-", 4)
	f.send(later...)
	o.outcomes(len(warm) + len(later))
	o.check(append(warm, later...), second)
}

// A worker whose session ended for whatever reason does not take its slot from another process that has it.
func TestWorkerDoesNotTakeItsSlotBack(t *testing.T) {
	f := newFixture(t, 1)
	keep := func(cfg *WorkerConfig) { cfg.KeepSlot = true }
	first := f.worker("slot-0", keep).waitReady()
	first.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := first.Run(ctx); err != nil { // nobody has it
		t.Fatalf("got %v", err)
	}
	second := f.worker("slot-0", keep).waitReady()
	var fenced *FencedError
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := first.Run(ctx); !errors.As(err, &fenced) {
		t.Fatalf("got %v, want a FencedError", err)
	}
	o := f.observe()
	sent := f.flow("o-", 4)
	f.send(sent...)
	o.outcomes(len(sent))
	o.check(sent, second)
}

// A worker that is told in a join that its slot is another's ends, though the session ends for another reason
// before it polls.
func TestFenceToldInAJoinIsHeard(t *testing.T) {
	f := newFixture(t, 1)
	var joined atomic.Bool
	f.cluster.ControlKey(int16(kmsg.JoinGroup), func(q kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.KeepControl()
		joined.Store(true)
		resp := q.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode = kerr.FencedInstanceID.Code
		return resp, nil, true
	})
	f.cluster.ControlKey(int16(kmsg.InitProducerID), func(q kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.KeepControl()
		if !joined.Load() {
			return nil, errors.New("not yet"), true
		}
		resp := q.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
		return resp, nil, true
	})
	f.worker("slot-0").waitFenced("slot-0")
}

// stream sends place, pay and ship of one order after the other until it is stopped.
type stream struct {
	f    *fixture
	stop chan struct{}
	done sync.WaitGroup
	sent []*kgo.Record
	n    atomic.Int64
}

func (f *fixture) stream(prefix string) *stream {
	s := &stream{f: f, stop: make(chan struct{})}
	bodies := []*kgo.Record{f.command("x", "x", place), f.command("x", "x", pay), f.command("x", "x", ship)}
	s.done.Go(func() {
		for i := 0; ; i++ {
			for _, b := range bodies {
				r := raw(fmt.Sprintf("%s%d", prefix, i), b.Value, "ce_id", newID(f.t), "content-type", "application/avro")
				if err := f.cl.ProduceSync(context.Background(), r).FirstErr(); err != nil {
					f.t.Error(err)
					return
				}
				s.sent = append(s.sent, r)
				s.n.Add(1)
			}
			select {
			case <-s.stop:
				return
			default:
			}
		}
	})
	return s
}

// end stops the stream and returns what it sent.
func (s *stream) end() []*kgo.Record {
	close(s.stop)
	s.done.Wait()
	return s.sent
}

// during runs the steps one after the other while commands flow; between two, at least more commands
// are decided. Then all that was sent must be decided once, in order.
func during(t *testing.T, f *fixture, more int, workers func() []*running, steps ...func()) {
	t.Helper()
	o := f.observe()
	o.drain()
	before := accepted(f.answers(o.records["order.outcomes"]))
	s := f.stream("o-")
	for _, step := range steps {
		o.outcomes(len(o.records["order.outcomes"]) + more)
		step()
	}
	o.outcomes(len(o.records["order.outcomes"]) + more)
	sent := s.end()
	o.until("all decisions", func() bool { return accepted(f.answers(o.records["order.outcomes"])) >= before+len(sent) })
	o.check(sent, workers()...)
}

func TestRebalances(t *testing.T) {
	f := newFixture(t, 1)
	first := f.worker("slot-0").waitReady()
	var second, third *running
	during(t, f, 60, func() []*running { return []*running{second, third} },
		func() { second = f.worker("slot-1").waitReady() },
		func() { third = f.worker("slot-2").waitReady() },
		func() { second.stop() },
		func() { second = f.worker("slot-1").waitReady() },
		func() { first.stop() },
	)
}

func TestLeadersMove(t *testing.T) {
	f := newFixture(t, 3)
	w, w2 := f.worker("slot-0").waitReady(), f.worker("slot-1").waitReady()
	move := func() {
		for _, topic := range []string{"order.commands", "order.events", "order.outcomes"} {
			for p := range int32(testPartitions) {
				if err := f.cluster.MoveTopicPartition(topic, p, (f.cluster.LeaderFor(topic, p)+1)%3); err != nil {
					t.Error(err)
				}
			}
		}
	}
	during(t, f, 60, func() []*running { return []*running{w, w2} }, move, move, f.cluster.ShufflePartitionLeaders, move)
}

func TestCoordinatorsMove(t *testing.T) {
	f := newFixture(t, 3)
	w, w2 := f.worker("slot-0").waitReady(), f.worker("slot-1").waitReady()
	during(t, f, 60, func() []*running { return []*running{w, w2} }, f.cluster.RehashCoordinators, f.cluster.RehashCoordinators, f.cluster.RehashCoordinators)
}

// Answers are lost again and again, of all that a transaction asks.
func TestLostAnswers(t *testing.T) {
	f := newFixture(t, 3)
	w, w2 := f.worker("slot-0").waitReady(), f.worker("slot-1").waitReady()
	var steps []func()
	keys := []kmsg.Key{kmsg.EndTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.OffsetFetch, kmsg.Heartbeat}
	for _, key := range keys {
		steps = append(steps, func() { f.losing.next(key) })
	}
	during(t, f, 40, func() []*running { return []*running{w, w2} }, steps...)
	if got := f.losing.lost.Load(); got < 3 {
		t.Errorf("%d answers lost, want 3 or more", got)
	}
}

// written returns the event and the outcome of the first command of its partition, as a worker writes them.
func (f *fixture) written(r *kgo.Record) (event, outcome *kgo.Record) {
	f.t.Helper()
	ctx := f.t.Context()
	partition := processing.NewPartition(f.orders, r.Partition, 0, processing.Metadata{LowestOutcome: -1})
	w := &wire{codec: f.codec, source: "dead"}
	in, err := w.command(ctx, f.orders, r)
	if err != nil {
		f.t.Fatal(err)
	}
	d := partition.Decide(time.Now(), []processing.Input{in}).Decisions[0]
	if event, err = w.eventRecord(ctx, d.Events[0]); err != nil {
		f.t.Fatal(err)
	}
	if outcome, err = w.outcomeRecord(ctx, r.Partition, d.Outcome, r.Offset); err != nil {
		f.t.Fatal(err)
	}
	return event, outcome
}

// A partition whose offset an open transaction is about to change waits; the others are recovered
// meanwhile, by the same session.
func TestRecoveryWaitsForAnUnstableOffset(t *testing.T) {
	f := newFixture(t, 1)
	unstable := f.cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: "order.commands", Partitions: []int32{2}, Err: kerr.UnstableOffsetCommit, Count: -1,
	})
	w := f.worker("slot-0")
	w.log.wait(t, "partitions recovered", "partitions=3") // all but that one
	if unstable.Hits() == 0 {
		t.Error("no offset was unstable")
	}
	unstable.Remove()
	w.log.wait(t, "partitions recovered", "partitions=1")
	if strings.Contains(w.log.String(), "a new one begins") {
		t.Errorf("a session ended:\n%s", w.log)
	}
}

// A dead predecessor's transaction lies open below the high watermark when a partition is recovered:
// it must be waited for, and what it made counts if it commits.
func TestRecoveryWaitsForAnOpenTransaction(t *testing.T) {
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		t.Run(fmt.Sprintf("commit %t", end), func(t *testing.T) {
			f := newFixture(t, 1)
			// The predecessor decides place in a transaction of its own: event and outcome, its offset last.
			placed := f.command("o-1", newID(t), place)
			f.send(placed)
			dead := f.kgo(kgo.TransactionalID("slot-dead"), kgo.TransactionTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err := dead.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			event, outcome := f.written(placed)
			if err := dead.ProduceSync(t.Context(), event, outcome).FirstErr(); err != nil {
				t.Fatal(err)
			}

			w := f.worker("slot-0")
			w.log.wait(t, "partitions recovered", "partitions=3") // all but that one
			if err := dead.EndTransaction(t.Context(), end); err != nil {
				t.Fatal(err)
			}
			w.log.wait(t, "partitions recovered", "partitions=1")
			paid := f.command("o-1", newID(t), pay)
			f.send(paid)
			o := f.observe()
			if a := o.outcomeOf(idOf(t, paid), 0); a.Status != processing.Accepted || a.Version != 2 {
				t.Errorf("got %s %s, version %d", a.Status, a.Code, a.Version)
			}
			o.check([]*kgo.Record{placed, paid}, w)
		})
	}
}
