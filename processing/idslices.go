package processing

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/google/uuid"
)

const (
	idEntryBytes = int64(unsafe.Sizeof(idEntry{}))
	idSliceBytes = int64(unsafe.Sizeof(idSlice{}))

	// A table of ids is at most 5/6 full and grows by a quarter: at its emptiest, just grown, an id takes
	// 32 bytes * 6/5 * 5/4 = 48, and what the allocator rounds up.
	fullNumerator, fullDenominator = 5, 6
	leastTable                     = 4

	// CommandIDBytes is what a remembered command id takes in memory at most.
	CommandIDBytes = 56
	// sliceCost is what a slice takes beyond its ids, in ids.
	sliceCost = 4
)

// idKey is the first half of sha256 of aggregate id and command id: a command id belongs to an aggregate.
// It is as long as that because two ids with one key would lose a command.
type idKey [16]byte

func keyOf(aggregateID string, id uuid.UUID) (k idKey) {
	sum := sha256.Sum256(append(append(make([]byte, 0, 160), id[:]...), aggregateID...))
	copy(k[:], sum[:])
	return k
}

// idEntry is a decided id. It holds no pointer, so that the garbage collector passes over it, and no time:
// that is its slice's.
type idEntry struct {
	key     idKey
	body    uint64 // the first half of the body's hash
	outcome int64  // offset of the outcome + 1, 0 for an entry that is empty
}

func bodyOf(hash [16]byte) uint64 { return binary.LittleEndian.Uint64(hash[:8]) }

// idSlice holds the ids of one slice of time: an open table, probed in line. Nothing is ever taken out of
// it; it is dropped whole.
type idSlice struct {
	index int64 // of the slice: its time by the length of slices
	first int64 // the lowest offset of an outcome in it
	ids   int
	table []idEntry
}

func (s *idSlice) cost() int { return s.ids + sliceCost }

// slot is where a key is looked for first: keys are hashes, so their first bytes are as good as random.
func slot(key idKey, size int) int {
	high, _ := bits.Mul64(binary.BigEndian.Uint64(key[:8]), uint64(size))
	return int(high)
}

// spot returns the place of a key in a table with room: its entry, or the empty one where it belongs.
func spot(table []idEntry, key idKey) *idEntry {
	for i := slot(key, len(table)); ; {
		if e := &table[i]; e.outcome == 0 || e.key == key {
			return e
		}
		if i++; i == len(table) {
			i = 0
		}
	}
}

func (s *idSlice) find(key idKey) (idEntry, bool) {
	if len(s.table) == 0 {
		return idEntry{}, false
	}
	e := *spot(s.table, key)
	return e, e.outcome != 0
}

func (s *idSlice) put(e idEntry) {
	if (s.ids+1)*fullDenominator > len(s.table)*fullNumerator {
		table := make([]idEntry, max(leastTable, len(s.table)*5/4+1))
		for _, old := range s.table {
			if old.outcome != 0 {
				*spot(table, old.key) = old
			}
		}
		s.table = table
	}
	into := spot(s.table, e.key)
	if into.outcome == 0 {
		s.ids++
	}
	*into = e
}

// idSlices are slices of time, each of the same length, in order; where there are no ids there is none.
type idSlices struct {
	length int64 // milliseconds
	list   []idSlice
	// sum of what the slices cost and of their tables' lengths
	total, tables int
}

func (s *idSlices) indexOf(ms int64) int64 {
	index := ms / s.length
	if ms < 0 && ms%s.length != 0 {
		index--
	}
	return index
}

// end is the first millisecond after a slice.
func (s *idSlices) end(i int) int64 { return (s.list[i].index + 1) * s.length }

// search returns where the slice of a time is in the list, or would be.
func (s *idSlices) search(ms int64) (int, bool) {
	index := s.indexOf(ms)
	if last := len(s.list) - 1; last >= 0 && s.list[last].index == index { // as most are
		return last, true
	}
	return slices.BinarySearchFunc(s.list, index, func(one idSlice, index int64) int {
		return int(max(min(one.index-index, 1), -1))
	})
}

func (s *idSlices) find(ms int64, key idKey) (idEntry, bool) {
	i, ok := s.search(ms)
	if !ok {
		return idEntry{}, false
	}
	return s.list[i].find(key)
}

// findFrom looks into every slice that holds ms or what is after it, the newest first.
func (s *idSlices) findFrom(ms int64, key idKey) (idEntry, bool) {
	for i := len(s.list) - 1; i >= 0 && s.end(i) > ms; i-- {
		if e, ok := s.list[i].find(key); ok {
			return e, true
		}
	}
	return idEntry{}, false
}

func (s *idSlices) put(ms int64, e idEntry) {
	i, ok := s.search(ms)
	if !ok {
		s.list = slices.Insert(s.list, i, idSlice{index: s.indexOf(ms), first: e.outcome - 1})
		s.total += sliceCost
	}
	one := &s.list[i]
	ids, table := one.ids, len(one.table)
	one.first = min(one.first, e.outcome-1)
	one.put(e)
	s.total += one.ids - ids
	s.tables += len(one.table) - table
}

// ended returns how many slices end at ms or before.
func (s *idSlices) ended(ms int64) int {
	n := 0
	for n < len(s.list) && s.end(n) <= ms {
		n++
	}
	return n
}

// cost returns what is held of ids once the slices that end at ms or before are dropped.
func (s *idSlices) cost(ms int64) int {
	total := s.total
	for i := range s.ended(ms) {
		total -= s.list[i].cost()
	}
	return total
}

// drop forgets the slices that end at ms or before, and reports whether there were any.
func (s *idSlices) drop(ms int64) bool {
	n := s.ended(ms)
	for i := range n {
		s.total -= s.list[i].cost()
		s.tables -= len(s.list[i].table)
	}
	s.list = slices.Delete(s.list, 0, n)
	return n > 0
}

// lowest returns the least of lowest and the offsets of the outcomes in slices that end after ms; -1 is none.
func (s *idSlices) lowest(ms, lowest int64) int64 {
	for i := range s.list {
		if first := s.list[i].first; s.end(i) > ms && (lowest < 0 || first < lowest) {
			lowest = first
		}
	}
	return lowest
}

func (s *idSlices) ids() int { return s.total - sliceCost*len(s.list) }

func (s *idSlices) bytes() int64 {
	return int64(s.tables)*idEntryBytes + int64(cap(s.list))*idSliceBytes
}
