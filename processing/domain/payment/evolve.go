package payment

import "fmt"

// evolve panics on an event that is not the payment's: the codec makes none.
func evolve(state State, event Event) State {
	switch e := event.(type) {
	case OrderCreated:
		return State{Status: New, Amount: e.Amount}
	case PaymentAuthorized:
		state.Status = Authorized
		state.PaymentID = e.PaymentID
	case PaymentCaptured:
		state.Status = Captured
		state.CapturedMinor = e.Amount.MinorUnits
	case RefundIssued:
		state.RefundedMinor += e.Amount.MinorUnits
		if state.RefundedMinor == state.CapturedMinor {
			state.Status = Refunded
		}
	default:
		panic(fmt.Sprintf("payment: evolving by unknown event %T", event))
	}
	return state
}
