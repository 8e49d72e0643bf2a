package processing

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/ledgerline/ledgerline/readstore"
)

// sliceLog is a Log in memory: what it holds may grow while it is read.
type sliceLog struct {
	mu       sync.Mutex
	identity Identity
	records  map[readstore.Source][]Event
	marks    map[readstore.Source]Mark
	commands map[readstore.Source]int64 // the next command's offset
	versions map[string]int64
	grown    chan struct{} // closed and replaced by every append

	// batch is the most events of a source that Read delivers at once.
	batch int
	// delivered counts the events that Read delivered, before is called ahead of each delivery.
	delivered int
	before    func(*sliceLog)
}

func newLog(partitions map[string]int32) *sliceLog {
	l := &sliceLog{
		identity: Identity{ClusterID: "cluster", TopicIDs: map[string]string{}, Partitions: partitions},
		records:  map[readstore.Source][]Event{}, marks: map[readstore.Source]Mark{}, commands: map[readstore.Source]int64{},
		versions: map[string]int64{}, grown: make(chan struct{}), batch: 10,
	}
	for aggregate, n := range partitions {
		l.identity.TopicIDs[aggregate] = "topic-of-" + aggregate
		for p := range n {
			l.marks[readstore.Source{Aggregate: aggregate, Partition: p}] = Mark{}
		}
	}
	return l
}

func (l *sliceLog) sources() []readstore.Source {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Keys(l.marks), func(a, b readstore.Source) int {
		return cmp.Or(cmp.Compare(a.Aggregate, b.Aggregate), cmp.Compare(a.Partition, b.Partition))
	})
}

// append adds a command's events to a source, and a transaction's marker.
func (l *sliceLog) append(s readstore.Source, aggregateID string, events ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mark := l.marks[s]
	for i, data := range events {
		l.versions[s.Aggregate+aggregateID]++
		l.records[s] = append(l.records[s], Event{
			ID: fmt.Sprintf("%s@%d", s, mark.End), Aggregate: s.Aggregate, AggregateID: aggregateID, Type: fmt.Sprintf("%T", data), Data: data,
			Version: l.versions[s.Aggregate+aggregateID], Time: noon, CommandOffset: l.commands[s], Last: i == len(events)-1,
			Partition: s.Partition, Offset: mark.End,
		})
		mark.End++
	}
	mark.End++
	l.commands[s] += 2
	l.marks[s] = mark
	close(l.grown)
	l.grown = make(chan struct{})
}

// fetch returns up to n events of each of the sources, from these offsets on. A run of fewer ends
// where the log does, behind the last marker.
func (l *sliceLog) fetch(from map[readstore.Source]int64, n int) Fetched {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := Fetched{From: map[readstore.Source]int64{}, Upto: map[readstore.Source]int64{}}
	for s, offset := range from {
		if offset >= l.marks[s].End {
			continue
		}
		records := l.records[s]
		first, _ := slices.BinarySearchFunc(records, offset, func(e Event, o int64) int { return cmp.Compare(e.Offset, o) })
		run := records[first:min(first+n, len(records))]
		in.Events = append(in.Events, run...)
		in.From[s], in.Upto[s] = offset, l.marks[s].End
		if first+n < len(records) {
			in.Upto[s] = run[n-1].Offset + 1
		}
	}
	return in
}

func (l *sliceLog) Identity(context.Context) (Identity, error) { return l.identity, nil }

func (l *sliceLog) Marks(_ context.Context, aggregates []string) (map[readstore.Source]Mark, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	marks := map[readstore.Source]Mark{}
	for s, m := range l.marks {
		if slices.Contains(aggregates, s.Aggregate) {
			marks[s] = m
		}
	}
	return marks, nil
}

func (l *sliceLog) Read(ctx context.Context, from map[readstore.Source]int64, visit func(Fetched) (map[readstore.Source]int64, error)) error {
	positions := maps.Clone(from)
	for {
		if l.before != nil {
			l.before(l)
		}
		l.mu.Lock()
		grown := l.grown
		l.mu.Unlock()
		in := l.fetch(positions, l.batch)
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(in.Upto) == 0 {
			select {
			case <-ctx.Done():
			case <-grown:
			}
			continue
		}
		l.delivered += len(in.Events)
		rewind, err := visit(in)
		if err != nil {
			return err
		}
		maps.Copy(positions, in.Upto)
		maps.Copy(positions, rewind)
	}
}

// total is how many events the log holds for a model.
func (l *sliceLog) total(m *ReadModel) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s, r := range l.records {
		if slices.Contains(m.Aggregates, s.Aggregate) {
			n += len(r)
		}
	}
	return n
}

// Deposited is the event of the read models' tests.
type Deposited struct {
	Owner string
	Coins int64
}

// Late is an event that only the newer build can apply: the older one cannot decode an odd one, and stops half-way
// in another.
type Late Deposited

// older is what the older build makes of what is read.
func older(events []Event) []Event {
	seen := slices.Clone(events)
	for i, e := range seen {
		if late, ok := e.Data.(Late); ok && late.Coins%2 != 0 {
			seen[i].Data, seen[i].Undecodable = nil, errWeird
		}
	}
	return seen
}

// oneBuild reads single events as one of the builds does.
type oneBuild struct {
	l     *sliceLog
	newer bool
}

func (b oneBuild) EventJSON(Event) ([]byte, error) { return nil, errWeird }

func (b oneBuild) EventsAt(_ context.Context, aggregate string, places []Place) ([]Event, error) {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	var found []Event
	for _, p := range places {
		for _, e := range b.l.records[readstore.Source{Aggregate: aggregate, Partition: p.Partition}] {
			if e.Offset == p.Offset {
				found = append(found, e)
			}
		}
	}
	if len(found) != len(places) {
		return nil, errWeird
	}
	if !b.newer {
		found = older(found)
	}
	return found, nil
}

// newer is the newer build of a model: it applies what is Late.
func newer(m *ReadModel) *ReadModel {
	c := *m
	known := func(e Event) Event {
		if late, ok := e.Data.(Late); ok {
			e.Data = Deposited(late)
		}
		return e
	}
	if m.KeyedAsEvents {
		c.fold = func(doc any, e Event) error { return m.fold(doc, known(e)) }
	} else {
		c.project = func(e Event) ([]readstore.Op, error) { return m.project(known(e)) }
	}
	return &c
}

// jarDocument shows the order in which its events came.
type jarDocument struct {
	Document
	Coins int64   `json:"coins"`
	Last  []int64 `json:"last"`
}

var (
	// documents is keyed as its events are.
	documents = Documents[jarDocument]{
		Name: "jar-content", Collection: "jars", CodeVersion: 1, Aggregate: "jar",
		Fold: func(doc *jarDocument, e Event) error {
			d, ok := e.Data.(Deposited)
			if !ok {
				doc.Coins, doc.Last = -1, nil // half changed
				return errWeird
			}
			doc.Coins = doc.Coins*3 + d.Coins
			doc.Last = append(doc.Last, e.Offset)
			doc.Last = doc.Last[max(0, len(doc.Last)-3):]
			return nil
		},
	}.Erase()
	// operations is keyed by owner, over two aggregates.
	operations = Operations{
		Name: "owners", Collection: "owners", CodeVersion: 1, Aggregates: []string{"jar", "cup"}, Buckets: 4,
		Rankings: []Ranking{{Sort: "coins", Parameter: "metal"}},
		Project: func(e Event) ([]readstore.Op, error) {
			d, ok := e.Data.(Deposited)
			if !ok {
				return nil, errWeird
			}
			return []readstore.Op{
				{Kind: readstore.AddSum, ID: d.Owner, Field: "coins", Delta: d.Coins, Rank: "coins:gold"},
				{Kind: readstore.AddSum, ID: d.Owner, Field: e.Aggregate, Delta: 1},
				{Kind: readstore.SetEntry, ID: d.Owner, Field: e.AggregateID, Value: fmt.Sprint(e.Version)},
				{Kind: readstore.AddSum, ID: "everybody", Field: "coins", Delta: d.Coins, Rank: "coins:gold"},
			}, nil
		},
	}.Erase()
)

// generationFrom is a generation of a model over l.
func generationFrom(m *ReadModel, l *sliceLog) readstore.Generation {
	return readstore.Generation{
		ID: "g1", Model: m.Name, State: readstore.Ready, CodeVersion: m.CodeVersion,
		Buckets: m.Buckets(l.identity.Partitions[m.Aggregates[0]]), ClusterID: l.identity.ClusterID, TopicIDs: l.identity.TopicIDs,
	}
}
