package loyalty

import "fmt"

// evolve panics on an event that is not the aggregate's: the codec makes none.
func evolve(state State, event Event) State {
	switch e := event.(type) {
	case PointsEarned:
		state.Member = true
		state.Points += e.Points
	case PointsSpent:
		state.Points -= e.Points
	case PointsExpired:
		state.Points -= e.Points
	default:
		panic(fmt.Sprintf("loyalty: evolving by unknown event %T", event))
	}
	return state
}
