package processing

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// brief is a decision in one line: status, code, version, events, the offset that it repeats.
func brief(d *Decision) string {
	s := "nothing"
	if o := d.Outcome; o != nil {
		s = fmt.Sprintf("%s %s v%d", o.Status, o.Code, o.Version)
		if o.Decision {
			s += " decision"
		}
	}
	if d.Repeats >= 0 {
		s += fmt.Sprintf(" repeats %d", d.Repeats)
	}
	for _, e := range d.Events {
		s += fmt.Sprintf(" %s@%d", e.Type, e.Version)
	}
	return strings.ReplaceAll(s, "  ", " ")
}

func TestPartitionDecides(t *testing.T) {
	id := func(n int) string { return timedID(noon, n) }
	misbehaving := func(how string) []Input { return []Input{command(0, "a", id(1), Misbehave{how}, nil)} }
	fault := func(commandID string, deadLetter bool) []Input {
		return []Input{{Command: Command{ID: commandID, Offset: 4}, Fault: &Fault{Code: CodeUndecodable, Detail: "bad", DeadLetter: deadLetter}}}
	}
	for _, c := range []struct {
		name string
		// committed is decided before, in a batch of its own.
		committed, inputs []Input
		want              []string
	}{
		{"accepted", nil, []Input{command(0, "a", id(1), Put{5}, nil)}, []string{"ACCEPTED v1 decision CoinsPut@1"}},
		{"accepted without events", nil, []Input{command(0, "a", id(1), Look{}, nil)}, []string{"ACCEPTED v0 decision"}},
		{"several events", nil, []Input{command(0, "a", id(1), PutEach{[]int64{1, 2, 3}}, nil), command(1, "a", id(2), Take{6}, nil)},
			[]string{"ACCEPTED v3 decision CoinsPut@1 CoinsPut@2 CoinsPut@3", "ACCEPTED v4 decision CoinsTaken@4"}},
		{"refused", nil, []Input{command(0, "a", id(1), Take{5}, nil)}, []string{"REFUSED too-few-coins v0 decision"}},
		{"must not exist", nil, []Input{command(0, "a", id(1), Put{1}, expect(0)), command(1, "a", id(2), Put{1}, expect(0))},
			[]string{"ACCEPTED v1 decision CoinsPut@1", "REFUSED version-conflict v1 decision"}},
		{"expected version", []Input{command(0, "a", id(1), Put{1}, nil)}, []Input{command(1, "a", id(2), Put{1}, expect(1)), command(2, "a", id(3), Put{1}, expect(1))},
			[]string{"ACCEPTED v2 decision CoinsPut@2", "REFUSED version-conflict v2 decision"}},
		{"fault with an id", nil, fault(id(1), false), []string{"FAILED undecodable v0"}},
		{"fault and dead letter", nil, fault("", true), []string{"nothing"}},
		{"id is no UUID", nil, []Input{command(0, "a", "seven", Put{1}, nil)}, []string{"FAILED invalid-command v0"}},
		{"repeat in the batch", nil, []Input{command(0, "a", id(1), Put{1}, nil), command(1, "a", id(1), Put{1}, nil)},
			[]string{"ACCEPTED v1 decision CoinsPut@1", "ACCEPTED v1"}},
		{"repeat of a refusal in the batch", nil, []Input{command(0, "a", id(1), Take{1}, nil), command(1, "a", id(2), Put{1}, nil), command(2, "a", id(1), Take{1}, nil)},
			[]string{"REFUSED too-few-coins v0 decision", "ACCEPTED v1 decision CoinsPut@1", "REFUSED too-few-coins v0"}},
		{"repeat of a committed one", []Input{command(0, "a", id(1), Put{1}, nil), command(1, "b", id(2), Take{1}, nil)},
			[]Input{command(2, "a", id(1), Put{1}, nil), command(3, "b", id(2), Take{1}, nil)}, []string{"nothing repeats 0", "nothing repeats 1"}},
		{"key reused in the batch", nil, []Input{command(0, "a", id(1), Put{1}, nil), command(1, "a", id(1), Put{2}, nil), command(2, "a", id(1), Put{1}, expect(1))},
			[]string{"ACCEPTED v1 decision CoinsPut@1", "FAILED idempotency-key-reused v1", "FAILED idempotency-key-reused v1"}},
		{"key reused after the commit", []Input{command(0, "a", id(1), Put{1}, nil)}, []Input{command(1, "a", id(1), Take{1}, nil), command(2, "a", id(1), Put{1}, nil)},
			[]string{"FAILED idempotency-key-reused v1", "nothing repeats 0"}},
		{"same id, another aggregate", []Input{command(0, "a", id(1), Put{1}, nil)}, []Input{command(1, "b", id(1), Put{1}, nil), command(2, "c", id(1), Put{1}, nil)},
			[]string{"ACCEPTED v1 decision CoinsPut@1", "ACCEPTED v1 decision CoinsPut@1"}},
		{"failed is not remembered", misbehaving("error"), []Input{command(1, "a", id(1), Put{1}, nil)}, []string{"ACCEPTED v1 decision CoinsPut@1"}},
		{"failed is not remembered in the batch", nil, append(misbehaving("error"), command(1, "a", id(1), Put{1}, nil)), []string{"FAILED decide-failed v0", "ACCEPTED v1 decision CoinsPut@1"}},
		{"domain panics", nil, misbehaving("panic"), []string{"FAILED decide-failed v0"}},
		{"domain errs", nil, misbehaving("error"), []string{"FAILED decide-failed v0"}},
		{"undeclared event", nil, append(misbehaving("undeclared"), command(1, "a", id(2), Put{1}, nil)), []string{"FAILED decide-failed v0", "ACCEPTED v1 decision CoinsPut@1"}},
		{"evolve panics", nil, append(misbehaving("crack"), command(1, "a", id(2), Take{1}, nil)), []string{"FAILED decide-failed v0", "REFUSED too-few-coins v0 decision"}},
		{"nil refusal", nil, misbehaving("nil refusal"), []string{"FAILED decide-failed v0"}},
		{"no data", nil, []Input{command(0, "a", id(1), struct{ X int }{}, nil)}, []string{"FAILED decide-failed v0"}},
		{"redelivered", []Input{command(0, "a", id(1), Put{1}, nil), command(5, "a", id(2), Put{1}, nil)},
			[]Input{command(0, "a", id(3), Put{1}, nil), command(5, "a", id(4), Put{1}, nil), command(6, "a", id(5), Put{1}, nil)}, []string{"ACCEPTED v3 decision CoinsPut@3"}},
		{"version 7 id as old as can be", nil, []Input{command(0, "a", timedID(noon.Add(-KeepCommandIDs), 1), Put{1}, nil)}, []string{"ACCEPTED v1 decision CoinsPut@1"}},
		{"too old", nil, []Input{command(0, "a", timedID(noon.Add(-KeepCommandIDs-time.Millisecond), 1), Put{1}, nil)}, []string{"FAILED command-too-old v0"}},
		{"as far ahead as can be", nil, []Input{command(0, "a", timedID(noon.Add(MaxClockAhead), 1), Put{1}, nil)}, []string{"ACCEPTED v1 decision CoinsPut@1"}},
		{"from the future", nil, []Input{command(0, "a", timedID(noon.Add(MaxClockAhead+time.Millisecond), 1), Put{1}, nil)}, []string{"FAILED command-from-the-future v0"}},
		{"timeless id", []Input{command(0, "a", timelessID(1), Put{1}, nil)}, []Input{command(1, "a", timelessID(1), Put{1}, nil), command(2, "a", timelessID(2), Put{1}, nil)},
			[]string{"nothing repeats 0", "ACCEPTED v2 decision CoinsPut@2"}},
		{"other spelling of an id", []Input{command(0, "a", id(1), Put{1}, nil)}, []Input{command(1, "a", strings.ToUpper(id(1)), Put{1}, nil)}, []string{"nothing repeats 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTopics()
			p := w.recover(t)
			if c.committed != nil {
				w.commit(t, p, noon, c.committed...)
			}
			for _, known := range []*Partition{p, w.recover(t)} {
				b := known.Decide(noon, c.inputs)
				var got []string
				for _, d := range b.Decisions {
					got = append(got, brief(d))
				}
				if !reflect.DeepEqual(got, c.want) {
					t.Errorf("got  %q\nwant %q", got, c.want)
				}
				if last := c.inputs[len(c.inputs)-1].Command.Offset; b.Next != last+1 {
					t.Errorf("next is %d after offset %d", b.Next, last)
				}
			}
		})
	}
}

func TestPartitionMakesWholeEvents(t *testing.T) {
	p := newTopics().recover(t)
	in := command(7, "a", timedID(noon, 1), PutEach{[]int64{4, 5}}, nil)
	b := p.Decide(noon.Add(1500*time.Microsecond), []Input{command(6, "a", timedID(noon, 2), Put{1}, nil), in})
	d := b.Decisions[1]
	at := noon.Add(time.Millisecond)
	for i, e := range d.Events {
		want := Event{
			ID: e.ID, Aggregate: "jar", AggregateID: "a", Type: "CoinsPut", Data: CoinsPut{int64(4 + i)}, Version: int64(2 + i), Time: at,
			CommandID: in.Command.ID, CommandOffset: 7, Last: i == 1, CorrelationID: in.Command.CorrelationID, TraceParent: in.Command.TraceParent,
			Partition: 3, Offset: -1,
		}
		if !reflect.DeepEqual(e, want) {
			t.Errorf("got  %+v\nwant %+v", e, want)
		}
		if ref := (EventRef{ID: e.ID, Type: e.Type, Version: e.Version}); d.Outcome.Events[i] != ref {
			t.Errorf("outcome names %+v, not %+v", d.Outcome.Events[i], ref)
		}
	}
	// The ids are a contract: who repeats the derivation finds the event.
	for i, e := range d.Events {
		if want := uuid.NewSHA1(uuid.MustParse(in.Command.ID), fmt.Appendf(nil, "a/%d", i)).String(); e.ID != want {
			t.Errorf("event %d has id %s, want %s", i, e.ID, want)
		}
	}
	o := d.Outcome
	if o.CommandOffset != 7 || o.Partition != 3 || !o.Time.Equal(at) || string(o.BodyHash) != string(in.Command.BodyHash[:]) || o.CommandType != "PutEach" {
		t.Errorf("outcome %+v", o)
	}
	if position, ok := o.Position(); !ok || position.String() != "jar/3@7" {
		t.Errorf("position %v %v", position, ok)
	}
}

func TestRepeatIsTheStoredAnswer(t *testing.T) {
	w := newTopics()
	p := w.recover(t)
	first := w.commit(t, p, noon, command(4, "a", timedID(noon, 1), PutEach{[]int64{1, 2}}, nil)).Decisions[0]
	w.commit(t, p, noon, command(5, "a", timedID(noon, 2), Put{9}, nil))
	again := w.commit(t, p, noon.Add(time.Hour), command(6, "a", timedID(noon, 1), PutEach{[]int64{1, 2}}, nil)).Decisions[0]
	inBatch := p.Decide(noon, []Input{command(7, "b", timedID(noon, 3), Put{1}, nil), command(8, "b", timedID(noon, 3), Put{1}, nil)})
	for _, pair := range [][2]*Decision{{first, again}, {inBatch.Decisions[0], inBatch.Decisions[1]}} {
		want, got := *pair[0].Outcome, *pair[1].Outcome
		want.Decision, want.Partition, got.Partition = false, 0, 0
		if !reflect.DeepEqual(got, want) || len(pair[1].Events) > 0 || pair[1].Repeats != -1 {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	// A repeat of a repeat still names the decision, not the repeat.
	if b := w.recover(t).Decide(noon, []Input{command(9, "a", timedID(noon, 1), PutEach{[]int64{1, 2}}, nil)}); b.Decisions[0].Repeats != first.OutcomeOffset {
		t.Errorf("repeats %d, want %d", b.Decisions[0].Repeats, first.OutcomeOffset)
	}
}

func TestUnreadableAggregateFailsAlone(t *testing.T) {
	event := func(offset int64, id string, version int64, data any) Event {
		return Event{Aggregate: "jar", AggregateID: id, Data: data, Version: version, Time: noon, Offset: offset}
	}
	p := NewPartition(jars, 0, 0, Metadata{})
	p.RecoverEvent(event(0, "gap", 1, CoinsPut{5}))
	p.RecoverEvent(event(1, "gap", 3, CoinsPut{5}))
	p.RecoverEvent(event(2, "gap", 4, CoinsPut{5}))
	p.RecoverEvent(event(3, "bytes", 1, CoinsPut{5}))
	p.RecoverUnreadable("bytes", 4, errors.New("bytes left over"))
	p.RecoverEvent(event(5, "bytes", 3, CoinsPut{5}))
	p.RecoverEvent(event(6, "cracked", 1, CoinsPut{5}))
	p.RecoverEvent(event(7, "cracked", 2, Cracked{}))
	p.RecoverUnreadable("new", 8, errors.New("unknown schema"))
	p.RecoverEvent(event(9, "fine", 1, CoinsPut{5}))
	if p.LastEvent() != 9 {
		t.Errorf("last event %d", p.LastEvent())
	}
	for i, id := range []string{"gap", "bytes", "cracked", "new"} {
		d := p.Decide(noon, []Input{command(int64(i+1), id, timedID(noon, i), Take{1}, expect(1))}).Decisions[0]
		if d.Outcome.Status != Failed || d.Outcome.Code != CodeUnreadable || d.Outcome.Detail == "" || d.Outcome.Decision {
			t.Errorf("%s: %s %q", id, brief(d), d.Outcome.Detail)
		}
	}
	if d := p.Decide(noon, []Input{command(9, "fine", timedID(noon, 9), Take{5}, nil)}).Decisions[0]; d.Outcome.Status != Accepted {
		t.Errorf("fine: %s", brief(d))
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	w := newTopics()
	p := w.recover(t)
	w.commit(t, p, noon, command(0, "a", timedID(noon, 1), Put{1}, nil))
	for i, known := range []*Partition{p, w.recover(t)} {
		b := known.Decide(noon.Add(-time.Hour), []Input{command(1, "a", timedID(noon, 2), Put{1}, nil), command(2, "a", timedID(noon.Add(MaxClockAhead), 3), Put{1}, nil)})
		if !b.At.Equal(noon) || !b.Decisions[0].Events[0].Time.Equal(noon) || b.Decisions[1].Outcome.Status != Accepted {
			t.Errorf("%d: batch at %s: %s", i, b.At, brief(b.Decisions[1]))
		}
	}
	if b := p.Decide(noon.In(time.FixedZone("X", 3600)), nil); b.At.Location() != time.UTC || b.Next != 1 {
		t.Errorf("empty batch at %s, next %d", b.At, b.Next)
	}
}

func TestDecideChangesNothing(t *testing.T) {
	w := newTopics()
	p := w.recover(t)
	w.commit(t, p, noon, command(0, "a", timedID(noon, 1), Put{1}, nil), command(1, "b", timelessID(1), Take{1}, nil))
	before, want := w.recover(t), w.recover(t)
	later := noon.Add(KeepCommandIDs + time.Hour) // what is known of both ids is past its time
	b := before.Decide(later, []Input{
		command(2, "a", timedID(later, 1), PutEach{[]int64{1, 2}}, nil), command(3, "a", timedID(later, 1), Put{3}, nil), command(4, "c", timedID(later, 2), Misbehave{"crack"}, nil),
		command(5, "c", timelessID(1), Put{1}, nil), {Command: Command{ID: timelessID(5), Offset: 6}, Fault: &Fault{Code: CodeTooLarge}},
	})
	before.Metadata(b)
	if !reflect.DeepEqual(before.states.heldByID(), want.states.heldByID()) || !reflect.DeepEqual(before.ids, want.ids) || before.at != want.at || before.next != want.next ||
		before.lastEvent != want.lastEvent || before.lastOut != want.lastOut {
		t.Errorf("a batch that is not committed changed what is known:\ngot  %+v %+v\nwant %+v %+v", before, before.ids, want, want.ids)
	}
	if again := before.Decide(later, []Input{command(2, "a", timedID(later, 1), PutEach{[]int64{1, 2}}, nil)}); brief(again.Decisions[0]) != brief(b.Decisions[0]) {
		t.Errorf("decided again: %s, first %s", brief(again.Decisions[0]), brief(b.Decisions[0]))
	}
}

// TestRecoveryReachesBeyondTheCommittedOffset: an outcome alone says that its command is decided, and an
// event alone what time it is.
func TestRecoveryReachesBeyondTheCommittedOffset(t *testing.T) {
	p := NewPartition(jars, 3, 4, Metadata{LastEvent: -1, LastOutcome: -1, LowestOutcome: -1})
	p.RecoverOutcome(Outcome{CommandID: timedID(noon, 1), AggregateID: "a", Status: Failed, Time: noon}, 8)
	p.RecoverEvent(Event{AggregateID: "a", Data: CoinsPut{1}, Version: 1, Time: noon.Add(time.Second)})
	b := p.Decide(noon, []Input{command(8, "a", timedID(noon, 1), Put{1}, nil), command(9, "a", timedID(noon, 2), Put{1}, nil)})
	if len(b.Decisions) != 1 || b.Decisions[0].Input.Command.Offset != 9 || b.Next != 10 || !b.At.Equal(noon.Add(time.Second)) {
		t.Errorf("%d decisions, next %d, at %s", len(b.Decisions), b.Next, b.At)
	}
}

func TestRecoverOutcomeKeepsOffItsBytes(t *testing.T) {
	buffer := []byte("0123456789abcdef and what follows")
	p := NewPartition(jars, 3, 0, Metadata{})
	p.RecoverOutcome(Outcome{CommandID: timedID(noon, 1), AggregateID: "a", Decision: true, BodyHash: buffer[:16], Time: noon}, 0)
	if string(buffer) != "0123456789abcdef and what follows" {
		t.Errorf("recovery wrote into the outcome's buffer: %q", buffer)
	}
}
