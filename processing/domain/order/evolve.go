package order

import "fmt"

// evolve panics on an event that is not the order's: the codec makes none.
func evolve(state State, event Event) State {
	switch e := event.(type) {
	case OrderPlaced:
		return State{Status: Placed, CustomerID: e.CustomerID, TotalAmount: e.TotalAmount}
	case PaymentReceived:
		state.Status = Paid
	case OrderShipped:
		state.Status = Shipped
	case OrderCancelled:
		state.Status = Cancelled
	default:
		panic(fmt.Sprintf("order: evolving by unknown event %T", event))
	}
	return state
}
