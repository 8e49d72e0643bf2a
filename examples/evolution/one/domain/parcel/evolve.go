package parcel

import "fmt"

func evolve(state State, event Event) State {
	switch event.(type) {
	case ParcelSent:
		state.Sent = true
	case ParcelWeighed:
	case ParcelDelivered:
		state.Delivered = true
	default:
		panic(fmt.Sprintf("parcel: evolving by unknown event %T", event))
	}
	return state
}
