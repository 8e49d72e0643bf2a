package processing

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ledgerline/ledgerline/readstore"
)

// ErrSnapshotMoved says that a snapshot is not where its partition believed it to be: somebody else has
// written it, or the store has lost something. The partition is of no use and must be recovered anew.
var ErrSnapshotMoved = errors.New("snapshot has another checkpoint than expected")

// UseSnapshot has p hold no more than what its snapshot lacks and what fits into memory. at is the
// snapshot's checkpoint, the zero one if there is none. It comes before anything is recovered: events
// are read back from at.Offset on.
func (p *Partition) UseSnapshot(memory *StateMemory, at readstore.Checkpoint) {
	p.states.memory, p.states.base = memory, at
	p.change = newChange()
	if at != (readstore.Checkpoint{}) {
		p.lastCommand = at.Command
		p.next = max(p.next, at.Command+1)
	}
	// The last event is one that was read or committed: the snapshot's offset may lie behind a marker.
	if p.committed.LastEvent < at.Offset {
		p.lastEvent = p.committed.LastEvent
	}
}

// Reached returns the offset up to which every event is known: that of the last event, or, where the
// snapshot reaches further, the one before its offset. -1 is none.
func (p *Partition) Reached() int64 { return max(p.lastEvent, p.states.base.Offset-1) }

// Unsaved returns how many aggregates no snapshot has as they are, but for those being written.
func (p *Partition) Unsaved() int { return p.states.changed.n }

// Behind returns how many offsets of events the snapshot lacks.
func (p *Partition) Behind() int64 { return p.Reached() + 1 - p.states.base.Offset }

// Needs returns the aggregates of inputs whose state must be loaded before [Partition.Decide].
func (p *Partition) Needs(inputs []Input) []string {
	return p.missing(func(yield func(string)) {
		for _, in := range inputs {
			if in.Command.Offset >= p.next && in.Command.ID != "" {
				yield(in.Command.AggregateID)
			}
		}
	})
}

// NeedsToRecover returns the aggregates whose state must be loaded before their events are recovered.
func (p *Partition) NeedsToRecover(ids []string) []string {
	return p.missing(func(yield func(string)) {
		for _, id := range ids {
			yield(id)
		}
	})
}

// missing returns the ids, each once, that may exist and are not held. Those that are held count as used.
func (p *Partition) missing(each func(yield func(string))) (ids []string) {
	if !p.states.sparse() {
		return nil
	}
	seen := map[string]bool{}
	each(func(id string) {
		e, ok := p.states.entries[id]
		switch {
		case ok && e.place == cached:
			p.states.move(e, cached)
		case !ok && !seen[id] && ValidateID("id", id) == nil:
			seen[id] = true
			ids = append(ids, id)
		}
	})
	return ids
}

// Loaded takes in the documents of ids, as they were loaded with the bucket's checkpoints; an id without
// one is of an aggregate that does not exist. It also tells what became of a write that had no answer.
// It returns ErrSnapshotMoved, or, wrapped, [readstore.ErrBroken] for a document that cannot be read.
func (p *Partition) Loaded(ids []string, documents map[string]string, checkpoints readstore.Checkpoints) error {
	at := checkpoints[p.Source()]
	switch w := p.writing; {
	case w != nil && at == w.to:
		if w.unknown {
			p.saved(w)
		}
	case at != p.states.base:
		return ErrSnapshotMoved
	case w != nil && w.unknown: // not applied: if that is yet to come, the next write is refused
		p.states.settle(changed)
		p.writing = nil
	}
	for _, id := range ids {
		if _, ok := p.states.entries[id]; ok {
			continue
		}
		h, size := held{state: p.aggregate.zero}, 0
		if text, ok := documents[id]; ok {
			var err error
			if h, err = p.aggregate.decodeSnapshot(text); err != nil {
				return fmt.Errorf("%s: %w: %w", id, err, readstore.ErrBroken)
			}
			size = len(text)
		}
		p.states.insert(strings.Clone(id), h, int32(min(size, 1<<30)), cached)
	}
	return nil
}

// Release gives the memory back. p is of no use afterwards.
func (p *Partition) Release() { p.states.release() }

// Source returns the partition of events that the partition's events go to.
func (p *Partition) Source() readstore.Source {
	return readstore.Source{Aggregate: p.aggregate.Name, Partition: p.number}
}

// SnapshotWrite is a snapshot being written: what has changed since the one before.
type SnapshotWrite struct {
	aggregate *Aggregate
	source    readstore.Source
	bucket    readstore.Bucket
	from, to  readstore.Checkpoint
	states    []savedState
	unknown   bool
}

type savedState struct {
	entry *entry // for the partition alone
	id    string
	held  held
	size  int32
}

// States returns how many states are written.
func (w *SnapshotWrite) States() int { return len(w.states) }

// Bucket returns what is written.
func (w *SnapshotWrite) Bucket() readstore.Bucket { return w.bucket }

// Encode makes the write. It may be called by another goroutine than the partition's.
func (w *SnapshotWrite) Encode() (readstore.Write, error) {
	out := readstore.Write{Bucket: w.bucket, Advances: []readstore.Advance{{Source: w.source, From: w.from, To: w.to}}}
	for i := range w.states {
		s := &w.states[i]
		text, err := w.aggregate.encodeSnapshot(s.held)
		if err != nil {
			return out, fmt.Errorf("%s: %w", s.id, err)
		}
		s.size = int32(min(len(text), 1<<30))
		out.Ops = append(out.Ops, readstore.Op{Kind: readstore.SetDocument, ID: s.id, Value: text})
	}
	return out, nil
}

// Snapshot begins a write of all that has changed to a generation of the aggregate's snapshots. It
// returns nil if nothing has, or while another write is not done.
func (p *Partition) Snapshot(g readstore.Generation) *SnapshotWrite {
	if p.writing != nil || p.states.changed.n == 0 {
		return nil
	}
	from := p.states.base
	w := &SnapshotWrite{
		aggregate: p.aggregate, source: p.Source(), from: from,
		bucket: readstore.Bucket{Model: p.aggregate.snapshots.Name, Generation: g.ID, Number: int(p.number)},
		to: readstore.Checkpoint{
			Generation: g.ID, CodeVersion: g.CodeVersion, TopicID: g.TopicIDs[p.aggregate.Name],
			Offset: p.Reached() + 1, Command: p.lastCommand, Change: p.change,
		},
	}
	w.states = make([]savedState, 0, p.states.changed.n)
	for p.states.changed.first != nil {
		e := p.states.changed.last
		w.states = append(w.states, savedState{entry: e, id: e.id, held: e.held})
		p.states.move(e, inWrite)
	}
	p.writing = w
	return w
}

// Saved takes in what became of a write. An error says that nothing is known: what was to be written is
// held until [Partition.Loaded] tells. Saved returns ErrSnapshotMoved if the write was refused, or,
// wrapped, [readstore.ErrBroken].
func (p *Partition) Saved(w *SnapshotWrite, result readstore.Result, err error) error {
	switch {
	case p.writing != w: // a load has told already
		return nil
	case err != nil:
		w.unknown = true
		return nil
	case result.Err != nil:
		return result.Err
	case result.Applied, result.Stored[w.source] == w.to: // sent twice by the client
		p.saved(w)
		return nil
	default:
		return ErrSnapshotMoved
	}
}

// Unanswered reports that it is not known what became of the last write.
func (p *Partition) Unanswered() bool { return p.writing != nil && p.writing.unknown }

func (p *Partition) saved(w *SnapshotWrite) {
	p.states.base, p.writing = w.to, nil
	for _, s := range w.states {
		if s.size > 0 {
			p.states.resize(s.entry, s.size)
		}
	}
	p.states.settle(cached)
}
