package processingtest

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// A list is an aggregate with a state that can be shared by mistake.
type (
	list        struct{ Items []int }
	AddItem     struct{ Item *int }
	DropItem    struct{}
	ItemAdded   struct{ Item *int }
	ItemDropped struct{ Item int }
	listSorted  struct{} // no command leads to it
)

var errEmpty = processing.Refuse("empty", processing.Conflict)

func lists() processing.Decider[list, any, any] {
	return processing.Decider[list, any, any]{
		Aggregate:  "list",
		Collection: "lists",
		Commands:   []processing.Type{processing.TypeOf[AddItem](), processing.TypeOf[DropItem]()},
		Events:     []processing.Type{processing.TypeOf[ItemAdded](), processing.TypeOf[ItemDropped]()},
		Refusals:   []*processing.Refusal{errEmpty},
		Decide: func(_ processing.Context, command any, s list) ([]any, error) {
			if c, ok := command.(AddItem); ok {
				return []any{ItemAdded(c)}, nil
			}
			if len(s.Items) == 0 {
				return nil, errEmpty
			}
			return []any{ItemDropped{s.Items[0]}}, nil
		},
		Evolve: func(s list, event any) list {
			if e, ok := event.(ItemAdded); ok {
				return list{append(s.Items[:len(s.Items):len(s.Items)], *e.Item)}
			}
			return list{s.Items[1:]}
		},
	}
}

func listCommands() *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		if rapid.Bool().Draw(t, "add") {
			return AddItem{new(rapid.IntRange(1, 9).Draw(t, "item"))}
		}
		return DropItem{}
	})
}

func TestCheckDeciderPasses(t *testing.T) {
	CheckDecider(t, lists(), listCommands(), func([]Step[list, any, any]) error { return nil })
}

// TestCheckDeciderFindsMutants breaks a Decider in every way that a law is about.
func TestCheckDeciderFindsMutants(t *testing.T) {
	type decider = processing.Decider[list, any, any]
	calls := 0
	mutants := []struct {
		name   string
		says   string
		mutate func(d *decider, good decider)
	}{
		{"decide counts its calls", "decide is not a function", func(d *decider, good decider) {
			d.Decide = func(in processing.Context, c any, s list) ([]any, error) {
				if calls++; calls%2 == 0 {
					return nil, errEmpty
				}
				return good.Decide(in, c, s)
			}
		}},
		{"decide changes the state", "decide changed the state", func(d *decider, good decider) {
			d.Decide = func(in processing.Context, c any, s list) ([]any, error) {
				events, err := good.Decide(in, c, s)
				if len(s.Items) > 0 {
					s.Items[0]++
				}
				return events, err
			}
		}},
		{"decide changes the command", "decide changed the command", func(d *decider, good decider) {
			d.Decide = func(in processing.Context, c any, s list) ([]any, error) {
				if add, ok := c.(AddItem); ok {
					*add.Item = 100
				}
				return good.Decide(in, c, s)
			}
		}},
		{"decide returns events with a refusal", "events with an error", func(d *decider, _ decider) {
			d.Decide = func(processing.Context, any, list) ([]any, error) { return []any{ItemDropped{}}, errEmpty }
		}},
		{"decide returns another error", "no refusal", func(d *decider, _ decider) {
			d.Decide = func(processing.Context, any, list) ([]any, error) { return nil, errors.New("clock is late") }
		}},
		{"undeclared refusal", "not among the Decider's Refusals", func(d *decider, _ decider) { d.Refusals = nil }},
		{"refusal of another kind", "not among the Decider's Refusals", func(d *decider, _ decider) {
			d.Refusals = []*processing.Refusal{processing.Refuse("empty", processing.NotFound)}
		}},
		{"undeclared event", "not among the Decider's Events", func(d *decider, _ decider) { d.Events = d.Events[1:] }},
		{"undeclared command", "not among the Decider's Commands", func(d *decider, _ decider) { d.Commands = d.Commands[1:] }},
		{"an event in the past", "ItemAdded, which is declared as an event in the past", func(d *decider, _ decider) { d.Events[0] = d.Events[0].InThePast() }},
		{"evolve changes the state in place", "evolve changed the state", func(d *decider, good decider) {
			d.Evolve = func(s list, e any) list {
				if len(s.Items) > 0 {
					s.Items[0]++
				}
				return good.Evolve(s, e)
			}
		}},
		{"evolve changes the event", "evolve changed the event", func(d *decider, good decider) {
			d.Evolve = func(s list, e any) list {
				next := good.Evolve(s, e)
				if add, ok := e.(ItemAdded); ok {
					*add.Item++
				}
				return next
			}
		}},
		{"evolve remembers outside of the state", "replayed", func(d *decider, good decider) {
			d.Evolve = func(s list, e any) list {
				calls++
				next := good.Evolve(s, e)
				next.Items = append(next.Items[:len(next.Items):len(next.Items)], calls)
				return next
			}
		}},
		{"evolve panics", "panic", func(d *decider, _ decider) { d.Evolve = func(list, any) list { panic("no") } }},
	}
	histories := rapid.SliceOfN(attempts(listCommands(), 1), 12, 40)
	for _, m := range mutants {
		d := lists()
		m.mutate(&d, lists())
		if err := firstFailure(func(seed int) error { return checkHistory(d, histories.Example(seed)) }); err == nil || !strings.Contains(err.Error(), m.says) {
			t.Errorf("%s: want %q, got %v", m.name, m.says, err)
		}
	}
}

func firstFailure(check func(seed int) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("panic")
		}
	}()
	for seed := 0; seed < 100 && err == nil; seed++ {
		err = check(seed)
	}
	return err
}

func TestCheckDeciderAsksTheDomainsLaws(t *testing.T) {
	history := rapid.SliceOfN(attempts(listCommands(), 1), 12, 40).Example(1)
	err := checkHistory(lists(), history, func(steps []Step[list, any, any]) error {
		if len(steps) != len(history) || steps[0].In.ID != "list-1" || steps[0].In.At.Before(start) {
			t.Errorf("law was asked about %d of %d steps, the first in %+v", len(steps), len(history), steps[0].In)
		}
		return errors.New("no two items alike")
	})
	if err == nil || !strings.Contains(err.Error(), "no two items alike") {
		t.Errorf("got %v", err)
	}
}

func TestCheckDeciderWantsEverythingReached(t *testing.T) {
	for what, command := range map[string]*rapid.Generator[any]{
		"command DropItem, event ItemDropped, refusal empty":  rapid.Just[any](AddItem{new(int)}),
		"command AddItem, event ItemAdded, event ItemDropped": rapid.Just[any](DropItem{}),
	} {
		err := checkCoverage(lists(), rapid.SliceOfN(attempts(command, 1), 12, 40))
		if err == nil || !strings.HasSuffix(err.Error(), "leads to "+what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
	past := lists()
	past.Events = append(past.Events, processing.TypeOf[listSorted]().InThePast())
	for _, d := range []processing.Decider[list, any, any]{lists(), past} {
		if err := checkCoverage(d, rapid.SliceOfN(attempts(listCommands(), 1), 12, 40)); err != nil {
			t.Error(err)
		}
	}
}

// totals is a right projection: every list's items add up in one document.
func totals() processing.Operations {
	return processing.Operations{
		Name: "totals", Collection: "totals", CodeVersion: 1, Aggregates: []string{"list"},
		Rankings: []processing.Ranking{{Sort: "total", Parameter: "unit"}},
		Project: func(e processing.Event) ([]readstore.Op, error) {
			delta := int64(1)
			if added, ok := e.Data.(ItemAdded); ok {
				delta = int64(*added.Item)
			}
			return []readstore.Op{
				{Kind: readstore.AddSum, ID: "all", Field: "total", Delta: delta, Rank: "total:pieces"},
				{Kind: readstore.SetEntry, ID: "all", Field: e.AggregateID, Value: e.ID},
			}, nil
		},
		View: func(_ string, sums map[string]int64) (any, error) { return sums, nil },
	}
}

func TestCheckOperationsPasses(t *testing.T) {
	CheckOperations(t, totals(), Log(lists(), listCommands()))
}

// TestCheckOperationsFindsMutants breaks a projection in every way that a law is about.
func TestCheckOperationsFindsMutants(t *testing.T) {
	calls := int64(0)
	change := func(f func(e processing.Event, ops []readstore.Op) []readstore.Op) func(*processing.Operations) {
		return func(m *processing.Operations) {
			m.Project = func(e processing.Event) ([]readstore.Op, error) {
				ops, err := totals().Project(e)
				return f(e, ops), err
			}
		}
	}
	mutants := []struct {
		name, says string
		change     func(*processing.Operations)
	}{
		{"counts its calls", "project is not a function", change(func(_ processing.Event, ops []readstore.Op) []readstore.Op {
			calls++
			ops[0].Delta = calls
			return ops
		})},
		{"changes the event", "project changed the event", change(func(e processing.Event, ops []readstore.Op) []readstore.Op {
			if added, ok := e.Data.(ItemAdded); ok {
				*added.Item = -1
			}
			return ops[1:]
		})},
		{"remembers earlier events", "project is not a function", change(func() func(processing.Event, []readstore.Op) []readstore.Op {
			seen := map[string]bool{}
			return func(e processing.Event, ops []readstore.Op) []readstore.Op {
				if e.Version == 1 {
					seen[e.AggregateID] = true
				}
				if !seen[e.AggregateID] {
					ops[0].Delta = 0
				}
				return ops
			}
		}())},
		{"one entry of two partitions", "the entry is written from", change(func(_ processing.Event, ops []readstore.Op) []readstore.Op {
			ops[1].Field = "last"
			return ops
		})},
		{"whole documents", "only AddSum and SetEntry", change(func(_ processing.Event, ops []readstore.Op) []readstore.Op {
			ops[0].Kind = readstore.SetDocument
			return ops
		})},
		{"no document", "want a document id", change(func(_ processing.Event, ops []readstore.Op) []readstore.Op {
			ops[0].ID = ""
			return ops
		})},
		{"slash in document", "want a document id", change(func(_ processing.Event, ops []readstore.Op) []readstore.Op {
			ops[0].ID = "a/b"
			return ops
		})},
		{"no field", "want a document id", change(func(_ processing.Event, ops []readstore.Op) []readstore.Op {
			ops[1].Field = ""
			return ops
		})},
		{"undeclared ranking", "ranked list is not", func(m *processing.Operations) { m.Rankings = nil }},
		{"ranking without value", "ranked list is not", change(func(_ processing.Event, ops []readstore.Op) []readstore.Op {
			ops[0].Rank = "total"
			return ops
		})},
		{"ranked at times", "is ranked in", change(func(e processing.Event, ops []readstore.Op) []readstore.Op {
			if e.Partition == 0 {
				ops[0].Rank = ""
			}
			return ops
		})},
		{"two sums in one ranked list", "the ranked list is of sum", change(func(e processing.Event, ops []readstore.Op) []readstore.Op {
			ops[0].Field += e.AggregateID
			return ops
		})},
		{"no view", "view of all", func(m *processing.Operations) {
			m.View = func(string, map[string]int64) (any, error) { return nil, errors.New("no") }
		}},
		{"view that JSON cannot write", "view of all", func(m *processing.Operations) {
			m.View = func(string, map[string]int64) (any, error) { return func() {}, nil }
		}},
		{"project refuses", "cannot", func(m *processing.Operations) {
			m.Project = func(processing.Event) ([]readstore.Op, error) { return nil, errors.New("cannot") }
		}},
	}
	logs := Log(lists(), listCommands())
	for _, m := range mutants {
		model := totals()
		m.change(&model)
		err := firstFailure(func(seed int) error {
			events := logs.Example(seed)
			return checkOperations(model, events, sources(events), make([]bool, len(events)))
		})
		if err == nil || !strings.Contains(err.Error(), m.says) {
			t.Errorf("%s: want %q, got %v", m.name, m.says, err)
		}
	}
}

// TestCheckOperationsComparesOrders lets order matter where no form forbids it: the law itself must see it.
func TestCheckOperationsComparesOrders(t *testing.T) {
	a, b := newContent(), newContent()
	op := func(kind readstore.OpKind, value string, delta int64) []readstore.Op {
		return []readstore.Op{{Kind: kind, ID: "all", Field: "f", Value: value, Delta: delta, Rank: "total:pieces"}}
	}
	a.apply(op(readstore.SetEntry, "1", 0))
	a.apply(op(readstore.SetEntry, "2", 0))
	b.apply(op(readstore.SetEntry, "2", 0))
	b.apply(op(readstore.SetEntry, "1", 0))
	if err := a.differs(b); err == nil || !strings.Contains(err.Error(), "entries of all") {
		t.Errorf("entries: got %v", err)
	}
	a.apply(op(readstore.AddSum, "", 1))
	b.apply(op(readstore.AddSum, "", 2))
	if err := a.differs(b); err == nil || !strings.Contains(err.Error(), "sums of all") || !strings.Contains(err.Error(), "ranked list of total:pieces") {
		t.Errorf("sums: got %v", err)
	}
}

func TestCheckOperationsWantsSomethingShared(t *testing.T) {
	alone := totals()
	alone.Project = func(e processing.Event) ([]readstore.Op, error) {
		return []readstore.Op{{Kind: readstore.AddSum, ID: e.AggregateID, Field: "n", Delta: 1}}, nil
	}
	if logs := Log(lists(), listCommands()); anyShared(alone, logs) || !anyShared(totals(), logs) {
		t.Error("want totals alone to have documents that two partitions change")
	}
}

func TestLogIsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		versions := map[string]int64{}
		offsets := map[int32]int64{}
		commands := map[int32]int64{}
		for _, e := range Log(lists(), listCommands()).Draw(t, "log") {
			versions[e.AggregateID]++
			if e.Version != versions[e.AggregateID] || e.Offset != offsets[e.Partition] || e.CommandOffset < commands[e.Partition] || !e.Last {
				t.Fatalf("out of order: %+v", e)
			}
			offsets[e.Partition]++
			commands[e.Partition] = e.CommandOffset + 1
		}
	})
}

// TestStatesSurviveSnapshots: the law on states that a snapshot would not keep.
func TestStatesSurviveSnapshots(t *testing.T) {
	if err := survivesSnapshot(list{[]int{}}); err != nil {
		t.Error(err)
	}
	type omits struct {
		Items []int `json:",omitempty"`
	}
	for name, err := range map[string]error{
		"unexported":      survivesSnapshot(struct{ items []int }{[]int{1}}),
		"empty, left out": survivesSnapshot(omits{[]int{}}),
		"no number":       survivesSnapshot(math.NaN()),
		"an interface":    survivesSnapshot(struct{ Any any }{1}),
	} {
		if err == nil || !strings.Contains(err.Error(), "snapshot") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	d := processing.Decider[omits, any, any]{
		Aggregate: "list", Collection: "lists", Commands: lists().Commands, Events: lists().Events,
		Decide: func(processing.Context, any, omits) ([]any, error) { return []any{ItemDropped{}}, nil },
		Evolve: func(omits, any) omits { return omits{[]int{}} },
	}
	if err := checkHistory(d, []attempt[any]{{Command: DropItem{}}}); err == nil || !strings.Contains(err.Error(), "comes back from its snapshot") {
		t.Errorf("got %v", err)
	}
}
