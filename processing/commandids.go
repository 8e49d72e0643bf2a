package processing

import (
	"crypto/sha256"
	"time"

	"github.com/google/uuid"
)

const (
	// KeepCommandIDs is how long a command id is recognised.
	KeepCommandIDs = 24 * time.Hour
	// MaxClockAhead is how far the time in a command id may lie ahead of the worker's clock.
	MaxClockAhead = time.Minute

	sweepEvery = time.Minute
)

// commandIDs is the memory of the command ids that a partition has decided. It is sound: an id that is
// not in it and not below the floor was never decided.
type commandIDs struct {
	floor   time.Time // ids whose own time is below it are refused
	entries map[idKey]idEntry
	swept   time.Time
	lowest  int64 // no entry has an outcome at a lower offset
}

// idKey is the first half of sha256 of aggregate id and command id: a command id belongs to an aggregate.
type idKey [16]byte

func keyOf(aggregateID string, id uuid.UUID) (k idKey) {
	sum := sha256.Sum256(append(append(make([]byte, 0, 160), id[:]...), aggregateID...))
	copy(k[:], sum[:])
	return k
}

type idEntry struct {
	outcome  int64 // offset in the outcomes topic
	bodyHash [16]byte
	time     int64 // milliseconds: the id's own time, or its outcome's for an id without one
}

func newCommandIDs(floor time.Time) *commandIDs {
	return &commandIDs{floor: floor, entries: map[idKey]idEntry{}, lowest: -1}
}

// timeOf returns the time in a version 7 UUID, and false for an id without one.
func timeOf(id uuid.UUID) (time.Time, bool) {
	if id.Version() != 7 {
		return time.Time{}, false
	}
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return time.UnixMilli(ms), true
}

// floorAt returns what the floor is at now: it only rises.
func (c *commandIDs) floorAt(now time.Time) time.Time {
	if f := now.Add(-KeepCommandIDs); f.After(c.floor) {
		return f
	}
	return c.floor
}

// recall returns what is known of an id. One below the floor is as good as forgotten: whether it was
// swept yet must not show, for a recovered partition does not read it back.
func (c *commandIDs) recall(key idKey, floor time.Time) (idEntry, bool) {
	e, ok := c.entries[key]
	return e, ok && e.time >= floor.UnixMilli()
}

// advance raises the floor to what is kept at now, and forgets the ids below it.
func (c *commandIDs) advance(now time.Time) {
	c.floor = c.floorAt(now)
	if now.Sub(c.swept) < sweepEvery {
		return
	}
	c.swept = now
	floor := c.floor.UnixMilli()
	c.lowest = -1
	for k, e := range c.entries {
		if e.time < floor {
			delete(c.entries, k)
			continue
		}
		c.lower(e.outcome)
	}
}

func (c *commandIDs) lower(outcome int64) {
	if c.lowest < 0 || outcome < c.lowest {
		c.lowest = outcome
	}
}

// remember adds a decided id.
func (c *commandIDs) remember(aggregateID string, id uuid.UUID, outcome int64, bodyHash [16]byte, decided time.Time) {
	at, ok := timeOf(id)
	if !ok {
		at = decided
	}
	if at.UnixMilli() < c.floor.UnixMilli() {
		return
	}
	c.entries[keyOf(aggregateID, id)] = idEntry{outcome: outcome, bodyHash: bodyHash, time: at.UnixMilli()}
	c.lower(outcome)
}
