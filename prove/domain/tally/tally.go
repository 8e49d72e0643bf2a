// Package tally decides what happens to a tally, the aggregate that the proofs work on: amounts are added,
// one command making one to five events, and taken, never more than there is.
//
// It is small enough for a checker to know every state by heart, and has what can go wrong: commands of
// several events, a refusal that hangs on what came before, and a sum that tells of an event too many or
// too few.
package tally

import "github.com/ledgerline/ledgerline/processing"

// MaxParts is the most events that one Add makes.
const MaxParts = 5

// State is what deciding the next command takes. The zero State is a tally of nothing.
type State struct {
	Sum int64
}

// The refusals of a tally.
var (
	ErrAmountNotPositive = processing.Refuse("amount-not-positive", processing.Unprocessable)
	ErrBadParts          = processing.Refuse("bad-parts", processing.Unprocessable)
	ErrNotEnough         = processing.Refuse("not-enough", processing.Conflict)
)

// Decider is the tally aggregate.
var Decider = processing.Decider[State, Command, Event]{
	Aggregate:  "tally",
	Collection: "tallies",
	Commands:   []processing.Type{processing.TypeOf[Add](), processing.TypeOf[Take]()},
	Events:     []processing.Type{processing.TypeOf[Added](), processing.TypeOf[Taken]()},
	Refusals:   []*processing.Refusal{ErrAmountNotPositive, ErrBadParts, ErrNotEnough},
	Decide:     decide,
	Evolve:     evolve,
}
