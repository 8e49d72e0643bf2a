package processing

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// A jar holds coins: an aggregate small enough to see through. Its domain also misbehaves, on request.
type (
	jar struct{ Coins, Events int64 }

	Put       struct{ Coins int64 }
	PutEach   struct{ Coins []int64 }
	Take      struct{ Coins int64 }
	Look      struct{} // is accepted and leads to nothing
	Misbehave struct{ How string }

	CoinsPut   struct{ Coins int64 }
	CoinsTaken struct{ Coins int64 }
	Cracked    struct{} // cannot be evolved
	Undeclared struct{}
)

var (
	errTooFew = Refuse("too-few-coins", Conflict)
	errWeird  = errors.New("something weird")

	jars = Decider[jar, any, any]{
		Aggregate: "jar", Collection: "jars",
		Commands: []Type{TypeOf[Put](), TypeOf[PutEach](), TypeOf[Take](), TypeOf[Look](), TypeOf[Misbehave]()},
		Events:   []Type{TypeOf[CoinsPut](), TypeOf[CoinsTaken](), TypeOf[Cracked]()},
		Refusals: []*Refusal{errTooFew},
		Decide:   decideJar,
		Evolve: func(s jar, event any) jar {
			s.Events++
			switch e := event.(type) {
			case CoinsPut:
				s.Coins += e.Coins
			case CoinsTaken:
				s.Coins -= e.Coins
			case Cracked:
				panic("a cracked jar")
			}
			return s
		},
	}.Erase()
)

func decideJar(_ Context, command any, s jar) ([]any, error) {
	switch c := command.(type) {
	case Put:
		return []any{CoinsPut{c.Coins}}, nil
	case PutEach:
		var events []any
		for _, n := range c.Coins {
			events = append(events, CoinsPut{n})
		}
		return events, nil
	case Take:
		if c.Coins > s.Coins {
			return nil, fmt.Errorf("taking: %w", errTooFew.Because("%d of %d", c.Coins, s.Coins))
		}
		return []any{CoinsTaken{c.Coins}}, nil
	case Look:
		return nil, nil
	case Misbehave:
		return misbehave(c.How)
	}
	return nil, fmt.Errorf("unknown command %T", command)
}

func misbehave(how string) ([]any, error) {
	switch how {
	case "panic":
		panic("oh no")
	case "error":
		return nil, errWeird
	case "undeclared":
		return []any{CoinsPut{1}, Undeclared{}}, nil
	case "crack":
		return []any{CoinsPut{1}, Cracked{}}, nil
	case "nil refusal":
		var none *Refusal
		return nil, none
	}
	return nil, fmt.Errorf("unknown way %q", how)
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// timedID returns a version 7 UUID of that time; n tells those of one time apart.
func timedID(at time.Time, n int) string {
	var id uuid.UUID
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[8], id[14], id[15] = 0x70, 0x80, byte(n>>8), byte(n)
	return id.String()
}

// timelessID returns a version 5 UUID.
func timelessID(n int) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, n)).String()
}

func expect(version int64) *int64 { return &version }

// command makes an input whose body hash is that of its body.
func command(offset int64, aggregateID, id string, data any, expected *int64) Input {
	c := Command{
		ID: id, Aggregate: "jar", AggregateID: aggregateID, Type: fmt.Sprintf("%T", data)[len("processing."):], Data: data,
		Expected: expected, CorrelationID: "corr-" + id, TraceParent: "trace-" + id, Offset: offset, Partition: 3,
	}
	want := "any"
	if expected != nil {
		want = fmt.Sprint(*expected)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%T%v %s", data, data, want))
	copy(c.BodyHash[:], sum[:])
	return Input{Command: c}
}

// topics is what a worker appends to and commits, for one partition. Each transaction leaves a marker
// behind it, so offsets are not dense.
type topics struct {
	events      []Event
	outcomes    map[int64]Outcome
	inputs      map[int64]int64 // by offset of the outcome
	nextEvent   int64
	nextOutcome int64
	next        int64
	metadata    string // "" if nothing was ever committed
}

func newTopics() *topics {
	return &topics{outcomes: map[int64]Outcome{}, inputs: map[int64]int64{}}
}

// run decides a batch and appends what it leads to; committed says whether its transaction does commit.
// The partition itself is not told.
func (w *topics) run(t rapid.TB, p *Partition, now time.Time, committed bool, inputs ...Input) *Batch {
	t.Helper()
	b := p.Decide(now, inputs)
	var events []Event
	outcomes := map[int64]Outcome{}
	inputOf := map[int64]int64{}
	for _, d := range b.Decisions {
		if d.Repeats >= 0 {
			stored, ok := w.outcomes[d.Repeats]
			if !ok {
				t.Fatalf("decision on offset %d repeats the outcome at %d, which is not there", d.Input.Command.Offset, d.Repeats)
			}
			d.Repeat(stored)
		}
		for i := range d.Events {
			d.Events[i].Offset = w.nextEvent
			w.nextEvent++
			events = append(events, d.Events[i])
		}
		if d.Outcome != nil {
			d.OutcomeOffset = w.nextOutcome
			w.nextOutcome++
			out := *d.Outcome
			out.Offset = d.OutcomeOffset
			outcomes[out.Offset], inputOf[out.Offset] = out, d.Input.Command.Offset
		}
	}
	w.nextEvent++
	w.nextOutcome++
	if committed {
		w.events = append(w.events, events...)
		for o, out := range outcomes {
			w.outcomes[o], w.inputs[o] = out, inputOf[o]
		}
		w.next, w.metadata = b.Next, p.Metadata(b).String()
	}
	return b
}

// commit decides, appends and commits.
func (w *topics) commit(t rapid.TB, p *Partition, now time.Time, inputs ...Input) *Batch {
	t.Helper()
	b := w.run(t, p, now, true, inputs...)
	p.Commit(b)
	return b
}

// recover makes the partition again from what is committed.
func (w *topics) recover(t rapid.TB) *Partition {
	t.Helper()
	m := Metadata{LastEvent: -1, LastOutcome: -1, LowestOutcome: -1}
	if w.metadata != "" {
		var err error
		if m, err = ParseMetadata(w.metadata); err != nil {
			t.Fatal(err)
		}
	}
	p := NewPartition(jars, 3, w.next, m)
	for _, e := range w.events {
		p.RecoverEvent(e)
	}
	for o := m.FirstOutcome(); o < w.nextOutcome; o++ {
		if out, ok := w.outcomes[o]; ok {
			p.RecoverOutcome(out, w.inputs[o])
		}
	}
	if p.LastEvent() != m.LastEvent || m.LastOutcome != p.LastOutcome() {
		t.Fatalf("recovered up to event %d and outcome %d, the metadata says %s", p.LastEvent(), p.LastOutcome(), w.metadata)
	}
	return p
}
