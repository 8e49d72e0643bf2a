package tally

import "fmt"

// evolve panics on an event that is not the aggregate's: the codec makes none.
func evolve(state State, event Event) State {
	switch e := event.(type) {
	case Added:
		state.Sum += e.Amount
	case Taken:
		state.Sum -= e.Amount
	default:
		panic(fmt.Sprintf("tally: evolving by unknown event %T", event))
	}
	return state
}
