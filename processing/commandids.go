package processing

import (
	"math"
	"time"

	"github.com/google/uuid"
)

const (
	// KeepCommandIDs is how long a command id is recognised, unless memory is short: one with a time for
	// as long after that, one without for as long after it was decided, or some hours longer.
	KeepCommandIDs = 24 * time.Hour
	// MaxClockAhead is how far the time in a command id may lie ahead of the worker's clock.
	MaxClockAhead = time.Minute

	// keepAlways is how old a command id must be to be forgotten for want of memory.
	keepAlways = time.Minute

	// timedSlice is the grain in which ids with a time are forgotten. With keepAlways it is what must fit
	// into memory for the worker to go on at all: so it is short.
	timedSlice = 15 * time.Second
	// timelessSlice is that of ids without one. An id is looked for in all of them: so it is long.
	timelessSlice = 4 * time.Hour

	// Of the bound on ids, those without a time get at most three quarters: they stay for a day, and the
	// others must go on.
	timelessNumerator, timelessDenominator = 3, 4
)

// commandIDs is the memory of the command ids that a partition has decided. It is sound: an id with a
// time that is not in it and not below the floor was never decided.
type commandIDs struct {
	floors
	timed, timeless idSlices
	max             int   // ids that it may hold
	lowest          int64 // no id in it has an outcome at a lower offset; -1 if there are none
}

// floors are the times below which ids are not known, in Unix milliseconds. They only rise.
type floors struct {
	timed    int64 // ids with a time of before it are refused
	timeless int64 // ids without one that were decided before it, and not in its slice, are forgotten
}

// timeOf returns the time in a version 7 UUID in milliseconds, and false for an id without one.
func timeOf(id uuid.UUID) (ms int64, timed bool) {
	if id.Version() != 7 {
		return 0, false
	}
	return int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5]), true
}

func newCommandIDs(floor time.Time) *commandIDs {
	return &commandIDs{
		floors: floors{timed: floor.UnixMilli(), timeless: math.MinInt64}, max: math.MaxInt32, lowest: -1,
		timed: idSlices{length: timedSlice.Milliseconds()}, timeless: idSlices{length: timelessSlice.Milliseconds()},
	}
}

// floorsAt returns what the floors are at now, if memory suffices.
func (c *commandIDs) floorsAt(now time.Time) floors {
	keep := now.Add(-KeepCommandIDs).UnixMilli()
	return floors{timed: max(c.floors.timed, keep), timeless: max(c.floors.timeless, keep)}
}

// floorsFor returns what the floors are at now, raised as far as it takes to hold n more ids, and whether
// they can be held.
func (c *commandIDs) floorsFor(now time.Time, n int) (f floors, fits bool) {
	f = c.floorsAt(now)
	over := c.timed.cost(f.timed) + n - c.roomOfTimed(f)
	if n > 0 {
		over += sliceCost // of the slice that they may begin
	}
	highest := now.Add(-keepAlways).UnixMilli()
	for i := c.timed.ended(f.timed); over > 0 && i < len(c.timed.list) && c.timed.end(i) <= highest; i++ {
		f.timed = c.timed.end(i)
		over -= c.timed.list[i].cost()
	}
	return f, over <= 0
}

// roomOfTimed is how many ids with a time may be held. There is always some: those without a time, which
// may have been taken under a larger bound, stay for a day.
func (c *commandIDs) roomOfTimed(f floors) int {
	return max(c.max-c.timeless.cost(f.timeless), c.max-c.roomOfTimeless())
}

// roomOfTimeless is how many ids without a time may be held.
func (c *commandIDs) roomOfTimeless() int { return c.max / timelessDenominator * timelessNumerator }

// timelessFit reports whether n ids without a time can be remembered beside those that are.
func (c *commandIDs) timelessFit(f floors, n int) bool {
	return c.timeless.cost(f.timeless)+sliceCost+n <= c.roomOfTimeless()
}

// recall returns what is known of an id under floors. One below them is as good as forgotten: whether it
// was dropped yet must not show, for a recovered partition does not read it back.
func (c *commandIDs) recall(key idKey, id uuid.UUID, f floors) (idEntry, bool) {
	ms, timed := timeOf(id)
	switch {
	case !timed:
		return c.timeless.findFrom(f.timeless, key)
	case ms < f.timed:
		return idEntry{}, false
	default:
		return c.timed.find(ms, key)
	}
}

// advance raises the floors, and drops the slices of ids that end below them.
func (c *commandIDs) advance(f floors) {
	c.floors = f
	timed, timeless := c.timed.drop(f.timed), c.timeless.drop(f.timeless)
	if timed || timeless {
		c.lowest = c.lowestAt(f)
	}
}

// lowestAt returns what lowest is once the floors are risen to f.
func (c *commandIDs) lowestAt(f floors) int64 {
	return c.timed.lowest(f.timed, c.timeless.lowest(f.timeless, -1))
}

// remember adds an id that was decided at a time. Ids come in the order of their outcomes.
func (c *commandIDs) remember(aggregateID string, id uuid.UUID, outcome int64, bodyHash [16]byte, decided time.Time) {
	e := idEntry{key: keyOf(aggregateID, id), body: bodyOf(bodyHash), outcome: outcome + 1}
	if ms, timed := timeOf(id); !timed {
		c.timeless.put(decided.UnixMilli(), e)
	} else if ms >= c.floors.timed {
		c.timed.put(ms, e)
	} else {
		return
	}
	if c.lowest < 0 || outcome < c.lowest {
		c.lowest = outcome
	}
}

// CommandIDs is what a partition remembers of command ids.
type CommandIDs struct {
	// Held is how many ids are remembered, Bytes the memory that they take.
	Held  int
	Bytes int64
	// Floor is the time below which ids are refused.
	Floor time.Time
}

func (c *commandIDs) figures() CommandIDs {
	return CommandIDs{Held: c.timed.ids() + c.timeless.ids(), Bytes: c.timed.bytes() + c.timeless.bytes(), Floor: time.UnixMilli(c.floors.timed)}
}
