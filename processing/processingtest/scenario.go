// Package processingtest tests domains, projections and whole pipelines.
//
// A [Scenario] says what one decision must be: given these events, when this command, then those
// events. [CheckDecider] and [CheckOperations] hold a domain and a projection to the laws that the
// engines rely on, over histories of random commands.
package processingtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/processing"
)

// start is the default time of decisions.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Scenario tests decisions of a Decider. It is a value: declare it once, use it in every test.
type Scenario[S, C, E any] struct {
	Decider processing.Decider[S, C, E]
	// ID is the aggregate's id. Defaults to "id-1".
	ID string
	// At is the time of the decision. Defaults to 2026-01-02T03:04:05Z.
	At time.Time
}

// Given says what has happened to the aggregate, in order; nothing for one that does not exist.
func (s Scenario[S, C, E]) Given(events ...E) Given[S, C, E] {
	if s.ID == "" {
		s.ID = "id-1"
	}
	if s.At.IsZero() {
		s.At = start
	}
	return Given[S, C, E]{scenario: s, events: events}
}

// Given is an aggregate with a history.
type Given[S, C, E any] struct {
	scenario Scenario[S, C, E]
	events   []E
}

// When decides command as the engine does: if the command is a [processing.Validator] and says that it
// is malformed, Decide is not asked.
func (g Given[S, C, E]) When(command C) Decision[C, E] {
	s := g.scenario
	d := Decision[C, E]{commands: s.Decider.Commands, types: s.Decider.Events, refusals: s.Decider.Refusals}
	d.title = fmt.Sprintf("%s %s\n given %s\n when  %s", s.Decider.Aggregate, s.ID, describe(g.events), describe(command))
	d.command = command
	if d.invalid = validate(command); d.invalid != nil {
		return d
	}
	var state S
	for _, e := range g.events {
		state = s.Decider.Evolve(state, e)
	}
	d.events, d.err = s.Decider.Decide(processing.Context{At: s.At, ID: s.ID}, command, state)
	for _, e := range d.events {
		state = s.Decider.Evolve(state, e)
	}
	return d
}

// Decision is what became of a command.
type Decision[C, E any] struct {
	title    string
	command  C
	commands []processing.Type
	types    []processing.Type
	refusals []*processing.Refusal

	events  []E
	err     error
	invalid error
}

// Then fails t unless the command led to exactly these events, in this order, of declared types.
// Events are compared with [reflect.DeepEqual].
func (d Decision[C, E]) Then(t testing.TB, events ...E) {
	t.Helper()
	if d.err != nil || d.invalid != nil || len(events) != len(d.events) || len(events) > 0 && !reflect.DeepEqual(events, d.events) {
		t.Errorf("%s\n got   %s\n want  %s", d.title, d.got(), describe(events))
	}
	d.checkDeclared(t)
}

// ThenRefused fails t unless the command was refused with the code of want, and that is declared.
func (d Decision[C, E]) ThenRefused(t testing.TB, want *processing.Refusal) {
	t.Helper()
	var got *processing.Refusal
	if !errors.As(d.err, &got) || got.Code != want.Code || got.Kind != want.Kind || len(d.events) > 0 {
		t.Errorf("%s\n got   %s\n want  refused: %s", d.title, d.got(), want)
	}
	d.checkDeclared(t)
}

// ThenInvalid fails t unless the command said by a [processing.FieldError] of that field that it is
// malformed.
func (d Decision[C, E]) ThenInvalid(t testing.TB, field string) {
	t.Helper()
	var got *processing.FieldError
	if !errors.As(d.invalid, &got) || got.Field != field {
		t.Errorf("%s\n got   %s\n want  invalid: %s", d.title, d.got(), field)
	}
	d.checkDeclared(t)
}

func (d Decision[C, E]) checkDeclared(t testing.TB) {
	t.Helper()
	if !declared(d.commands, d.command) {
		t.Errorf("%s\n the command's type is not among the Decider's Commands", d.title)
	}
	for _, e := range d.events {
		if !declared(d.types, e) {
			t.Errorf("%s\n %T is not among the Decider's Events", d.title, e)
		}
	}
	if _, err := refusal(d.refusals, d.err); err != nil {
		t.Errorf("%s\n %v", d.title, err)
	}
}

func (d Decision[C, E]) got() string {
	switch {
	case d.invalid != nil:
		return "invalid: " + d.invalid.Error()
	case d.err != nil:
		return "refused: " + d.err.Error()
	}
	return describe(d.events)
}

// Row is a line of a table of decisions. One of Refused, Invalid and Then says what must come of it;
// with none of them the command must be accepted without events.
type Row[C, E any] struct {
	Name  string
	Given []E
	When  C
	Then  []E
	// Refused is the refusal expected, nil for none.
	Refused *processing.Refusal
	// Invalid is the field that the command must call malformed, "" for none.
	Invalid string
}

// Run tests each row in a subtest of its name.
func (s Scenario[S, C, E]) Run(t *testing.T, rows []Row[C, E]) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.Name, func(t *testing.T) {
			t.Helper()
			d := s.Given(r.Given...).When(r.When)
			switch {
			case r.Invalid != "":
				d.ThenInvalid(t, r.Invalid)
			case r.Refused != nil:
				d.ThenRefused(t, r.Refused)
			default:
				d.Then(t, r.Then...)
			}
		})
	}
}

func validate(command any) error {
	if v, ok := command.(processing.Validator); ok {
		return v.Validate()
	}
	return nil
}

func declared(types []processing.Type, value any) bool {
	for _, t := range types {
		if reflect.TypeOf(value) == t.Go {
			return true
		}
	}
	return false
}

// refusal returns err as a refusal, nil for nil, and an error if it is none of those declared.
func refusal(declared []*processing.Refusal, err error) (*processing.Refusal, error) {
	if err == nil {
		return nil, nil
	}
	var r *processing.Refusal
	if !errors.As(err, &r) {
		return nil, fmt.Errorf("decide returned an error that is no refusal: %w", err)
	}
	for _, d := range declared {
		if r.Code == d.Code && r.Kind == d.Kind {
			return r, nil
		}
	}
	return nil, fmt.Errorf("refusal %s is not among the Decider's Refusals", r.Code)
}

// describe writes a value, or each element of a slice, with its type and what its pointers point to.
func describe(value any) string {
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice {
		if v.Len() == 0 {
			return "nothing"
		}
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = describe(v.Index(i).Interface())
		}
		return strings.Join(parts, ", ")
	}
	name := fmt.Sprintf("%T", value)
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%s %+v", name[strings.LastIndex(name, ".")+1:], value)
	}
	return fmt.Sprintf("%s %s", name[strings.LastIndex(name, ".")+1:], text)
}
