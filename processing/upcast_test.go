package processing

import (
	"strings"
	"testing"
	"time"
)

type (
	cup1 struct{ Size int64 }
	cup2 struct{ Size, Handles int64 }
	cup3 struct{ Size, Handles, Filled int64 }
)

// TestSince takes steps that follow each other, and refuses others at once.
func TestSince(t *testing.T) {
	first := Upcast(func(c cup1, _ time.Time) cup2 { return cup2{c.Size, 1} })
	second := Upcast(func(c cup2, at time.Time) cup3 { return cup3{c.Size, c.Handles, at.Unix()} })
	cup := TypeOf[cup3]().Since(first, second)
	var value any = cup1{5}
	for _, step := range cup.Older {
		value = step.Up(value, time.Unix(7, 0))
	}
	if value != (cup3{5, 1, 7}) {
		t.Errorf("got %+v", value)
	}
	for want, steps := range map[string][]Upcaster{
		"the upcaster from version 1 makes processing.cup2, want processing.cup3": {first},
		"the upcaster from version 1 makes processing.cup2, want processing.cup1": {first, first},
		"the upcaster from version 1 makes processing.cup3, want processing.cup1": {second, first},
	} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.Contains(said, want) {
					t.Errorf("it does not say %q", want)
				}
			}()
			TypeOf[cup3]().Since(steps...)
		}()
	}
}
