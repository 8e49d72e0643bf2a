package processing

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Partition is what a worker knows of one partition of an aggregate: the states, the command ids
// decided, and how far the logs reach. It decides batches of commands without touching them: what it
// knows changes only by [Partition.Commit], once the batch's transaction is known to be committed.
// A partition whose transaction ended in any other way is thrown away and recovered anew.
//
// It is not safe for concurrent use.
type Partition struct {
	aggregate *Aggregate
	number    int32
	states    *states
	ids       *commandIDs
	committed Metadata
	at        time.Time // of the last decision: time never goes back
	bounded   time.Time // the clock when the memory of ids was last given a bound
	firstOut  time.Time // when the first outcome that was read back was made, zero if unknown
	next      int64     // offset of the first command not decided
	lastEvent int64
	lastOut   int64
	lastInput int64 // offset of the last command with an outcome that was read back

	// change is the change number of the snapshots that are written, lastCommand the offset of the last
	// command whose events are all known, writing the write that is not done, nil for none.
	change      string
	lastCommand int64
	writing     *SnapshotWrite
}

// NewPartition returns a partition that knows nothing yet: next is the committed offset of its
// commands, committed the metadata that came with it, the zero Metadata if nothing was ever committed.
func NewPartition(a *Aggregate, number int32, next int64, committed Metadata) *Partition {
	return &Partition{
		aggregate: a, number: number, states: newStates(), ids: newCommandIDs(committed.Floor), committed: committed,
		at: committed.At, next: next, lastEvent: -1, lastOut: -1, lastCommand: -1, lastInput: -1,
	}
}

// RecoverEvent folds an event read back from the log. Events come in the order of their offsets.
func (p *Partition) RecoverEvent(e Event) {
	p.lastEvent = e.Offset
	p.next = max(p.next, e.CommandOffset+1)
	if e.Time.After(p.at) {
		p.at = e.Time
	}
	if e.Last {
		p.lastCommand = max(p.lastCommand, e.CommandOffset)
	}
	h := p.known(e.AggregateID)
	if h.unreadable != "" {
		return
	}
	if e.Version != h.version+1 {
		h.unreadable = fmt.Sprintf("event at offset %d has version %d, want %d", e.Offset, e.Version, h.version+1)
	} else if state, err := p.evolve(h.state, e.Data); err != nil {
		h.unreadable = fmt.Sprintf("event at offset %d: %v", e.Offset, err)
	} else {
		h.state, h.version = state, e.Version
	}
	p.states.change(e.AggregateID, h)
}

// evolve calls the domain; a panic there makes the aggregate unreadable, it does not end the worker.
func (p *Partition) evolve(state, event any) (after any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the domain panicked: %v", r)
		}
	}()
	return p.aggregate.evolve(state, event), nil
}

// RecoverUnreadable notes that an event of an aggregate cannot be decoded: its commands fail.
func (p *Partition) RecoverUnreadable(aggregateID string, offset int64, cause error) {
	p.lastEvent = offset
	h := p.known(aggregateID)
	if h.unreadable == "" {
		h.unreadable = fmt.Sprintf("event at offset %d: %v", offset, cause)
		p.states.change(aggregateID, h)
	}
}

// RecoverOutcome takes note of an outcome read back from the log. input is the offset of the command
// that it answers, which for a repeat is not the outcome's CommandOffset.
func (p *Partition) RecoverOutcome(o Outcome, input int64) {
	if p.firstOut.IsZero() && (o.Decision || o.Status == Failed) { // a repeat has the time of what it repeats
		p.firstOut = o.Time
	}
	p.lastOut = o.Offset
	if o.Time.After(p.at) {
		p.at = o.Time
	}
	p.lastInput = max(p.lastInput, input)
	p.next = max(p.next, input+1)
	if id, err := uuid.Parse(o.CommandID); err == nil && o.Decision {
		var hash [16]byte
		copy(hash[:], o.BodyHash)
		p.ids.remember(o.AggregateID, id, o.Offset, hash, o.Time)
		p.keepBound()
	}
}

// Metadata is what is committed with the partition's next offset, given that b commits with its last
// event and outcome at these offsets, -1 for none.
func (p *Partition) Metadata(b *Batch) Metadata {
	m := Metadata{
		Floor: time.UnixMilli(b.floors.timed), At: b.At,
		LastEvent: p.lastEvent, LastOutcome: p.lastOut, LowestOutcome: p.ids.lowest,
	}
	if p.ids.timed.ended(b.floors.timed)+p.ids.timeless.ended(b.floors.timeless) > 0 {
		m.LowestOutcome = p.ids.lowestAt(b.floors)
	}
	for _, d := range b.Decisions {
		if d.Outcome == nil || d.OutcomeOffset < 0 {
			continue
		}
		m.LastOutcome = max(m.LastOutcome, d.OutcomeOffset)
		if d.Outcome.Decision && m.LowestOutcome < 0 {
			m.LowestOutcome = d.OutcomeOffset
		}
		for _, e := range d.Events {
			m.LastEvent = max(m.LastEvent, e.Offset)
		}
	}
	return m
}

// LastEvent returns the offset of the last event known, -1 for none, and LastOutcome the same of outcomes.
func (p *Partition) LastEvent() int64 { return p.lastEvent }

// LastOutcome returns the offset of the last outcome known, -1 for none.
func (p *Partition) LastOutcome() int64 { return p.lastOut }

// Next returns the offset of the first command that is not decided.
func (p *Partition) Next() int64 { return p.next }

// Decided returns the offset of the outcome by which a command id was decided.
func (p *Partition) Decided(aggregateID, commandID string) (int64, bool) {
	id, err := uuid.Parse(commandID)
	if err != nil {
		return 0, false
	}
	e, ok := p.ids.recall(keyOf(aggregateID, id), id, p.ids.floors)
	return e.outcome - 1, ok
}

// Input is one record of the commands topic, in order of the offsets.
type Input struct {
	// Command is decoded; with a Fault, only what was readable of it is set.
	Command Command
	// Fault says why the record cannot be decided, nil if it can.
	Fault *Fault
}

// Fault is why a command record cannot be decided.
type Fault struct {
	Code, Detail string
	// DeadLetter says that the record is kept in the dead letters, for nobody can decode it.
	DeadLetter bool
}

// Decision is what becomes of one input.
type Decision struct {
	Input Input
	// Outcome is nil if there is nobody to answer: no command id is known.
	Outcome *Outcome
	// Events are the command's, in order; the producer sets their Offset.
	Events []Event
	// Repeats is the offset of the stored outcome that answers a repeated command, -1 for none. The
	// worker reads it and completes the decision with [Decision.Repeat].
	Repeats int64
	// OutcomeOffset is set by the producer, -1 before.
	OutcomeOffset int64
}

// Repeat completes a repeated command's outcome from the stored one.
func (d *Decision) Repeat(stored Outcome) {
	stored.Decision = false
	stored.Partition, stored.Offset = 0, 0
	d.Outcome, d.Repeats = &stored, -1
}

// Batch is what a run of commands leads to, not yet committed.
type Batch struct {
	// Next is the offset to commit: the one after the last input.
	Next      int64
	At        time.Time
	Decisions []*Decision

	floors   floors
	raised   bool // the floor, for want of memory
	held     map[string]held
	ids      map[idKey]int // index of the decision
	timeless int           // how many of ids have no time
}

// Raised reports whether the time below which command ids are refused rises with b for want of memory.
func (b *Batch) Raised() bool { return b.raised }

// Decide decides commands in order. now is the worker's clock. Inputs that were decided before, by
// their offset, lead to nothing.
func (p *Partition) Decide(now time.Time, inputs []Input) *Batch {
	at := now.UTC().Truncate(time.Millisecond)
	// By the clock itself: had it once been far ahead, time would stand still where it was, and with it
	// would the floor.
	floors, _ := p.ids.floorsFor(at, len(inputs))
	raised := floors.timed > p.ids.floorsAt(at).timed
	if at.Before(p.at) {
		at = p.at
	}
	b := &Batch{At: at, Next: p.next, floors: floors, raised: raised, held: map[string]held{}, ids: map[idKey]int{}}
	for _, in := range inputs {
		if in.Command.Offset < p.next {
			continue
		}
		b.Next = in.Command.Offset + 1
		d := &Decision{Input: in, Repeats: -1, OutcomeOffset: -1}
		p.decide(b, d)
		b.Decisions = append(b.Decisions, d)
	}
	return b
}

func (p *Partition) decide(b *Batch, d *Decision) {
	c := &d.Input.Command
	if f := d.Input.Fault; f != nil {
		if c.ID != "" {
			d.Outcome = p.outcome(b, c, Failed, f.Code, f.Detail)
		}
		return
	}
	id, err := uuid.Parse(c.ID)
	if err != nil {
		d.Outcome = p.outcome(b, c, Failed, CodeInvalidCommand, "its id is no UUID")
		return
	}
	key := keyOf(c.AggregateID, id)
	if i, ok := b.ids[key]; ok {
		if first := b.Decisions[i]; first.Input.Command.BodyHash == c.BodyHash {
			d.Repeat(*first.Outcome)
			return
		}
		d.Outcome = p.outcome(b, c, Failed, CodeKeyReused, "another command was sent under this id")
		return
	}
	if e, ok := p.ids.recall(key, id, b.floors); ok {
		if e.body == bodyOf(c.BodyHash) {
			d.Repeats = e.outcome - 1
			return
		}
		d.Outcome = p.outcome(b, c, Failed, CodeKeyReused, "another command was sent under this id")
		return
	}
	ms, timed := timeOf(id)
	switch from := time.UnixMilli(ms).UTC().Format(time.RFC3339); {
	case timed && ms < b.floors.timed:
		d.Outcome = p.outcome(b, c, Failed, CodeTooOld, "its id is from "+from+": too old to be told from a repeat")
		return
	case timed && ms > b.At.Add(MaxClockAhead).UnixMilli():
		d.Outcome = p.outcome(b, c, Failed, CodeFromTheFuture, "its id is from "+from+", later than now")
		return
	case !timed && !p.ids.timelessFit(b.floors, b.timeless+1):
		d.Outcome = p.outcome(b, c, Failed, CodeDedupeFull, "too many ids without a time were used within a day to remember another: use a version 7 UUID, or raise --dedupe-memory of ingest")
		return
	}
	p.apply(b, d)
	if d.Outcome.Decision {
		b.ids[key] = len(b.Decisions)
		if !timed {
			b.timeless++
		}
	}
}

// apply asks the domain and folds what it answers.
func (p *Partition) apply(b *Batch, d *Decision) {
	c := &d.Input.Command
	h := p.lookup(b, c.AggregateID)
	if h.unreadable != "" {
		d.Outcome = p.outcome(b, c, Failed, CodeUnreadable, h.unreadable)
		return
	}
	if c.Expected != nil && *c.Expected != h.version {
		d.Outcome = p.outcome(b, c, Refused, ErrVersionConflict.Code, fmt.Sprintf("expected version %d, the aggregate is at %d", *c.Expected, h.version))
		return
	}
	events, state, err := p.ask(Context{At: b.At, ID: c.AggregateID}, c.Data, h.state)
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		d.Outcome = p.outcome(b, c, Refused, refusal.Code, refusal.Detail)
		return
	case err != nil:
		d.Outcome = p.outcome(b, c, Failed, CodeDecideFailed, err.Error())
		return
	}
	for i, data := range events {
		d.Events = append(d.Events, Event{
			ID:        uuid.NewSHA1(uuid.MustParse(c.ID), []byte(c.AggregateID+"/"+strconv.Itoa(i))).String(),
			Aggregate: p.aggregate.Name, AggregateID: c.AggregateID, Data: data, Version: h.version + int64(i) + 1, Time: b.At,
			CommandID: c.ID, CommandOffset: c.Offset, Last: i == len(events)-1,
			CorrelationID: c.CorrelationID, CausationID: c.CausationID, TraceParent: c.TraceParent, Partition: p.number, Offset: -1,
			Type: typeName(p.aggregate.Events, data),
		})
	}
	h.state, h.version = state, h.version+int64(len(events))
	b.held[c.AggregateID] = h
	d.Outcome = p.outcome(b, c, Accepted, "", "")
	for _, e := range d.Events {
		d.Outcome.Events = append(d.Outcome.Events, EventRef{ID: e.ID, Type: e.Type, Version: e.Version})
	}
}

// ask calls the domain; a panic there fails the command, not the worker.
func (p *Partition) ask(in Context, command, state any) (events []any, after any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the domain panicked: %v", r)
		}
	}()
	events, err = p.aggregate.decide(in, command, state)
	if err != nil {
		var refusal *Refusal
		if errors.As(err, &refusal) && refusal == nil {
			err = errors.New("the domain returned a nil refusal")
		}
		return nil, nil, err
	}
	after = state
	for _, e := range events {
		if typeName(p.aggregate.Events, e) == "" {
			return nil, nil, fmt.Errorf("the domain decided on an event of type %T, which it does not declare", e)
		}
		after = p.aggregate.evolve(after, e)
	}
	return events, after, nil
}

func (p *Partition) lookup(b *Batch, id string) held {
	if h, ok := b.held[id]; ok {
		return h
	}
	return p.known(id)
}

// known returns an aggregate as of its last event that is committed.
func (p *Partition) known(id string) held {
	if e, ok := p.states.entries[id]; ok {
		return e.held
	}
	if p.states.sparse() && ValidateID("id", id) == nil {
		panic(fmt.Sprintf("processing: the state of %s %s is not loaded", p.aggregate.Name, id)) // and must not be taken for none
	}
	return held{state: p.aggregate.zero}
}

func (p *Partition) outcome(b *Batch, c *Command, status Status, code, detail string) *Outcome {
	return &Outcome{
		CommandID: c.ID, Aggregate: p.aggregate.Name, AggregateID: c.AggregateID, CommandType: c.Type,
		Status: status, Decision: status != Failed, Code: code, Detail: detail,
		Version: p.lookup(b, c.AggregateID).version, Events: []EventRef{}, CommandOffset: c.Offset,
		BodyHash: c.BodyHash[:], Time: b.At, Partition: p.number,
	}
}

// Commit makes b part of what p knows. The producer has set the offsets of its events and outcomes,
// and its transaction is known to be committed.
func (p *Partition) Commit(b *Batch) {
	p.at, p.next = b.At, b.Next
	p.ids.advance(b.floors)
	for id, h := range b.held {
		if h.version != p.known(id).version {
			p.states.change(id, h)
		}
	}
	for _, d := range b.Decisions {
		if d.Outcome == nil {
			continue
		}
		p.lastOut = max(p.lastOut, d.OutcomeOffset)
		for _, e := range d.Events {
			p.lastEvent = max(p.lastEvent, e.Offset)
			p.lastCommand = max(p.lastCommand, e.CommandOffset)
		}
		if d.Outcome.Decision {
			c := &d.Input.Command
			p.ids.remember(c.AggregateID, uuid.MustParse(c.ID), d.OutcomeOffset, c.BodyHash, b.At)
		}
	}
}
