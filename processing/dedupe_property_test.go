package processing

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// dedupeWorld is a partition with a small memory of ids, its log, which may lose outcomes, and a model that
// forgets nothing.
type dedupeWorld struct {
	*topics
	t     *rapid.T
	p     *Partition
	now   time.Time
	most  int   // ids that p may remember
	start int64 // of the log of outcomes
	model map[string]modelID
	sent  []Input // all commands, to be sent again
	fresh int
	// timeless is how many new ids of four have no time.
	timeless int
	next     int64 // command offset
	hits     map[string]int
	// pending is a loss that no commit has followed yet: each takeover finds it again.
	pending bool
	// floor and at are those last committed.
	floor, at time.Time
	// rebound says that the memory was another at the last commit.
	rebound bool
}

// modelID is an id that was decided.
type modelID struct {
	offset int64 // of the outcome
	at     time.Time
	lost   bool // the outcome is gone from the log
	// unknowable: its outcome was lost, and so were the offsets that knew of it.
	unknowable bool
}

// TestDecidedOnceInBoundedMemory: whatever the bound, the age of ids, crashes, takeovers and lost outcomes,
// an id with a time is decided once, one without once a day, and nothing is refused without need.
func TestDecidedOnceInBoundedMemory(t *testing.T) {
	hits := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := &dedupeWorld{topics: newTopics(), t: t, now: noon, model: map[string]modelID{}, hits: hits}
		w.most = rapid.SampledFrom([]int{64, 100, 400}).Draw(t, "most")
		w.timeless = rapid.SampledFrom([]int{0, 1, 4}).Draw(t, "timeless")
		waits := rapid.SampledFrom([][]time.Duration{
			{0, time.Millisecond, time.Second, 2 * time.Second},
			{0, time.Millisecond, time.Second, 10 * time.Second, 40 * time.Second, 40 * time.Second, 3 * time.Minute},
			{0, time.Second, 40 * time.Second, 3 * time.Minute, time.Hour, 7 * time.Hour, 23 * time.Hour},
		}).Draw(t, "pace")
		steps := rapid.IntRange(40, 120).Draw(t, "steps")
		rush := rapid.IntRange(0, 3).Draw(t, "rush") == 0
		if rush { // more ids at once than fit
			w.most, w.timeless, waits, steps = 64, 0, []time.Duration{0}, 120
		}
		w.takeOver()
		for range steps {
			w.now = w.now.Add(rapid.SampledFrom(waits).Draw(t, "wait"))
			step := "work"
			if !rush && rapid.IntRange(0, 19).Draw(t, "happens") == 0 {
				step = rapid.SampledFrom([]string{"takeover", "loss"}).Draw(t, "what")
			}
			switch step {
			case "work":
				w.work()
			case "takeover":
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{0, 0, 20 * time.Second, -20 * time.Second}).Draw(t, "skew"))
				w.most = rapid.SampledFrom([]int{w.most, w.most, 64, 100, 400}).Draw(t, "most")
				w.takeOver()
			case "loss":
				w.lose()
				w.takeOver()
			}
		}
	})
	for _, what := range []string{
		"decided", "repeated", "reused", "too old", "raised for memory", "from the future", "dedupe-full", "backpressure", "dropped with time",
		"aborted", "died", "taken over", "taken over with a raised floor", "front lost", "tail lost", "all lost", "offsets lost", "refused after a loss", "timeless decided again",
	} {
		if hits[what] == 0 {
			t.Errorf("%s: never", what)
		}
	}
	t.Log(hits)
}

func (w *dedupeWorld) hit(what string) { w.hits[what]++ }

// work decides one batch.
func (w *dedupeWorld) work() {
	t := w.t
	var inputs []Input
	for range rapid.IntRange(1, 5).Draw(t, "commands") {
		inputs = append(inputs, w.draw())
	}
	if !w.p.HasRoom(w.now, len(inputs)) {
		w.hit("backpressure")
		if later := w.now.Add(MaxClockAhead + keepAlways + timedSlice); !w.p.HasRoom(later, len(inputs)) {
			t.Fatalf("no room at %s, and none at %s", w.now, later)
		}
		return
	}
	before := w.p.CommandIDs()
	switch rapid.SampledFrom([]string{"commits", "commits", "commits", "commits", "commits", "commits", "commits", "commits", "aborts", "dies"}).Draw(t, "fate") {
	case "commits":
		b := w.commit(t, w.p, w.now, inputs...)
		w.check(before, b)
		if cost, most := w.p.ids.timed.cost(w.p.ids.floors.timed), w.p.ids.roomOfTimed(w.p.ids.floors)+8*sliceCost; cost > most {
			t.Fatalf("ids with a time take the place of %d, at most %d may be", cost, most)
		}
		if w.p.CommandIDs().Held < before.Held {
			w.hit("dropped with time")
		}
		w.next += int64(len(inputs))
	case "aborts":
		w.run(t, w.p, w.now, false, inputs...)
		w.hit("aborted")
		w.takeOver()
	case "dies":
		b := w.run(t, w.p, w.now, true, inputs...)
		w.check(before, b)
		w.next += int64(len(inputs))
		w.hit("died")
		w.takeOver()
	}
	w.sent = append(w.sent, inputs...)
}

// draw makes a command: a new one, or one that was sent before.
func (w *dedupeWorld) draw() Input {
	t := w.t
	offset := w.next + int64(w.fresh)
	w.fresh++
	if len(w.sent) > 0 && rapid.IntRange(0, 2).Draw(t, "again") == 0 {
		again := w.sent[rapid.IntRange(max(0, len(w.sent)-150), len(w.sent)-1).Draw(t, "which")].Command
		body := again.Data
		if rapid.IntRange(0, 5).Draw(t, "reuses") == 0 {
			body = Put{7}
		}
		return command(offset, again.AggregateID, again.ID, body, nil)
	}
	id := timelessID(w.fresh)
	if rapid.IntRange(0, 3).Draw(t, "timed") >= w.timeless {
		age := rapid.SampledFrom([]time.Duration{0, 0, 0, 0, time.Second, 20 * time.Second, 2 * time.Minute, time.Hour, 23 * time.Hour, 25 * time.Hour, -50 * time.Second, -2 * time.Minute}).Draw(t, "age")
		id = timedID(w.now.Add(-age), w.fresh)
	}
	body := rapid.SampledFrom([]any{Put{1}, Take{5}}).Draw(t, "body")
	return command(offset, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "aggregate"), id, body, nil)
}

// check holds a committed batch against the model.
func (w *dedupeWorld) check(before CommandIDs, b *Batch) {
	t := w.t
	w.pending, w.rebound = false, false
	m, err := ParseMetadata(w.metadata)
	if err != nil {
		t.Fatal(err)
	}
	if m.Floor.Before(w.floor) || m.At.Before(w.at) {
		t.Fatalf("committed is %s, after floor %s and time %s", w.metadata, w.floor, w.at)
	}
	if m.Floor.After(before.Floor) && m.Floor.After(w.now.Add(-KeepCommandIDs)) {
		w.hit("raised for memory")
	}
	w.floor, w.at = m.Floor, m.At
	for _, d := range b.Decisions {
		c, o := d.Input.Command, d.Outcome
		key := c.AggregateID + "/" + c.ID
		known, was := w.model[key]
		ms, timed := timeOf(uuid.MustParse(c.ID))
		of := time.UnixMilli(ms)
		remembered := was && (timed && !of.Before(m.Floor) || !timed && !known.lost && w.now.Sub(known.at) <= KeepCommandIDs)
		switch {
		case o.Decision:
			w.hit("decided")
			if was && (timed && !known.unknowable || !timed && !known.lost && w.now.Sub(known.at) < KeepCommandIDs) {
				t.Fatalf("%s, decided at %s, is decided again at %s; floor %s", key, known.at, w.now, m.Floor)
			}
			if was {
				w.hit("timeless decided again")
			}
			w.model[key] = modelID{offset: d.OutcomeOffset, at: o.Time}
		case o.Status != Failed: // a repeat
			w.hit("repeated")
			if !was || o.CommandOffset != w.outcomes[known.offset].CommandOffset {
				t.Fatalf("%s repeats command %d, the model knows %+v", key, o.CommandOffset, known)
			}
		case o.Code == CodeKeyReused:
			w.hit("reused")
			if !was {
				t.Fatalf("%s is reused and was never used", key)
			}
		case o.Code == CodeTooOld:
			w.hit("too old")
			if !timed || !of.Before(m.Floor) {
				t.Fatalf("%s is too old, the floor is %s", key, m.Floor)
			}
		case o.Code == CodeFromTheFuture:
			w.hit("from the future")
			if !timed || !of.After(b.At.Add(MaxClockAhead)) {
				t.Fatalf("%s of %s is from the future of %s", key, of, b.At)
			}
		case o.Code == CodeDedupeFull:
			w.hit("dedupe-full")
			if n := w.timelessHeld(); timed || remembered || n+8*sliceCost+len(b.Decisions) < w.p.ids.roomOfTimeless() {
				t.Fatalf("%s is refused with %d ids without a time, of %d that may be", key, n, w.p.ids.roomOfTimeless())
			}
		default:
			t.Fatalf("%s: %s", key, brief(d))
		}
		if remembered && (o.Decision || o.Status == Failed && o.Code != CodeKeyReused) && !known.lost {
			t.Fatalf("%s, decided at %s, is answered %s", key, known.at, brief(d))
		}
	}
}

// timelessHeld is how many ids without a time must or may be remembered.
func (w *dedupeWorld) timelessHeld() int {
	n := 0
	for key, known := range w.model {
		if _, timed := timeOf(uuid.MustParse(key[2:])); !timed && w.now.Sub(known.at) <= KeepCommandIDs+timelessSlice {
			n++
		}
	}
	return n
}

// lose takes outcomes out of the log.
func (w *dedupeWorld) lose() {
	t := w.t
	if len(w.outcomes) == 0 {
		return
	}
	from, to := w.start, w.nextOutcome // what goes
	offsets, without := slices.Sorted(maps.Keys(w.outcomes)), w.metadata == ""
	what := rapid.SampledFrom([]string{"front lost", "front lost", "tail lost", "all lost", "offsets lost"}).Draw(t, "what")
	cut := rapid.SampledFrom(offsets[max(0, len(offsets)-20):]).Draw(t, "cut")
	switch what {
	case "front lost":
		to, w.start = cut, cut
	case "tail lost": // and what was there is written over
		from, w.nextOutcome = cut, cut
	case "all lost": // a new topic
		from, w.start, w.nextOutcome = 0, 0, 0
	case "offsets lost": // they expired, and retention went on
		to, w.start = cut, cut
		w.next, w.metadata = w.next+int64(w.fresh), ""
		w.topics.next, w.floor, w.at = 0, time.Time{}, time.Time{}
	}
	w.hit(what)
	w.pending = true
	for o := range w.outcomes {
		if o >= from && o < to {
			delete(w.outcomes, o)
		}
	}
	for key, known := range w.model {
		known.unknowable = known.unknowable || known.lost && what == "offsets lost"
		if known.offset >= from && known.offset < to {
			known.lost = true
			known.unknowable = known.unknowable || without && to > from && w.nextOutcome == from
		}
		w.model[key] = known
	}
}

// takeOver recovers the partition as another worker does.
func (w *dedupeWorld) takeOver() {
	t := w.t
	m, committed := Metadata{LastEvent: -1, LastOutcome: -1, LowestOutcome: -1}, (*Metadata)(nil)
	if w.metadata != "" {
		var err error
		if m, err = ParseMetadata(w.metadata); err != nil {
			t.Fatal(err)
		}
		committed = &m
	}
	if w.p != nil && w.p.ids.max != w.most {
		w.rebound = true
	}
	p := NewPartition(jars, 3, w.topics.next, m)
	p.BoundCommandIDs(w.now, int64(w.most)*CommandIDBytes)
	for _, e := range w.events {
		p.RecoverEvent(e)
	}
	for o := max(m.FirstOutcome(), w.start); o < w.nextOutcome; o++ {
		if out, ok := w.outcomes[o]; ok {
			p.RecoverOutcome(out, w.inputs[o])
		}
	}
	gap := p.CheckOutcomes(w.now, committed, w.start)
	w.hit("taken over")
	switch floor := p.CommandIDs().Floor; {
	case floor.Before(m.Floor):
		t.Fatalf("the floor falls from %s to %s", m.Floor, floor)
	case gap != nil && !w.pending:
		t.Fatalf("outcomes are missed that are there: %s, log from %d", w.metadata, w.start)
	case gap != nil:
		w.hit("refused after a loss")
	case !w.pending && !w.rebound && w.metadata != "" && floor.After(w.now.Add(-KeepCommandIDs)) && !w.now.Before(m.At):
		w.hit("taken over with a raised floor")
		if !floor.Equal(m.Floor) {
			t.Fatalf("the floor rises from %s to %s in a takeover", m.Floor, floor)
		}
	}
	w.p = p
}
