package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/schemas"
)

const (
	newPrefix   = "new."
	newGroup    = newPrefix + testGroup
	newEvents   = newPrefix + "order.events"
	newOutcomes = newPrefix + "order.outcomes"
)

// newTopics makes the topics of a prefix, with their schemas.
func (f *fixture) newTopics(prefix string, partitions int32) {
	f.t.Helper()
	p, err := NewProvisioner(ProvisionerConfig{Client: f.client, Registry: f.registry})
	if err != nil {
		f.t.Fatal(err)
	}
	defer p.Close()
	changes, err := p.Plan(f.t.Context(), Description{Topics: Topics{Prefix: prefix}.Of("order", partitions)})
	if err == nil {
		err = p.Apply(f.t.Context(), changes)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	bindings, err := processing.Bindings(schemas.FS, []*processing.Aggregate{f.orders})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, b := range bindings {
		for _, kind := range []string{"order.commands", "order.events", "order.outcomes"} {
			if err := f.registry.register(f.t.Context(), schemas.Subject(prefix+kind, b.Schema.FullName()), b.Schema.Text()); err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

// migration is one to newPrefix with small transactions.
func (f *fixture) migration(change ...func(*MigrationConfig)) *Migration {
	f.t.Helper()
	cfg := MigrationConfig{
		Client: f.client, To: Topics{Prefix: newPrefix}, Aggregates: []*processing.Aggregate{f.orders}, Codec: f.newCodec(),
		FromGroup: testGroup, ToGroup: newGroup, Slot: newGroup + ".migrate", MaxBatch: 7,
	}
	for _, c := range change {
		c(&cfg)
	}
	m, err := NewMigration(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(m.Close)
	return m
}

// migrated is a fixture with n orders placed, paid and shipped, no worker, and the topics of newPrefix.
func migrated(t *testing.T, n int) (*fixture, []*kgo.Record) {
	t.Helper()
	f := newFixture(t, 1)
	return f, f.shipped(n)
}

// shipped makes the topics of newPrefix, and has n orders placed, paid and shipped on the others.
func (f *fixture) shipped(n int) []*kgo.Record {
	f.t.Helper()
	f.newTopics(newPrefix, testPartitions)
	sent := f.flow("o-", n)
	w := f.worker("old.0", func(c *WorkerConfig) { c.MaxBatch = 20 })
	f.send(sent...)
	f.observe().outcomes(len(sent))
	w.stop()
	return sent
}

// newWorker decides the commands of newPrefix.
func (f *fixture) workerOfNew() *running {
	f.t.Helper()
	return f.worker("new.0", func(c *WorkerConfig) { c.Topics, c.Group = Topics{Prefix: newPrefix}, newGroup })
}

// committedIn returns all committed records of a topic, in order within each partition.
func (f *fixture) committedIn(topic string) map[int32][]*kgo.Record {
	f.t.Helper()
	r, err := newReader(f.client)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.close()
	ends, err := readMarks(f.t.Context(), f.adm, topic)
	if err != nil {
		f.t.Fatal(err)
	}
	spans := map[topicPartition]span{}
	for tp, m := range ends {
		spans[tp] = span{m.start, m.high}
	}
	records := map[int32][]*kgo.Record{}
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	if err := r.read(ctx, spans, func(rec *kgo.Record) error {
		records[rec.Partition] = append(records[rec.Partition], rec)
		return nil
	}); err != nil {
		f.t.Fatalf("reading %s: %v", topic, err)
	}
	return records
}

// sameLogs holds a topic against its copy, by the places that the copies tell of.
func (f *fixture) sameLogs(from, to string) {
	f.t.Helper()
	old, fresh := f.committedIn(from), f.committedIn(to)
	for p, records := range old {
		if len(fresh[p]) != len(records) {
			f.t.Errorf("%s/%d has %d records, its copy %d", from, p, len(records), len(fresh[p]))
			continue
		}
		for i, r := range records {
			c := fresh[p][i]
			want := fmt.Sprintf("%s/%d@%d command %s", from, p, r.Offset, header(r, "ce_commandoffset"))
			if header(c, "ledgerline-migrated-from") != want || string(c.Key) != string(r.Key) || header(c, "ce_id") != header(r, "ce_id") || !c.Timestamp.Equal(r.Timestamp) {
				f.t.Errorf("copy %d of %s/%d is %s of %s, want %s of %s", i, from, p, header(c, "ledgerline-migrated-from"), c.Key, want, r.Key)
			}
		}
	}
}

func mustVerify(t *testing.T, m *Migration) MigrationCheck {
	t.Helper()
	found, err := m.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestMigrationGoesOn ends a migration after some transactions, then kills one within a transaction: while it is
// not finished no worker begins, and in the end every record is there once.
func TestMigrationGoesOn(t *testing.T) {
	f, sent := migrated(t, 40)
	goesOn(t, f, sent)
}

// TestMigrationOnKafka has migrations killed and fenced on Apache Kafka.
func TestMigrationOnKafka(t *testing.T) {
	if !strings.HasPrefix(os.Getenv("LEDGERLINE_E2E_STACK"), "native") {
		t.Skip("it needs Apache Kafka; run: .ci/run native")
	}
	for name, migrates := range map[string]func(*testing.T, *fixture, []*kgo.Record){"goes on": goesOn, "is fenced": isFencedOff} {
		t.Run(name, func(t *testing.T) {
			s, err := stack.Start(t.Context(), stack.Config{Provider: stack.Native})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			f := &fixture{t: t, losing: &losing{}, orders: order.Decider.Erase()}
			f.provision(s.Brokers)
			migrates(t, f, f.shipped(40))
		})
	}
}

func goesOn(t *testing.T, f *fixture, sent []*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	transactions := 0
	first := f.migration(func(c *MigrationConfig) {
		c.Progress = func(done, total int64) {
			if transactions++; transactions == 3 {
				cancel()
			}
			if done <= 0 || done > total {
				t.Errorf("progress: %d of %d", done, total)
			}
		}
	})
	if _, err := first.Run(ctx); !errors.Is(err, context.Canceled) || transactions != 3 {
		t.Fatalf("ended by its context after %d transactions: %v", transactions, err)
	}
	some := 0
	for _, records := range f.committedIn(newEvents) {
		some += len(records)
	}
	for _, records := range f.committedIn(newOutcomes) {
		some += len(records)
	}
	if some != 21 {
		t.Errorf("%d records are copied, want 21", some)
	}
	const says = `run: rebuild migrate --prefix "" --to-prefix "new."`
	if err := CheckMigrated(t.Context(), f.client, Topics{Prefix: newPrefix}, newGroup); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("an ingest would start: %v", err)
	}
	w := f.workerOfNew()
	w.log.wait(t, "worker session ended", "are not whole yet")
	w.stop()
	if _, err := f.adm.DeleteOffsets(t.Context(), newGroup, kadm.TopicsSet{newPrefix + "order.commands": {0: {}, 1: {}, 2: {}, 3: {}}}); err != nil {
		t.Fatal(err)
	}
	if err := CheckMigrated(t.Context(), f.client, Topics{Prefix: newPrefix}, newGroup); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("an ingest would start once the marks have expired: %v", err)
	}

	killed := f.migration()
	mover, err := killed.newMover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := killed.look(t.Context())
	if err != nil || !s.begun || s.finished {
		t.Fatalf("looking: %v, %+v", err, s)
	}
	mover.start(s)
	errKilled := errors.New("killed")
	err = killed.read(t.Context(), s, func(c *copying, r *kgo.Record) error {
		made, _, err := killed.copyOf(t.Context(), c, r)
		if err == nil {
			mover.batch = append(mover.batch, movedRecord{c, r.Offset, made})
		}
		if len(mover.batch) < 5 || err != nil {
			return err
		}
		if err := errors.Join(mover.cl.BeginTransaction(), mover.produce(t.Context())); err != nil {
			return err
		}
		return errKilled
	})
	mover.cl.Close()
	if !errors.Is(err, errKilled) {
		t.Fatal(err)
	}

	last := f.migration()
	plan, err := last.Run(t.Context())
	if err != nil || plan.State != "begun" || plan.Topics[0].Copied+plan.Topics[1].Copied != 21 || plan.Topics[0].Copied+plan.Topics[0].Records != 120 {
		t.Fatalf("going on: %v, %+v", err, plan)
	}
	f.sameLogs("order.events", newEvents)
	f.sameLogs("order.outcomes", newOutcomes)
	if found := mustVerify(t, last); !found.OK() || found.Topics[0].Alike != 120 || found.Topics[1].Alike != 120 {
		t.Errorf("verifying: %+v", found)
	}
	if plan, err := last.Run(t.Context()); err != nil || plan.State != "finished" {
		t.Errorf("once more: %v, %+v", err, plan)
	}
	f.goOn(sent)
}

// mark has the workers of newPrefix wait, by one partition.
func (f *fixture) mark() error {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: newPrefix + "order.commands", At: 0, LeaderEpoch: -1, Metadata: fmt.Sprintf(markFormat, "")})
	committed, err := f.adm.CommitOffsets(f.t.Context(), newGroup, offsets)
	return errors.Join(err, committed.Error())
}

// goOn has a worker of newPrefix answer all commands again, and decide one more for each order.
func (f *fixture) goOn(sent []*kgo.Record) {
	f.t.Helper()
	w := f.workerOfNew().waitReady()
	for _, r := range sent {
		f.send(&kgo.Record{Topic: newPrefix + "order.commands", Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	o := f.observe(newOutcomes)
	answers := func(n int) (all []answered) { // but for the copies
		o.until(fmt.Sprintf("%d answers", n), func() bool {
			all = slices.DeleteFunc(f.answers(o.records[newOutcomes]), func(a answered) bool { return a.input < 0 })
			return len(all) >= n
		})
		return all
	}
	for _, a := range answers(len(sent)) {
		if a.Decision || a.Status != processing.Accepted || a.CommandOffset != -1 {
			f.t.Fatalf("a command decided by the old workers: %+v", a.Outcome)
		}
	}
	again := f.command("o-0", newID(f.t), ship, "ce_expectedversion", "3")
	again.Topic = newPrefix + "order.commands"
	f.send(again)
	for _, a := range answers(len(sent) + 1) {
		if a.CommandID == header(again, "ce_id") && (a.Code != "order-not-paid" || a.Version != 3) {
			f.t.Errorf("a new command to an old order: %+v", a.Outcome)
		}
	}
	w.stop()
}

// TestMigrationIsFenced begins a second migration while the first is under way: it goes on in its place.
func TestMigrationIsFenced(t *testing.T) {
	f, sent := migrated(t, 20)
	f.withoutCoordinator(func() {
		if err := CheckMigrated(t.Context(), f.client, Topics{Prefix: newPrefix}, newGroup); err != nil {
			t.Errorf("an ingest would not start: %v", err)
		}
	})
	f.withoutCoordinator(func() { isFencedOff(t, f, sent) })
}

// withoutCoordinator calls do while no group has a coordinator for some requests, as one that is new.
func (f *fixture) withoutCoordinator(do func()) {
	f.t.Helper()
	var asked atomic.Int32
	f.cluster.ControlKey(int16(kmsg.FindCoordinator), func(q kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.KeepControl()
		request := q.(*kmsg.FindCoordinatorRequest)
		if request.CoordinatorType != 0 || asked.Add(1) > 3 {
			return nil, nil, false
		}
		answer := request.ResponseKind().(*kmsg.FindCoordinatorResponse)
		for _, key := range request.CoordinatorKeys {
			one := kmsg.NewFindCoordinatorResponseCoordinator()
			one.Key, one.ErrorCode = key, kerr.CoordinatorNotAvailable.Code
			answer.Coordinators = append(answer.Coordinators, one)
		}
		return answer, nil, true
	})
	do()
	if asked.Load() <= 3 {
		f.t.Errorf("it was asked for %d times", asked.Load())
	}
}

func isFencedOff(t *testing.T, f *fixture, _ []*kgo.Record) {
	t.Helper()
	second := f.migration()
	var plan MigrationPlan
	var err error
	begun := false
	first := f.migration(func(c *MigrationConfig) {
		c.Progress = func(int64, int64) {
			if !begun {
				begun = true
				plan, err = second.Run(t.Context())
			}
		}
	})
	if _, err := first.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `another migration to prefix "new." was begun`) {
		t.Errorf("the first: %v", err)
	}
	if err != nil || plan.State != "begun" || plan.Topics[0].Copied+plan.Topics[1].Copied != 7 {
		t.Errorf("the second: %v, %+v", err, plan)
	}
	if found := mustVerify(t, second); !found.OK() {
		t.Errorf("verifying: %+v", found)
	}
}

// TestMigrationRefuses holds every reason not to begin against what is said of it, and sees that nothing is written.
func TestMigrationRefuses(t *testing.T) {
	if _, err := NewMigration(MigrationConfig{From: Topics{"a."}, To: Topics{"a."}}); err == nil || !strings.Contains(err.Error(), "choose another") {
		t.Errorf("to the same prefix: %v", err)
	}
	f, _ := migrated(t, 2)
	f.newTopics("wide.", testPartitions+1)
	f.newTopics("taken.", testPartitions)
	f.newTopics("marked.", testPartitions)
	f.send(&kgo.Record{Topic: "taken.order.events", Key: []byte("o-1"), Value: []byte("x")})
	if _, err := f.adm.CommitOffsets(t.Context(), "marked."+testGroup, kadm.OffsetsFromRecords(kgo.Record{
		Topic: "marked.order.commands", LeaderEpoch: -1,
	})); err != nil {
		t.Fatal(err)
	}
	to := func(prefix string) *Migration {
		return f.migration(func(c *MigrationConfig) {
			c.To, c.ToGroup, c.Slot = Topics{prefix}, prefix+testGroup, prefix+"slot"
		})
	}
	refuses := func(m *Migration, words string) {
		t.Helper()
		_, err := m.Run(t.Context())
		var refused *MigrationRefusedError
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, words) {
			t.Errorf("it says %v, want %q", err, words)
		}
		if plan, err := m.Plan(t.Context()); err != nil || !strings.Contains(plan.Refusal, words) {
			t.Errorf("its plan: %v, %+v, want %q", err, plan, words)
		}
	}
	refuses(to("wide."), "has 4 partitions and wide.order.commands 5: keys would move")
	refuses(to("taken."), "has events that no migration wrote: choose another --to-prefix")
	refuses(to("marked."), "group marked.test.ingest has decided commands of marked.order.commands/0 already")

	f.send(f.command("o-waits", newID(t), place))
	refuses(f.migration(), "1 commands are not decided yet, as the one at order.commands/")
	w := f.worker("old.0")
	f.observe().outcomes(7)
	refuses(f.migration(), "group test.ingest: 1: the group has members: stop every ingest first")
	w.stop()
	open := f.kgo(kgo.TransactionalID("a worker that was killed"))
	if err := open.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := open.ProduceSync(t.Context(), &kgo.Record{Topic: "order.events", Key: []byte("o-1"), Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.migration().Run(t.Context()); err == nil || !strings.Contains(err.Error(), "a transaction is open in order.events/") {
		t.Errorf("beside an open transaction: %v", err)
	}
	if err := open.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	ofNew := f.workerOfNew().waitReady()
	refuses(f.migration(), "group new.test.ingest: 1: the group has members")
	ofNew.stop()
	if n := len(f.committedIn(newEvents)) + len(f.committedIn(newOutcomes)); n > 0 {
		t.Errorf("%d partitions were written", n)
	}

	// One that is begun is gone on with from the same prefix alone, and refused once the source has grown.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := f.migration(func(c *MigrationConfig) { c.Progress = func(int64, int64) { cancel() } })
	if _, err := begun.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	refuses(f.migration(func(c *MigrationConfig) { c.From, c.FromGroup = Topics{"taken."}, "taken."+testGroup }), `a migration from prefix "" to prefix "new." was begun`)
	grows := f.migration(func(c *MigrationConfig) {
		c.Progress = func(int64, int64) {
			w := f.worker("old.0")
			o := f.observe()
			o.drain()
			f.send(f.command("o-grown"+newID(t), newID(t), place))
			o.outcomes(len(o.records["order.outcomes"]) + 1)
			w.stop()
		}
	})
	var refused *MigrationRefusedError
	if _, err := grows.Run(t.Context()); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "meanwhile: stop every ingest") {
		t.Errorf("beside a worker of the old prefix: %v", err)
	}
	if _, err := f.migration().Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = f.worker("old.0")
	f.send(f.command("o-late", newID(t), place))
	o := f.observe()
	o.until("the order that is late", func() bool {
		return slices.ContainsFunc(o.records["order.events"], func(r *kgo.Record) bool { return string(r.Key) == "o-late" })
	})
	w.stop()
	refuses(f.migration(), "was finished at offset")
}

// TestMigrationKeepsTheFloor migrates where the old workers knew ids up to a point: the new ones refuse what they
// refused, and do not decide twice what they cannot know.
func TestMigrationKeepsTheFloor(t *testing.T) {
	floors := func(f *fixture, topics Topics, group string) map[int32]processing.Metadata {
		t.Helper()
		list, err := NewFloors(FloorsConfig{Client: f.client, Topics: topics, Aggregates: []*processing.Aggregate{f.orders}, Group: group})
		if err != nil {
			t.Fatal(err)
		}
		defer list.Close()
		all, err := list.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := map[int32]processing.Metadata{}
		for _, one := range all {
			found[one.Partition] = one.metadata
		}
		return found
	}
	for _, row := range []struct {
		name    string
		change  func(t *testing.T, f *fixture, p int32) // of the old prefix's partition p
		floor   func(old processing.Metadata) time.Time
		decided string // what a repeated command gets, "" for its stored answer
	}{
		{name: "whole", change: func(*testing.T, *fixture, int32) {}, floor: func(old processing.Metadata) time.Time { return old.Floor }},
		{
			name: "outcomes that are needed are gone", decided: processing.CodeTooOld,
			change: func(t *testing.T, f *fixture, p int32) {
				if _, err := f.adm.DeleteRecords(t.Context(), kadm.OffsetsFromRecords(kgo.Record{Topic: "order.outcomes", Partition: p, Offset: 0})); err != nil {
					t.Fatal(err)
				}
			},
			floor: func(old processing.Metadata) time.Time {
				return old.At.Add(processing.MaxClockAhead + time.Millisecond)
			},
		},
		{
			name: "the offset has expired", decided: "",
			change: func(t *testing.T, f *fixture, p int32) {
				if _, err := f.adm.DeleteOffsets(t.Context(), testGroup, kadm.TopicsSet{"order.commands": {p: {}}}); err != nil {
					t.Fatal(err)
				}
			},
			floor: func(processing.Metadata) time.Time { return time.UnixMilli(1_700_000_060_001) },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, sent := migrated(t, 8)
			p := PartitionOf(sent[0].Key, testPartitions)
			old := floors(f, Topics{}, testGroup)[p]
			row.change(t, f, p)
			m := f.migration(func(c *MigrationConfig) { c.Now = func() time.Time { return time.UnixMilli(1_700_000_000_000) } })
			if _, err := m.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if found := mustVerify(t, m); !found.OK() {
				t.Errorf("verifying: %+v", found)
			}
			got, copies := floors(f, Topics{Prefix: newPrefix}, newGroup)[p], f.committedIn(newOutcomes)[p]
			if !got.Floor.Equal(row.floor(old)) || got.LastOutcome != copies[len(copies)-1].Offset || got.LowestOutcome != copies[0].Offset {
				t.Errorf("committed %s, the old workers %s, outcomes from %d to %d", got, old, copies[0].Offset, copies[len(copies)-1].Offset)
			}
			if row.name == "whole" && !got.At.Equal(old.At) {
				t.Errorf("the last decision was at %s, want %s", got.At, old.At)
			}
			w := f.workerOfNew().waitReady()
			again := *sent[0]
			again.Topic = newPrefix + "order.commands"
			o := f.observe(newOutcomes)
			f.send(&again)
			o.until("its answer", func() bool {
				return slices.ContainsFunc(o.records[newOutcomes], func(r *kgo.Record) bool { return header(r, "ce_commandoffset") != "-1" })
			})
			all := f.answers(o.records[newOutcomes])
			i := slices.IndexFunc(all, func(a answered) bool { return a.input >= 0 })
			if all[i].Decision || all[i].Code != row.decided {
				t.Errorf("a command decided before: %+v", all[i].Outcome)
			}
			w.stop()
		})
	}
}
