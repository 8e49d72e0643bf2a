package account

import "fmt"

// evolve panics on an event that is not the account's: the codec makes none.
func evolve(state State, event Event) State {
	switch e := event.(type) {
	case AccountCreated:
		return State{Status: Open, Balance: e.InitialBalance}
	case MoneyDeposited:
		state.Balance.MinorUnits += e.Amount.MinorUnits
	case MoneyWithdrawn:
		state.Balance.MinorUnits -= e.Amount.MinorUnits
	case AccountClosed:
		state.Status = Closed
	default:
		panic(fmt.Sprintf("account: evolving by unknown event %T", event))
	}
	return state
}
