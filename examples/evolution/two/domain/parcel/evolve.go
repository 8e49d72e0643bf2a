package parcel

import "fmt"

func evolve(state State, event Event) State {
	switch event.(type) {
	case ParcelSent:
		state.Sent = true
	case ParcelWeighed, FeeCharged:
	case ParcelHandedOver, ParcelDelivered:
		state.Delivered = true
	default:
		panic(fmt.Sprintf("parcel: evolving by unknown event %T", event))
	}
	return state
}
