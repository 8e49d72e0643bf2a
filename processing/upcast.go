package processing

import (
	"fmt"
	"reflect"
	"time"
)

// Upcaster makes a value of the next version of a type of one of an earlier version, which is a struct of its
// own. Make one with [Upcast].
type Upcaster struct {
	// From is the earlier version's struct, To the next one's.
	From Type
	To   reflect.Type
	// Up takes a From and the time of its event, and returns a To.
	Up func(value any, at time.Time) any
}

// Upcast returns the step from one version's struct to the next one's. up is pure: of equal arguments it makes
// equal values. It takes the time of the event for what the earlier version did not know.
func Upcast[From, To any](up func(from From, at time.Time) To) Upcaster {
	return Upcaster{From: TypeOf[From](), To: reflect.TypeFor[To](), Up: func(value any, at time.Time) any { return up(value.(From), at) }}
}

// Since returns the type with its earlier versions, oldest first; the last step makes the type itself. It
// panics on steps that do not follow each other.
func (t Type) Since(steps ...Upcaster) Type {
	for i, step := range steps {
		next := t.Go
		if i+1 < len(steps) {
			next = steps[i+1].From.Go
		}
		if step.To != next {
			panic(fmt.Sprintf("processing: %s: the upcaster from version %d makes %v, want %v", t.Name, i+1, step.To, next))
		}
	}
	t.Older = steps
	return t
}

// InThePast returns the type of an event that no command leads to any more. It is declared and evolved as any
// other: events of it are in the log.
func (t Type) InThePast() Type {
	t.Past = true
	return t
}
