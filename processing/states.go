package processing

import "github.com/ledgerline/ledgerline/readstore"

// held is an aggregate as of its last event.
type held struct {
	state      any
	version    int64
	unreadable string // why its events cannot be folded, "" if they can
}

// StateMemory bounds what the partitions of one worker hold of their aggregates: the states that their
// snapshots do not have yet, and as many others as fit, those used last. It is an estimate, by the
// length of the stored documents.
//
// It is not safe for concurrent use, and neither are two partitions that share one.
type StateMemory struct {
	limit  int64
	cached entryList // of all partitions, the one used last first
	used   [places]int64
}

// NewStateMemory returns a memory of so many bytes.
func NewStateMemory(limit int64) *StateMemory { return &StateMemory{limit: limit} }

// Changed returns how many bytes are held of states that no snapshot has, and Cached of others.
func (m *StateMemory) Changed() int64 { return m.used[changed] + m.used[inWrite] }

// Cached returns how many bytes are held of states that snapshots have, too.
func (m *StateMemory) Cached() int64 { return m.used[cached] }

// Full reports that what no snapshot has exceeds the limit: nothing more must change before a snapshot
// is written. Pressing reports the same of half the limit: one should be.
func (m *StateMemory) Full() bool { return m.Changed() > m.limit }

// Pressing reports that what no snapshot has exceeds half the limit.
func (m *StateMemory) Pressing() bool { return m.Changed() > m.limit/2 }

// Trim forgets states that snapshots have until the limit is kept. It is for after a commit: not between
// a load and what it was for.
func (m *StateMemory) Trim() {
	for m.Changed()+m.Cached() > m.limit && m.cached.first != nil {
		e := m.cached.last
		e.owner.remove(e)
	}
}

// place is where the state of an aggregate stands.
type place uint8

const (
	// cached is as the snapshot has it, changed is not, inWrite is what a snapshot being written will have.
	cached place = iota
	changed
	inWrite
	places
)

// entryOverhead is about what an entry costs beside its id and its state: itself, its place in the map
// and the rounding up of what it points to.
const entryOverhead = 192

// entry is an aggregate that is held. It is in exactly one list.
type entry struct {
	held
	id         string
	owner      *states
	prev, next *entry
	size       int32 // of the stored document, or what is guessed
	place      place
}

func (e *entry) bytes() int64 { return entryOverhead + int64(len(e.id)) + int64(e.size) }

// entryList is a list of entries, the last one put there first.
type entryList struct {
	first, last *entry
	n           int
}

func (l *entryList) push(e *entry) {
	e.prev, e.next = nil, l.first
	if l.first != nil {
		l.first.prev = e
	} else {
		l.last = e
	}
	l.first = e
	l.n++
}

func (l *entryList) remove(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		l.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		l.last = e.prev
	}
	e.prev, e.next = nil, nil
	l.n--
}

// states is what a partition holds of its aggregates: as of base what its snapshot has, and what came
// after.
type states struct {
	memory  *StateMemory // nil: everything is held, for ever
	entries map[string]*entry
	changed entryList
	inWrite entryList
	// base is the checkpoint of the snapshot. Without one, an aggregate that is not held does not exist.
	base readstore.Checkpoint
	// guess is the size of a document whose size is not known.
	guess int32
}

func newStates() *states { return &states{entries: map[string]*entry{}, guess: 128} }

// sparse says that aggregates which are not held may exist all the same.
func (s *states) sparse() bool { return s.base != readstore.Checkpoint{} }

func (s *states) list(p place) *entryList {
	switch p {
	case changed:
		return &s.changed
	case inWrite:
		return &s.inWrite
	default:
		return &s.memory.cached
	}
}

// move puts an entry in first place of a list. Without a memory all entries are changed ones.
func (s *states) move(e *entry, to place) {
	s.list(e.place).remove(e)
	s.add(-e.bytes(), e.place)
	e.place = to
	s.list(to).push(e)
	s.add(e.bytes(), to)
}

func (s *states) add(bytes int64, to place) {
	if s.memory != nil {
		s.memory.used[to] += bytes
	}
}

func (s *states) remove(e *entry) {
	s.list(e.place).remove(e)
	s.add(-e.bytes(), e.place)
	delete(s.entries, e.id)
}

func (s *states) insert(id string, h held, size int32, to place) {
	e := &entry{held: h, id: id, owner: s, size: size, place: to}
	s.entries[id] = e
	s.list(to).push(e)
	s.add(e.bytes(), to)
}

// change takes in what no snapshot has. Nobody can address an aggregate whose id is none, so that its
// state is not kept.
func (s *states) change(id string, h held) {
	e, ok := s.entries[id]
	switch {
	case ok:
		e.held = h
		s.move(e, changed)
	case ValidateID("id", id) == nil:
		s.insert(id, h, s.guess, changed)
	}
}

// resize corrects the size of an entry to that of its document.
func (s *states) resize(e *entry, size int32) {
	s.add(-e.bytes(), e.place)
	e.size = size
	s.add(e.bytes(), e.place)
	s.guess += (size - s.guess) / 16
}

// settle moves all that a write held to another place.
func (s *states) settle(to place) {
	for s.inWrite.first != nil {
		s.move(s.inWrite.last, to)
	}
}

// release gives all memory back.
func (s *states) release() {
	for _, e := range s.entries {
		s.remove(e)
	}
}
