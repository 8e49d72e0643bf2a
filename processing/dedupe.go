package processing

import (
	"fmt"
	"math"
	"time"
)

// BoundCommandIDs bounds the memory that command ids take, from now on; before, it is without bound. Said
// before recovery, it bounds that too. A smaller bound than before takes effect with the next batch. Ids
// of the last minute, and those without a time that are remembered already, stay above any bound.
func (p *Partition) BoundCommandIDs(now time.Time, bytes int64) {
	p.bounded = now
	p.ids.max = int(min(bytes/CommandIDBytes, math.MaxInt32))
}

// keepBound forgets what is too much while ids are read back: more than half above the bound, as it cannot
// be unless the bound was a larger one. So the floor does not rise by a takeover alone. That it may rise
// above the committed one is right at any time: what is refused for it is committed along with it.
func (p *Partition) keepBound() {
	if p.bounded.IsZero() {
		return
	}
	if f, _ := p.ids.floorsFor(p.bounded, -p.ids.max/2); f.timed > p.ids.floors.timed {
		p.ids.advance(f)
	}
}

// HasRoom reports whether n commands can be decided at now: else the memory of command ids is full, of ids
// that are too young to be forgotten. It has, once they are older.
func (p *Partition) HasRoom(now time.Time, n int) bool {
	_, fits := p.ids.floorsFor(now, n)
	return fits
}

// CommandIDs returns what is remembered of command ids, as of the last commit.
func (p *Partition) CommandIDs() CommandIDs { return p.ids.figures() }

// Gap says that what is known of command ids is not whole.
type Gap struct {
	// Below is the time below which ids are refused for it: all that may have been decided unknown to us.
	Below time.Time
	// Cause is what is missing.
	Cause string
}

// CheckOutcomes ends a recovery: committed is the metadata that it began with, nil if nothing was ever
// committed, and start is where the log of outcomes begins. Where outcomes are missing that command ids may
// be known by, every id that may have been decided by one of them is refused from now on. It returns nil if
// none is missing, or if none is refused that would not be at now anyway.
//
// An id that has no time cannot be refused: it may be decided a second time.
func (p *Partition) CheckOutcomes(now time.Time, committed *Metadata, start int64) *Gap {
	until, cause := p.unknownUntil(now, committed, start)
	f := p.ids.floorsAt(now)
	above := until.Add(MaxClockAhead).UnixMilli() + 1 // an id of then was too far ahead to be decided
	if cause == "" || above <= f.timed {
		return nil
	}
	f.timed = above
	p.ids.advance(f)
	return &Gap{Below: time.UnixMilli(above).UTC(), Cause: cause}
}

// unknownUntil returns when the last decision was made that may be unknown, and why it is; "" for none.
func (p *Partition) unknownUntil(now time.Time, committed *Metadata, start int64) (until time.Time, cause string) {
	if m := committed; m != nil {
		switch {
		case m.LastOutcome >= start && p.lastOut < m.LastOutcome:
			return m.At, fmt.Sprintf("outcomes up to offset %d were written, and end at %d", m.LastOutcome, p.lastOut)
		case m.LowestOutcome < 0 || m.LowestOutcome >= start:
			return now, ""
		case !p.firstOut.IsZero() && p.firstOut.Before(m.At): // those before it were not made later
			return p.firstOut, fmt.Sprintf("outcomes from offset %d on are needed, and begin at %d", m.LowestOutcome, start)
		default:
			return m.At, fmt.Sprintf("outcomes from offset %d on are needed, and begin at %d", m.LowestOutcome, start)
		}
	}
	// Nobody knows how far outcomes went. But whatever was accepted has left its event.
	switch {
	case p.lastOut >= 0 && p.lastCommand > p.lastInput:
		until = p.at
		if p.states.base.Offset > 0 && now.After(until) { // nobody knows when what a snapshot holds was decided
			until = now
		}
		return until, fmt.Sprintf("no offset is committed, command %d has led to events, and outcomes end with that of command %d", p.lastCommand, p.lastInput)
	case p.lastOut >= 0 && start == 0:
		return now, ""
	case p.lastOut >= 0 && !p.firstOut.IsZero():
		return p.firstOut, fmt.Sprintf("no offset is committed, and outcomes begin at %d", start)
	case p.Reached() < 0 && start == 0:
		return now, ""
	case p.at.After(now):
		return p.at, "no offset is committed, and no decision is among the outcomes"
	default:
		return now, "no offset is committed, and no decision is among the outcomes"
	}
}
