package processing

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
)

// mostIDBytes is what a remembered id may take.
const mostIDBytes = 80

// randomID is a UUID of a version; of version 7, of a time.
func randomID(version byte, at time.Time) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	if version == 7 {
		ms := at.UnixMilli()
		for i := range 6 {
			id[i] = byte(ms >> (40 - 8*i))
		}
	}
	id[6], id[8] = id[6]&0x0f|version<<4, id[8]&0x3f|0x80
	return id
}

// heapNow is what the heap holds.
func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestCommandIDsTakeLittleMemory measures a million ids, and more until a table has just grown: that is when
// it is at its emptiest.
func TestCommandIDsTakeLittleMemory(t *testing.T) {
	const many = 1_000_000
	for _, c := range []struct {
		name    string
		version byte
		over    time.Duration // the ids are spread over
		grow    bool
	}{
		{"at once", 7, 10 * time.Second, true},
		{"within ten minutes", 7, 10 * time.Minute, true},
		{"in a day", 7, KeepCommandIDs, false},
		{"without a time, at once", 5, time.Second, true},
		{"without a time, in a day", 5, KeepCommandIDs, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := heapNow()
			ids := newCommandIDs(noon.Add(-KeepCommandIDs))
			n, grown := 0, false
			for ; n < many || c.grow && !grown; n++ {
				tables := ids.timed.tables + ids.timeless.tables
				at := noon.Add(time.Duration(n%many) * c.over / many)
				ids.remember("order-"+strconv.Itoa(n), randomID(c.version, at), int64(n), [16]byte{1}, at)
				grown = tables < ids.timed.tables+ids.timeless.tables
			}
			took := heapNow() - before
			each := float64(took) / float64(n)
			t.Logf("%d ids: %.1f bytes each, the tables alone %.1f", n, each, float64(ids.figures().Bytes)/float64(n))
			if held := ids.figures().Held; held != n || each > mostIDBytes || each < 32 {
				t.Errorf("%d ids are held, of %.1f bytes", held, each)
			}
			if f := ids.figures(); float64(f.Bytes) < 0.8*float64(took) || float64(f.Bytes) > 1.2*float64(took) {
				t.Errorf("said to take %d bytes, it is %d", f.Bytes, took)
			}
			ids.advance(ids.floorsAt(noon.Add(4 * KeepCommandIDs)))
			if left := heapNow() - before; left > took/100 {
				t.Errorf("once forgotten, they take %d bytes of %d", left, took)
			}
			runtime.KeepAlive(ids)
		})
	}
}

// TestFullMemoryRaisesTheFloor sends more than fits, at a steady rate: the floor rises, in step with the
// clock, never above the last minute, and the bound is kept.
func TestFullMemoryRaisesTheFloor(t *testing.T) {
	const bound, rate = 30_000, 100 // ids, ids a second
	p := NewPartition(jars, 3, 0, Metadata{LastEvent: -1, LastOutcome: -1, LowestOutcome: -1})
	p.BoundCommandIDs(noon, bound*CommandIDBytes)
	var offset int64
	for second := range 1200 {
		now := noon.Add(time.Duration(second) * time.Second)
		var inputs []Input
		for range rate {
			inputs = append(inputs, command(offset, "a", randomID(7, now).String(), Look{}, nil))
			offset++
		}
		if !p.HasRoom(now, rate) {
			t.Fatalf("no room after %d s", second)
		}
		b := p.Decide(now, inputs)
		for i, d := range b.Decisions {
			if !d.Outcome.Decision {
				t.Fatalf("%s", brief(d))
			}
			d.OutcomeOffset = offset + int64(i)
		}
		p.Commit(b)
		f := p.CommandIDs()
		if limit := now.Add(-keepAlways); f.Floor.After(limit) {
			t.Fatalf("after %d s the floor is %s, above %s", second, f.Floor, limit)
		}
		if p.ids.timed.total > bound || f.Held > bound || f.Bytes > bound*CommandIDBytes {
			t.Fatalf("after %d s %d ids take %d bytes, at most %d may", second, f.Held, f.Bytes, bound*CommandIDBytes)
		}
	}
	// 300 s of ids fit, less what a slice rounds up.
	if f, end := p.CommandIDs(), noon.Add(1200*time.Second); f.Floor.Before(end.Add(-305*time.Second)) || f.Floor.After(end.Add(-280*time.Second)) {
		t.Errorf("the floor is %s before the end", end.Sub(f.Floor))
	}
}

// TestYoungIDsStay: what is younger than a minute is not forgotten. The partition has no room until it is older.
func TestYoungIDsStay(t *testing.T) {
	w := newTopics()
	p := w.recover(t)
	p.BoundCommandIDs(noon, 100*CommandIDBytes)
	for i := range 9 {
		var inputs []Input
		for j := range 10 {
			inputs = append(inputs, command(int64(i*10+j), "a", timedID(noon, i*10+j), Look{}, nil))
		}
		w.commit(t, p, noon, inputs...)
	}
	for wait, want := range map[time.Duration]bool{0: false, 59 * time.Second: false, 74999 * time.Millisecond: false, 75 * time.Second: true} {
		if got := p.HasRoom(noon.Add(wait), 10); got != want {
			t.Errorf("room after %s: %t", wait, got)
		}
	}
	if !p.HasRoom(noon, 0) {
		t.Error("no room for nothing")
	}
	now := noon.Add(75 * time.Second)
	w.commit(t, p, now, command(90, "a", timedID(now, 1), Look{}, nil), command(91, "a", timedID(noon, 1), Look{}, nil), command(92, "a", timedID(noon.Add(15*time.Second), 1), Look{}, nil),
		command(93, "a", timedID(now, 2), Look{}, nil), command(94, "a", timedID(now, 3), Look{}, nil))
	if got, want := w.outcomes[w.nextOutcome-5].Code, CodeTooOld; got != want {
		t.Errorf("an id that was forgotten is answered %q, want %q", got, want)
	}
	if f := p.CommandIDs(); !f.Floor.Equal(noon.Add(15*time.Second)) || f.Held != 4 {
		t.Errorf("%+v", f)
	}
}

// TestIDsWithoutATimeFillMemory: they get three quarters, then fail; ids with a time go on, and time heals.
func TestIDsWithoutATimeFillMemory(t *testing.T) {
	w := newTopics()
	p := w.recover(t)
	p.BoundCommandIDs(noon, 100*CommandIDBytes)
	count := map[string]int{}
	for i := range 100 {
		b := w.commit(t, p, noon, command(int64(i), "a", timelessID(i), Look{}, nil))
		count[brief(b.Decisions[0])]++
	}
	if full := count["FAILED dedupe-full v0"]; full != 100-67 || len(count) != 2 {
		t.Errorf("%v, want 67 accepted: 75 less this slice and another", count)
	}
	// Those that are known are recognised, those with a time decided, though the bound becomes smaller.
	p.BoundCommandIDs(noon, 64*CommandIDBytes)
	if !p.HasRoom(noon, 10) {
		t.Error("no room for ids with a time")
	}
	b := p.Decide(noon, []Input{command(100, "a", timelessID(3), Look{}, nil), command(101, "a", timedID(noon, 1), Look{}, nil), command(102, "a", timelessID(100), Look{}, nil)})
	if b.Decisions[0].Repeats < 0 || !b.Decisions[1].Outcome.Decision || b.Decisions[2].Outcome.Code != CodeDedupeFull {
		t.Errorf("%s; %s; %s", brief(b.Decisions[0]), brief(b.Decisions[1]), brief(b.Decisions[2]))
	}
	if b := p.Decide(noon.Add(KeepCommandIDs+timelessSlice), []Input{command(102, "a", timelessID(100), Look{}, nil)}); !b.Decisions[0].Outcome.Decision {
		t.Errorf("a day later: %s", brief(b.Decisions[0]))
	}
	// Within one batch as well, which counts the slice that it begins.
	q := newTopics().recover(t)
	q.BoundCommandIDs(noon, 100*CommandIDBytes)
	var inputs []Input
	for i := range 80 {
		inputs = append(inputs, command(int64(i), "a", timelessID(i), Look{}, nil))
	}
	if b := q.Decide(noon, inputs); !b.Decisions[70].Outcome.Decision || b.Decisions[71].Outcome.Code != CodeDedupeFull {
		t.Errorf("in a batch: %s; %s", brief(b.Decisions[70]), brief(b.Decisions[71]))
	}
}

func BenchmarkCommandIDs(b *testing.B) {
	for name, version := range map[string]byte{"timed": 7, "timeless": 5} {
		b.Run(name, func(b *testing.B) {
			ids := newCommandIDs(noon.Add(-KeepCommandIDs))
			f := ids.floorsAt(noon)
			for i := 0; b.Loop(); i++ {
				at := noon.Add(time.Duration(i%1_000_000) * time.Millisecond)
				id := randomID(version, at)
				ids.recall(keyOf("order-1", id), id, f)
				ids.remember("order-1", id, int64(i), [16]byte{1}, at)
			}
		})
	}
}
