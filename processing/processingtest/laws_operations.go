package processingtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

const (
	logPartitions = 3
	logAggregates = 6
)

// Log generates the events of an aggregate's topic as the engine appends them: commands drawn from
// command go to six aggregates in three partitions, and what d decides is in the log, in the order of
// the appends.
func Log[S, C, E any](d processing.Decider[S, C, E], command *rapid.Generator[C]) *rapid.Generator[[]processing.Event] {
	type aggregate struct {
		state   S
		version int64
	}
	drawn := rapid.SliceOfN(attempts(command, logAggregates), 30, 90)
	return rapid.Map(drawn, func(commands []attempt[C]) []processing.Event {
		var (
			log        []processing.Event
			at         = start
			aggregates [logAggregates]aggregate
			commandAt  [logPartitions]int64
			eventAt    [logPartitions]int64
		)
		for i, c := range commands {
			at = at.Add(c.Wait)
			id := fmt.Sprintf("%s-%d", d.Aggregate, c.Aggregate+1)
			a, p := &aggregates[c.Aggregate], c.Aggregate%logPartitions
			offset := commandAt[p]
			commandAt[p]++
			if validate(c.Command) != nil {
				continue
			}
			events, err := d.Decide(processing.Context{ID: id, At: at}, c.Command, a.state)
			if err != nil {
				continue
			}
			for j, e := range events {
				a.state = d.Evolve(a.state, e)
				a.version++
				log = append(log, processing.Event{
					ID: fmt.Sprintf("command-%d.%d", i, j), Aggregate: d.Aggregate, AggregateID: id,
					Type: reflect.TypeOf(e).Name(), Data: e, Version: a.version, Time: at,
					CommandID: fmt.Sprintf("command-%d", i), CommandOffset: offset, Last: j == len(events)-1,
					Partition: int32(p), Offset: eventAt[p],
				})
				eventAt[p]++
			}
		}
		return log
	})
}

// CheckOperations holds model to the laws of a projection that is not keyed as its events are, over
// logs drawn from log (see [Log]; concatenate the logs of several aggregates):
//
//   - Project gives the same for the same event, whatever it was given before, and does not change it;
//   - its operations are well formed: AddSum or SetEntry, names set, ranked lists declared, one ranked
//     list per sum and one sum per ranked list, an entry written from one partition only;
//   - the order between partitions does not matter, nor does where batches begin and end: the sums,
//     entries and ranked lists come out the same;
//   - View shows every document, and it can be written as JSON.
//
// It also fails t if no log has two partitions that change one document: then nothing commutes.
func CheckOperations(t testing.TB, model processing.Operations, log *rapid.Generator[[]processing.Event]) {
	t.Helper()
	if !anyShared(model, log) {
		t.Errorf("%s: no log has two partitions that change one document", model.Name)
		return
	}
	rapid.Check(t, func(t *rapid.T) {
		events := log.Draw(t, "log")
		turns := rapid.Permutation(sources(events)).Draw(t, "turns")
		cuts := rapid.SliceOfN(rapid.Bool(), len(events), len(events)).Draw(t, "cuts")
		if err := checkOperations(model, events, turns, cuts); err != nil {
			t.Fatalf("%s: %v", model.Name, err)
		}
	})
}

func sources(events []processing.Event) []readstore.Source {
	list := make([]readstore.Source, len(events))
	for i, e := range events {
		list[i] = sourceOf(e)
	}
	return list
}

func sourceOf(e processing.Event) readstore.Source {
	return readstore.Source{Aggregate: e.Aggregate, Partition: e.Partition}
}

func anyShared(model processing.Operations, log *rapid.Generator[[]processing.Event]) bool {
	for seed := range coverageTries {
		changed := map[string]readstore.Source{}
		for _, e := range log.Example(seed) {
			ops, err := model.Project(e)
			if err != nil {
				return true // a broken law: the check that follows finds and shrinks it
			}
			for _, op := range ops {
				if from, ok := changed[op.ID]; ok && from != sourceOf(e) {
					return true
				}
				changed[op.ID] = sourceOf(e)
			}
		}
	}
	return false
}

// checkOperations applies events one by one in their order, and then again in the order of turns (whose
// turn it is among the partitions), in batches that end where cuts says.
func checkOperations(model processing.Operations, events []processing.Event, turns []readstore.Source, cuts []bool) error {
	projected, err := projectAll(model, events)
	if err != nil {
		return err
	}
	straight := newContent()
	form := newWellFormed(model)
	queues := map[readstore.Source][][]readstore.Op{}
	for i, e := range events {
		if err := form.check(sourceOf(e), projected[i]); err != nil {
			return fmt.Errorf("%s of %s: %w", describe(e.Data), e.AggregateID, err)
		}
		straight.apply(projected[i])
		queues[sourceOf(e)] = append(queues[sourceOf(e)], projected[i])
	}
	mixed := newContent()
	var batch []readstore.Op
	for i, source := range turns {
		batch = append(batch, queues[source][0]...)
		queues[source] = queues[source][1:]
		if cuts[i] || i == len(turns)-1 {
			mixed.apply(coalesce(batch))
			batch = nil
		}
	}
	if err := straight.differs(mixed); err != nil {
		return err
	}
	return straight.checkView(model)
}

// projectAll projects events from the last to the first and then from the first to the last: what a
// projection remembers of other events shows.
func projectAll(model processing.Operations, events []processing.Event) ([][]readstore.Op, error) {
	projected := make([][]readstore.Op, len(events))
	for i, e := range slices.Backward(events) {
		text := describe(e.Data)
		ops, err := model.Project(e)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s of %s: %w", text, e.AggregateID, err)
		case describe(e.Data) != text:
			return nil, fmt.Errorf("%s of %s: project changed the event that it was given", text, e.AggregateID)
		}
		projected[i] = ops
	}
	for i, e := range events {
		ops, err := model.Project(e)
		if err != nil || !reflect.DeepEqual(ops, projected[i]) {
			return nil, fmt.Errorf("%s of %s: project is not a function of the event: %+v, then %+v, %s",
				describe(e.Data), e.AggregateID, projected[i], ops, fmt.Sprint(err))
		}
	}
	return projected, nil
}

// coalesce makes one operation per document and field, as the engine does with a batch.
func coalesce(batch []readstore.Op) []readstore.Op {
	var ops []readstore.Op
	at := map[readstore.Op]int{}
	for _, op := range batch {
		key := readstore.Op{Kind: op.Kind, ID: op.ID, Field: op.Field, Rank: op.Rank}
		i, ok := at[key]
		if !ok {
			at[key] = len(ops)
			ops = append(ops, op)
			continue
		}
		ops[i].Delta += op.Delta
		ops[i].Value = op.Value
	}
	return ops
}

// wellFormed remembers what earlier operations said.
type wellFormed struct {
	sorts map[string]bool
	ranks map[[2]string]string           // document and sum → its ranked list
	sums  map[[2]string]string           // document and ranked list → its sum
	entry map[[2]string]readstore.Source // document and entry → where it is written from
}

func newWellFormed(model processing.Operations) *wellFormed {
	w := &wellFormed{
		sorts: map[string]bool{}, ranks: map[[2]string]string{}, sums: map[[2]string]string{}, entry: map[[2]string]readstore.Source{},
	}
	for _, r := range model.Rankings {
		w.sorts[r.Sort] = true
	}
	return w
}

func (w *wellFormed) check(from readstore.Source, ops []readstore.Op) error {
	for _, op := range ops {
		key := [2]string{op.ID, op.Field}
		if op.ID == "" || op.Field == "" || strings.Contains(op.ID, "/") {
			return fmt.Errorf("operation %+v: want a document id without '/' and a field", op)
		}
		switch op.Kind {
		case readstore.AddSum:
			if rank, ok := w.ranks[key]; ok && rank != op.Rank {
				return fmt.Errorf("operation %+v: the sum is ranked in %q before", op, rank)
			}
			w.ranks[key] = op.Rank
			if op.Rank == "" {
				continue
			}
			if sort, value, _ := strings.Cut(op.Rank, ":"); !w.sorts[sort] || value == "" {
				return fmt.Errorf("operation %+v: ranked list is not <sort>:<value> with a sort that Rankings names", op)
			}
			list := [2]string{op.ID, op.Rank}
			if sum, ok := w.sums[list]; ok && sum != op.Field {
				return fmt.Errorf("operation %+v: the ranked list is of sum %q", op, sum)
			}
			w.sums[list] = op.Field
		case readstore.SetEntry:
			if source, ok := w.entry[key]; ok && source != from {
				return fmt.Errorf("operation %+v: the entry is written from %s and from %s", op, source, from)
			}
			w.entry[key] = from
		default:
			return fmt.Errorf("operation %+v: only AddSum and SetEntry commute", op)
		}
	}
	return nil
}

// content is what operations make, as a store would keep it.
type content struct {
	sums    map[string]map[string]int64
	entries map[string]map[string]string
	ranked  map[string]map[string]int64
}

func newContent() content {
	return content{sums: map[string]map[string]int64{}, entries: map[string]map[string]string{}, ranked: map[string]map[string]int64{}}
}

func (c content) apply(ops []readstore.Op) {
	for _, op := range ops {
		if op.Kind == readstore.SetEntry {
			put(c.entries, op.ID, op.Field, op.Value)
			continue
		}
		sum := c.sums[op.ID][op.Field] + op.Delta
		put(c.sums, op.ID, op.Field, sum)
		if op.Rank != "" {
			put(c.ranked, op.Rank, op.ID, sum)
		}
	}
}

func put[V any](m map[string]map[string]V, outer, inner string, value V) {
	if m[outer] == nil {
		m[outer] = map[string]V{}
	}
	m[outer][inner] = value
}

func (c content) differs(other content) error {
	return errors.Join(
		differ("sums", c.sums, other.sums), differ("entries", c.entries, other.entries), differ("ranked list", c.ranked, other.ranked),
	)
}

func differ[V comparable](what string, a, b map[string]map[string]V) error {
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if !maps.Equal(a[key], b[key]) {
			return fmt.Errorf("%s of %s depend on the order between partitions or on batches: %v or %v", what, key, a[key], b[key])
		}
	}
	return nil
}

func (c content) checkView(model processing.Operations) error {
	if model.View == nil {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(c.sums)) {
		view, err := model.View(id, c.sums[id])
		if err == nil {
			_, err = json.Marshal(view)
		}
		if err != nil {
			return fmt.Errorf("view of %s with sums %v: %w", id, c.sums[id], err)
		}
	}
	return nil
}
