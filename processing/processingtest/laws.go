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
	"time"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
)

// coverageTries is how many random inputs are tried, always the same ones, to see whether a generator
// leads to everything that the laws are about.
const coverageTries = 1000

// Step is one command of a random history and what became of it.
type Step[S, C, E any] struct {
	In      processing.Context
	Before  S
	Command C
	// Events is empty if the command was refused.
	Events []E
	// Refusal is nil if the command was accepted.
	Refusal *processing.Refusal
	// After equals Before if the command was refused.
	After S
}

// CheckDecider holds d to the laws of a Decider, over histories of commands drawn from command
// (malformed ones are passed over, as the engine does):
//
//   - Decide and Evolve give the same for the same, and change neither state, command nor event;
//   - Decide returns either events of declared types, not in the past, which Evolve takes, or a declared refusal
//     alone;
//   - folding event by event and replaying from the first give the same state;
//   - a state that went through JSON, as in a snapshot, is the same state.
//
// laws are the domain's own: each is asked about every whole history. CheckDecider also fails t if the
// generator never leads to one of the declared commands, events or refusals: then the laws say nothing
// about it. (They say nothing about events in the past: test what Evolve makes of those by a [Scenario].)
func CheckDecider[S, C, E any](t testing.TB, d processing.Decider[S, C, E], command *rapid.Generator[C], laws ...func(history []Step[S, C, E]) error) {
	t.Helper()
	histories := rapid.SliceOfN(attempts(command, 1), 12, 40)
	if err := checkCoverage(d, histories); err != nil {
		t.Errorf("%s: %v", d.Aggregate, err)
		return
	}
	rapid.Check(t, func(t *rapid.T) {
		if err := checkHistory(d, histories.Draw(t, "commands"), laws...); err != nil {
			t.Fatalf("%s: %v", d.Aggregate, err)
		}
	})
}

// attempt is one command of a random history: to which aggregate and how long after the one before.
type attempt[C any] struct {
	Aggregate int
	Wait      time.Duration
	Command   C
}

func attempts[C any](command *rapid.Generator[C], aggregates int) *rapid.Generator[attempt[C]] {
	return rapid.Custom(func(t *rapid.T) attempt[C] {
		return attempt[C]{
			Aggregate: rapid.IntRange(0, aggregates-1).Draw(t, "aggregate"),
			Wait:      time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "wait")),
			Command:   command.Draw(t, "command"),
		}
	})
}

func checkHistory[S, C, E any](d processing.Decider[S, C, E], commands []attempt[C], laws ...func([]Step[S, C, E]) error) error {
	history, err := decideAll(d, commands)
	if err != nil {
		return err
	}
	for _, law := range laws {
		if err := law(history); err != nil {
			return fmt.Errorf("after %s: %w", commandsOf(history), err)
		}
	}
	return nil
}

// decideAll decides commands one after the other for one aggregate and holds every step to the laws.
func decideAll[S, C, E any](d processing.Decider[S, C, E], commands []attempt[C]) ([]Step[S, C, E], error) {
	var (
		history []Step[S, C, E]
		log     []E
		state   S
		in      = processing.Context{ID: d.Aggregate + "-1", At: start}
	)
	for _, a := range commands {
		in.At = in.At.Add(a.Wait)
		if validate(a.Command) != nil {
			continue
		}
		step, err := decideOnce(d, in, a.Command, state, log)
		if err != nil {
			return nil, fmt.Errorf("%s after %s: %w", describe(a.Command), commandsOf(history), err)
		}
		state = step.After
		log = append(log, step.Events...)
		history = append(history, step)
	}
	return history, nil
}

func decideOnce[S, C, E any](d processing.Decider[S, C, E], in processing.Context, command C, state S, log []E) (Step[S, C, E], error) {
	var none Step[S, C, E]
	step := Step[S, C, E]{In: in, Before: replay(d, log), Command: command}
	text := describe(command)
	if !declared(d.Commands, command) {
		return none, errors.New("its type is not among the Decider's Commands")
	}
	events, err := d.Decide(in, command, state)
	again, err2 := d.Decide(in, command, replay(d, log))
	switch {
	case !reflect.DeepEqual(events, again) || fmt.Sprint(err) != fmt.Sprint(err2):
		return none, fmt.Errorf("decide is not a function: first %s, %s, then %s, %s", describe(events), fmt.Sprint(err), describe(again), fmt.Sprint(err2))
	case !reflect.DeepEqual(state, step.Before):
		return none, errors.New("decide changed the state that it was given")
	case describe(command) != text:
		return none, errors.New("decide changed the command that it was given")
	case err != nil && len(events) > 0:
		return none, fmt.Errorf("decide returned events with an error: %s, %w", describe(events), err)
	}
	if step.Refusal, err = refusal(d.Refusals, err); err != nil {
		return none, err
	}
	step.Events = events
	step.After, err = evolveAll(d, state, log, events)
	return step, err
}

// evolveAll folds events into state, which is that after log, and holds each to the laws.
func evolveAll[S, C, E any](d processing.Decider[S, C, E], state S, log, events []E) (S, error) {
	log = log[:len(log):len(log)]
	for _, e := range events {
		if !declared(d.Events, e) {
			return state, fmt.Errorf("%T is not among the Decider's Events", e)
		}
		if slices.ContainsFunc(d.Events, func(t processing.Type) bool { return t.Past && t.Go == reflect.TypeOf(e) }) {
			return state, fmt.Errorf("decide returned %T, which is declared as an event in the past", e)
		}
		text := describe(e)
		next := d.Evolve(state, e)
		switch {
		case describe(e) != text:
			return state, fmt.Errorf("evolve changed the event that it was given: %s", text)
		case !reflect.DeepEqual(state, replay(d, log)):
			return state, fmt.Errorf("evolve changed the state that it was given, by %s", text)
		}
		log = append(log, e)
		if whole := replay(d, log); !reflect.DeepEqual(next, whole) {
			return state, fmt.Errorf("state by %s is %+v, replayed %+v", text, next, whole)
		}
		if err := survivesSnapshot(next); err != nil {
			return state, fmt.Errorf("state by %s: %w", text, err)
		}
		state = next
	}
	return state, nil
}

// survivesSnapshot returns an error if a state does not come back from JSON as it was.
func survivesSnapshot[S any](state S) error {
	text, err := json.Marshal(&state)
	if err != nil {
		return fmt.Errorf("a snapshot cannot keep it: %w", err)
	}
	var back S
	if err := json.Unmarshal(text, &back); err != nil {
		return fmt.Errorf("a snapshot %s of it cannot be read: %w", text, err)
	}
	if !reflect.DeepEqual(state, back) {
		return fmt.Errorf("%+v comes back from its snapshot %s as %+v", state, text, back)
	}
	return nil
}

func replay[S, C, E any](d processing.Decider[S, C, E], log []E) S {
	var state S
	for _, e := range log {
		state = d.Evolve(state, e)
	}
	return state
}

// checkCoverage returns an error if none of the histories that it tries leads to some declared type or
// refusal. It takes a broken law for an end of that history: checkHistory is there to report it.
func checkCoverage[S, C, E any](d processing.Decider[S, C, E], histories *rapid.Generator[[]attempt[C]]) error {
	missing := map[string]bool{}
	for _, c := range d.Commands {
		missing["command "+c.Name] = true
	}
	for _, e := range d.Events {
		if !e.Past {
			missing["event "+e.Name] = true
		}
	}
	for _, r := range d.Refusals {
		missing["refusal "+r.Code] = true
	}
	for seed := 0; seed < coverageTries && len(missing) > 0; seed++ {
		history, err := decideAll(d, histories.Example(seed))
		if err != nil {
			return nil //nolint:nilerr // a broken law: the check that follows finds and shrinks it
		}
		for _, step := range history {
			delete(missing, "command "+reflect.TypeOf(step.Command).Name())
			for _, e := range step.Events {
				delete(missing, "event "+reflect.TypeOf(e).Name())
			}
			if step.Refusal != nil {
				delete(missing, "refusal "+step.Refusal.Code)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the generator never leads to %s", strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
	}
	return nil
}

func commandsOf[S, C, E any](history []Step[S, C, E]) string {
	commands := make([]C, 0, len(history))
	for _, step := range history {
		commands = append(commands, step.Command)
	}
	return describe(commands)
}
