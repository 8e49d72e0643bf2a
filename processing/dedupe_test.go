package processing

import (
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// TestGapInOutcomes recovers from logs of outcomes that lack something, and from some that do not.
func TestGapInOutcomes(t *testing.T) {
	// Decided were two commands at noon, one of them sent again an hour later, and another half an hour after that.
	outcomes := []Outcome{
		{CommandID: timedID(noon, 1), AggregateID: "a", Status: Accepted, Decision: true, Time: noon},
		{CommandID: timedID(noon, 2), AggregateID: "a", Status: Refused, Decision: true, Time: noon},
		{CommandID: timedID(noon, 1), AggregateID: "a", Status: Accepted, Time: noon}, // the repeat
		{CommandID: timedID(noon.Add(90*time.Minute), 3), AggregateID: "a", Status: Accepted, Decision: true, Time: noon.Add(90 * time.Minute)},
	}
	last := noon.Add(90 * time.Minute)
	whole := &Metadata{Floor: noon.Add(-23 * time.Hour), At: last, LastEvent: 1, LastOutcome: 3, LowestOutcome: 0}
	needless := &Metadata{Floor: noon.Add(-23 * time.Hour), At: last, LastEvent: 1, LastOutcome: 3, LowestOutcome: -1}
	aDay, minute := noon.Add(2*time.Hour), MaxClockAhead+time.Millisecond
	for _, c := range []struct {
		name      string
		committed *Metadata
		from, to  int // of the outcomes that are there
		start     int64
		now       time.Time
		want      time.Time // the gap's Below, zero for none
		cause     string
	}{
		{"whole", whole, 0, 4, 0, aDay, time.Time{}, ""},
		{"front gone", whole, 1, 4, 1, aDay, noon.Add(minute), "begin at 1"},
		{"front gone up to a repeat, which does not tell when", whole, 2, 4, 2, aDay, last.Add(minute), "begin at 2"},
		{"front gone, only a repeat is left", &Metadata{At: last, LastOutcome: 2, LowestOutcome: 0}, 2, 3, 2, aDay, last.Add(minute), "begin at 2"},
		{"front gone that is not needed", needless, 2, 4, 2, aDay, time.Time{}, ""},
		{"front gone, a day later", whole, 2, 4, 2, last.Add(KeepCommandIDs + minute), time.Time{}, ""},
		{"tail gone", whole, 0, 3, 0, aDay, last.Add(minute), "end at 2"},
		{"all gone", whole, 0, 0, 0, aDay, last.Add(minute), "end at -1"},
		{"all gone by retention", whole, 0, 0, 9, aDay, last.Add(minute), "begin at 9"},
		{"all gone by retention and not needed", needless, 0, 0, 9, aDay, time.Time{}, ""},
		{"no offset, whole", nil, 0, 4, 0, aDay, time.Time{}, ""},
		{"no offset, front gone", nil, 1, 4, 1, aDay, noon.Add(minute), "begin at 1"},
		{"no offset, front gone up to a repeat", nil, 2, 4, 2, aDay, last.Add(minute), "begin at 2"},
		{"no offset, only a repeat is left", nil, 2, 3, 2, aDay, last.Add(minute), "has led to events"},
		{"no offset, tail gone", nil, 0, 3, 0, aDay, last.Add(minute), "has led to events"},
		{"no offset, no outcomes", nil, 0, 0, 0, aDay, aDay.Add(minute), "no decision"},
		{"no offset, no outcomes, a clock that is behind", nil, 0, 0, 0, noon, last.Add(minute), "no decision"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Metadata{LastEvent: -1, LastOutcome: -1, LowestOutcome: -1}
			if c.committed != nil {
				m = *c.committed
			}
			p := NewPartition(jars, 3, 0, m)
			p.RecoverEvent(Event{AggregateID: "a", Data: CoinsPut{1}, Version: 1, Time: noon, Offset: 0, CommandOffset: 0, Last: true})
			p.RecoverEvent(Event{AggregateID: "a", Data: CoinsPut{1}, Version: 2, Time: last, Offset: 1, CommandOffset: 3, Last: true})
			for i := c.from; i < c.to; i++ {
				o := outcomes[i]
				o.Offset = int64(i)
				p.RecoverOutcome(o, int64(i))
			}
			gap := p.CheckOutcomes(c.now, c.committed, c.start)
			switch {
			case gap == nil && !c.want.IsZero():
				t.Fatalf("no gap, want one below %s", c.want)
			case gap != nil && (!gap.Below.Equal(c.want) || !strings.Contains(gap.Cause, c.cause)):
				t.Errorf("a gap below %s: %s; want %s, %q", gap.Below, gap.Cause, c.want, c.cause)
			case gap != nil && !p.CommandIDs().Floor.Equal(c.want):
				t.Errorf("the floor is %s", p.CommandIDs().Floor)
			}
		})
	}
	// With a snapshot that has all events, their times are not known.
	for name, n := range map[string]int{"tail gone": 3, "no outcomes": 0, "whole": 4} {
		p := NewPartition(jars, 3, 0, Metadata{LastEvent: -1, LastOutcome: -1, LowestOutcome: -1})
		p.UseSnapshot(NewStateMemory(1<<20), readstore.Checkpoint{Offset: 2, Command: 3, Change: "c"})
		for i := range n {
			o := outcomes[i]
			o.Offset = int64(i)
			p.RecoverOutcome(o, int64(i))
		}
		gap := p.CheckOutcomes(aDay, nil, 0)
		if (gap == nil) != (n == 4) || gap != nil && !gap.Below.Equal(aDay.Add(minute)) {
			t.Errorf("a snapshot, %s: gap %+v", name, gap)
		}
		if p.Next() != 4 {
			t.Errorf("a snapshot, %s: command %d is next, although the snapshot has 3", name, p.Next())
		}
	}
	fresh := NewPartition(jars, 3, 0, Metadata{LastEvent: -1, LastOutcome: -1, LowestOutcome: -1})
	if gap := fresh.CheckOutcomes(noon, nil, 0); gap != nil {
		t.Errorf("a new partition has a gap: %+v", gap)
	}
}

func TestCheckClock(t *testing.T) {
	for _, c := range []struct {
		from, to time.Duration // before and after the service's noon
		want     string
	}{
		{0, 0, ""},
		{30 * time.Second, 40 * time.Second, ""}, {-50 * time.Second, -30 * time.Second, ""},
		{-time.Hour, time.Hour, ""}, // it took long to ask: nothing is known
		{30*time.Second + 1, time.Minute, "30s ahead of that of Redis"},
		{90 * time.Second, 2 * time.Minute, "1m30s ahead of that of Redis"},
		{-3 * time.Minute, -2 * time.Minute, "2m0s behind that of Redis"},
	} {
		err := CheckClock("Redis", noon, noon.Add(c.from), noon.Add(c.to))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		}
	}
}
