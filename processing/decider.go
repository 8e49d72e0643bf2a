package processing

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Type is a Go struct type that a command or an event is decoded into. Its name is the simple name
// of its Avro record. Make one with [TypeOf].
type Type struct {
	// Name is the simple name, "OrderPlaced".
	Name string
	// Go is the struct type.
	Go reflect.Type
	// New returns a pointer to a new zero value.
	New func() any
	// Value returns what a pointer made by New points to.
	Value func(pointer any) any
	// Older are the versions before it, oldest first: [Type.Since].
	Older []Upcaster
	// Past says that no command leads to it any more: [Type.InThePast].
	Past bool
}

// TypeOf describes T, which must be a struct type.
func TypeOf[T any]() Type {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("processing: TypeOf[%s]: want a struct", t))
	}
	return Type{
		Name:  t.Name(),
		Go:    t,
		New:   func() any { return new(T) },
		Value: func(p any) any { return *p.(*T) },
	}
}

// Validator is a command that can tell on its own that it is malformed. It returns a *FieldError,
// which HTTP answers with 400; a command that arrives otherwise fails with "invalid-command".
type Validator interface {
	Validate() error
}

// Context is all that a decision may know besides the command and the state.
type Context struct {
	// At is the time of the events, in UTC. It never goes back within a partition.
	At time.Time
	// ID is the aggregate's id.
	ID string
}

// Decider is an aggregate: its state S, commands C and events E (C and E usually are sealed
// interfaces). Decide and Evolve are pure: same arguments, same result, no clock, no I/O.
type Decider[S, C, E any] struct {
	// Aggregate is the singular name, "order": it names the topics.
	Aggregate string
	// Collection is the plural, "orders": it names the HTTP resource.
	Collection string
	Commands   []Type
	Events     []Type
	// Refusals lists every refusal that Decide may return.
	Refusals []*Refusal
	// Decide returns the events that command leads to in state, in order, or a *Refusal.
	Decide func(in Context, command C, state S) ([]E, error)
	// Evolve returns the state after event. The zero S is the state before the first. S comes back whole
	// from JSON, in which snapshots keep it.
	Evolve func(state S, event E) S
	// StateVersion is raised whenever S changes, or what Evolve makes of the same events does, as with an
	// event type or an upcaster more: snapshots of another version are not read. Defaults to 1.
	StateVersion int
}

// Erase returns d with its type parameters hidden, for an App's list. It panics on a Decider that
// lacks a name, a type or a function, or whose state JSON does not keep whole: that is a mistake in a
// program, not in its input.
func (d Decider[S, C, E]) Erase() *Aggregate {
	if d.Aggregate == "" || d.Collection == "" || len(d.Commands) == 0 || len(d.Events) == 0 || d.Decide == nil || d.Evolve == nil {
		panic(fmt.Sprintf("processing: decider %q: name, collection, commands, events, Decide and Evolve are required", d.Aggregate))
	}
	if why := survivesJSON(reflect.TypeFor[S](), map[reflect.Type]bool{}); why != "" {
		panic(fmt.Sprintf("processing: decider %q: a snapshot would not keep its state: %s", d.Aggregate, why))
	}
	a := &Aggregate{
		Name: d.Aggregate, Collection: d.Collection, Commands: d.Commands, Events: d.Events, Refusals: d.Refusals,
		zero: *new(S), snapshots: d.snapshots(),
		pointer: func(state any) any { s := state.(S); return &s },
		value:   func(pointer any) any { return *pointer.(*S) },
	}
	a.decide = func(in Context, command, state any) ([]any, error) {
		events, err := d.Decide(in, command.(C), state.(S))
		if err != nil {
			return nil, err
		}
		erased := make([]any, len(events))
		for i, e := range events {
			erased[i] = e
		}
		return erased, nil
	}
	a.evolve = func(state, event any) any { return d.Evolve(state.(S), event.(E)) }
	return a
}

// Aggregate is a [Decider] without its type parameters.
type Aggregate struct {
	Name       string
	Collection string
	Commands   []Type
	Events     []Type
	Refusals   []*Refusal

	zero   any
	decide func(in Context, command, state any) ([]any, error)
	evolve func(state, event any) any
	// pointer returns a pointer to a copy of a state, value what a pointer to a state points to.
	pointer, value func(any) any
	snapshots      *ReadModel
}

// Command returns the command type of that name.
func (a *Aggregate) Command(name string) (Type, bool) { return find(a.Commands, name) }

// Event returns the event type of that name.
func (a *Aggregate) Event(name string) (Type, bool) { return find(a.Events, name) }

// RefusalKind returns the kind that a declared refusal has, Conflict for an unknown code.
func (a *Aggregate) RefusalKind(code string) RefusalKind {
	if code == ErrVersionConflict.Code {
		return VersionConflict
	}
	for _, r := range a.Refusals {
		if r.Code == code {
			return r.Kind
		}
	}
	return Conflict
}

func find(types []Type, name string) (Type, bool) {
	for _, t := range types {
		if t.Name == name {
			return t, true
		}
	}
	return Type{}, false
}

// KebabCase turns a type's name into the form it has in paths: PlaceOrder is place-order.
func KebabCase(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// typeName returns the declared name of a value's type, "" if it is not declared.
func typeName(types []Type, value any) string {
	t := reflect.TypeOf(value)
	for i := range types {
		if types[i].Go == t {
			return types[i].Name
		}
	}
	return ""
}
