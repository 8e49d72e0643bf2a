package processing

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tick is a run of commands that arrive while the clock stands.
type tick struct {
	now    time.Time
	inputs []Input
}

// drawTicks draws commands to three aggregates. Ids come from few, so that they repeat, and their
// times lie on both sides of every limit.
func drawTicks(t *rapid.T) []tick {
	var ids []string
	for i := range 6 {
		age := rapid.SampledFrom([]time.Duration{0, time.Hour, KeepCommandIDs - time.Minute, -MaxClockAhead / 2, -2 * KeepCommandIDs}).Draw(t, "age")
		ids = append(ids, timedID(noon.Add(-age), i))
	}
	for i := range 3 {
		ids = append(ids, timelessID(i))
	}
	bodies := []any{Put{1}, Put{2}, PutEach{[]int64{1, 2, 3}}, Take{1}, Take{3}, Look{}, Misbehave{"panic"}, Misbehave{"error"}}
	now, offset, fresh := noon, int64(0), 100
	ticks := make([]tick, rapid.IntRange(1, 12).Draw(t, "ticks"))
	for i := range ticks {
		now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 20 * time.Second, 61 * time.Second, 3 * time.Hour, KeepCommandIDs - time.Minute}).Draw(t, "wait"))
		ticks[i].now = now
		for range rapid.IntRange(0, 8).Draw(t, "commands") {
			fresh++
			id := rapid.SampledFrom(append(ids, "", "no UUID", timedID(now, fresh), timelessID(fresh))).Draw(t, "id")
			var version *int64
			if rapid.IntRange(0, 4).Draw(t, "expects") == 0 {
				version = expect(rapid.Int64Range(0, 3).Draw(t, "version"))
			}
			in := command(offset, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "aggregate"), id, rapid.SampledFrom(bodies).Draw(t, "body"), version)
			if id == "" {
				in.Fault = &Fault{Code: CodeUndecodable, DeadLetter: true}
			}
			ticks[i].inputs = append(ticks[i].inputs, in)
			offset += rapid.Int64Range(1, 2).Draw(t, "step")
		}
	}
	return ticks
}

// told is what a run told the world, without where in the log it lies.
type told struct {
	Events   []Event
	Outcomes map[int64]Outcome // by offset of the command
}

func (w *topics) told() told {
	s := told{Outcomes: map[int64]Outcome{}}
	for _, e := range w.events {
		e.Offset = 0
		s.Events = append(s.Events, e)
	}
	for o, out := range w.outcomes {
		// Repeats carry the stored record's place or none; that is the producer's matter.
		out.Offset, out.Partition = 0, 0
		s.Outcomes[w.inputs[o]] = out
	}
	return s
}

// checkLog holds what is in the topics to the laws.
func (w *topics) checkLog(t *rapid.T) {
	type key struct{ aggregate, id string }
	decided := map[key]time.Time{}
	answered := map[int64]bool{}
	versions := map[string]int64{}
	eventIDs := map[string]bool{}
	for _, o := range slices.Sorted(maps.Keys(w.outcomes)) {
		out := w.outcomes[o]
		if answered[w.inputs[o]] {
			t.Fatalf("command at %d has two outcomes", w.inputs[o])
		}
		answered[w.inputs[o]] = true
		if !out.Decision {
			continue
		}
		k := key{out.AggregateID, out.CommandID}
		if first, again := decided[k]; again && (out.CommandID[14] == '7' || out.Time.Sub(first) < KeepCommandIDs) {
			t.Fatalf("%v is decided at %s and at %s", k, first, out.Time)
		}
		decided[k] = out.Time
	}
	var last time.Time
	for _, e := range w.events {
		versions[e.AggregateID]++
		if e.Version != versions[e.AggregateID] || e.Time.Before(last) {
			t.Fatalf("out of order: %+v", e)
		}
		last = e.Time
		if eventIDs[e.ID] && e.CommandID[14] == '7' {
			t.Fatalf("event id %s twice", e.ID)
		}
		eventIDs[e.ID] = true
	}
}

// checkMetadata holds what was committed to what p knows.
func (w *topics) checkMetadata(t *rapid.T, p *Partition) {
	m, err := ParseMetadata(w.metadata)
	if err != nil {
		t.Fatal(err)
	}
	if m.LastEvent != p.LastEvent() || m.LastOutcome != p.LastOutcome() || m.Floor.UnixMilli() != p.ids.floors.timed || !m.At.Equal(p.at) {
		t.Fatalf("metadata %s, known %d %d %d %s", w.metadata, p.LastEvent(), p.LastOutcome(), p.ids.floors.timed, p.at)
	}
	for _, held := range []idSlices{p.ids.timed, p.ids.timeless} {
		for _, s := range held.list {
			for _, e := range s.table {
				if e.outcome > 0 && (m.LowestOutcome < 0 || m.LowestOutcome > e.outcome-1) {
					t.Fatalf("metadata %s would not read back the outcome at %d", w.metadata, e.outcome-1)
				}
			}
		}
	}
}

// TestCrashesChangeNothing cuts the same commands into other batches, lets transactions abort and the
// worker die before or after it learns of a commit, and redelivers. Nothing of that may be seen.
func TestCrashesChangeNothing(t *testing.T) {
	struck := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		ticks := drawTicks(t)

		straight := newTopics()
		p := straight.recover(t)
		for _, tk := range ticks {
			straight.commit(t, p, tk.now, tk.inputs...)
		}

		crashing := newTopics()
		p = crashing.recover(t)
		var all []Input
		for _, tk := range ticks {
			all = append(all, tk.inputs...)
			end := len(all)
			for at := end - len(tk.inputs); at < end; {
				n := rapid.IntRange(1, end-at).Draw(t, "batch")
				again := rapid.IntRange(0, min(at, 2)).Draw(t, "redelivered")
				batch := all[at-again : at+n]
				switch fate := rapid.SampledFrom([]string{"commits", "commits", "aborts", "dies after the commit"}).Draw(t, "fate"); fate {
				case "commits":
					crashing.commit(t, p, tk.now, batch...)
					crashing.checkMetadata(t, p)
					at += n
				case "aborts":
					crashing.run(t, p, tk.now, false, batch...)
					p = crashing.recover(t)
					struck[fate]++
				default:
					crashing.run(t, p, tk.now, true, batch...)
					p = crashing.recover(t)
					at += n
					struck[fate]++
				}
			}
		}
		straight.checkLog(t)
		crashing.checkLog(t)
		want, got := straight.told(), crashing.told()
		for i := range max(len(want.Events), len(got.Events)) {
			if i >= len(want.Events) || i >= len(got.Events) || !reflect.DeepEqual(want.Events[i], got.Events[i]) {
				t.Fatalf("event %d of %d and %d:\nwant %+v\ngot  %+v", i, len(want.Events), len(got.Events), want.Events[i:], got.Events[i:])
			}
		}
		for _, tk := range ticks {
			for _, in := range tk.inputs {
				w, g := want.Outcomes[in.Command.Offset], got.Outcomes[in.Command.Offset]
				if !reflect.DeepEqual(w, g) {
					t.Fatalf("outcome of command %d at %s:\nwant %+v\ngot  %+v", in.Command.Offset, tk.now, w, g)
				}
			}
		}
	})
	for _, fate := range []string{"aborts", "dies after the commit"} {
		if struck[fate] == 0 {
			t.Errorf("no worker %s: the test tests nothing", fate)
		}
	}
}

// TestCommandIDsAreForgottenInTime walks one id of each kind past its time.
func TestCommandIDsAreForgottenInTime(t *testing.T) {
	w := newTopics()
	p := w.recover(t)
	old, fresh, timeless := timedID(noon.Add(-time.Hour), 1), timedID(noon, 2), timelessID(1)
	put := func(offset int64, id string) Input { return command(offset, "a", id, Put{1}, nil) }
	w.commit(t, p, noon, put(0, old), put(1, fresh))
	w.commit(t, p, noon.Add(time.Second), put(2, timeless))
	lowest := p.Metadata(p.Decide(noon, nil)).LowestOutcome
	for i, step := range []struct {
		now  time.Time
		want [3]string // old, fresh, timeless
	}{
		{noon.Add(KeepCommandIDs - time.Hour), [3]string{"repeat", "repeat", "repeat"}},
		{noon.Add(KeepCommandIDs - time.Hour + time.Millisecond), [3]string{"too old", "repeat", "repeat"}},
		{noon.Add(KeepCommandIDs), [3]string{"too old", "repeat", "repeat"}},
		{noon.Add(KeepCommandIDs + time.Millisecond), [3]string{"too old", "too old", "repeat"}},
		{noon.Add(KeepCommandIDs + time.Second), [3]string{"too old", "too old", "repeat"}},
		// Those without a time are forgotten by the slice.
		{noon.Add(KeepCommandIDs + timelessSlice - time.Millisecond), [3]string{"too old", "too old", "repeat"}},
		{noon.Add(KeepCommandIDs + timelessSlice), [3]string{"too old", "too old", "decided"}},
		{noon, [3]string{"too old", "too old", "decided"}}, // the floor does not fall with the clock
	} {
		for name, known := range map[string]*Partition{"live": p, "recovered": w.recover(t)} {
			b := known.Decide(step.now, []Input{put(100, old), put(101, fresh), put(102, timeless)})
			var got [3]string
			for j, d := range b.Decisions {
				switch {
				case d.Repeats >= 0:
					got[j] = "repeat"
				case d.Outcome.Code == CodeTooOld:
					got[j] = "too old"
				case d.Outcome.Decision:
					got[j] = "decided"
				default:
					got[j] = brief(d)
				}
			}
			if got != step.want {
				t.Errorf("%s at %s: %v, want %v", name, step.now, got, step.want)
			}
		}
		w.commit(t, p, step.now, command(int64(3+i), "b", "no UUID", Put{1}, nil)) // the floor rises by a commit
		if m := p.Metadata(p.Decide(step.now, nil)); m.LowestOutcome >= 0 && m.LowestOutcome < lowest {
			t.Errorf("at %s the lowest outcome falls from %d to %d", step.now, lowest, m.LowestOutcome)
		} else {
			lowest = m.LowestOutcome
		}
	}
	w.commit(t, p, noon.Add(2*KeepCommandIDs), command(50, "b", "no UUID", Put{1}, nil))
	if n := p.CommandIDs().Held; n != 0 {
		t.Errorf("%d ids are remembered after two days", n)
	}
	if w.commit(t, p, noon.Add(2*KeepCommandIDs), command(51, "b", "no UUID", Put{1}, nil)); p.ids.lowest != -1 {
		t.Errorf("lowest outcome is %d with no id remembered", p.ids.lowest)
	}
	if _, ok := p.Decided("a", fresh); ok {
		t.Errorf("%s is still known", fresh)
	}
}
