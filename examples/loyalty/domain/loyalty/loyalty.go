// Package loyalty decides what happens to a member's points: they are earned, spent and expire.
//
// It owns the rules of one member and nothing else: it knows no prices and no calendar; whoever expires
// points says when and how many. It refuses to spend or expire more than there is, and knows nobody who
// has never earned.
package loyalty

import "github.com/ledgerline/ledgerline/processing"

// State is what deciding the next command takes. The zero State is somebody who is no member yet.
type State struct {
	Member bool
	Points int64 // never negative
}

// The refusals of a member.
var (
	ErrPointsNotPositive  = processing.Refuse("points-not-positive", processing.Unprocessable)
	ErrMemberNotFound     = processing.Refuse("member-not-found", processing.NotFound)
	ErrInsufficientPoints = processing.Refuse("insufficient-points", processing.Conflict)
)

// Decider is the loyalty aggregate. Its id is the member's.
var Decider = processing.Decider[State, Command, Event]{
	Aggregate:  "loyalty",
	Collection: "members",
	Commands: []processing.Type{
		processing.TypeOf[EarnPoints](),
		processing.TypeOf[SpendPoints](),
		processing.TypeOf[ExpirePoints](),
	},
	Events: []processing.Type{
		processing.TypeOf[PointsEarned](),
		processing.TypeOf[PointsSpent](),
		processing.TypeOf[PointsExpired](),
	},
	Refusals: []*processing.Refusal{ErrPointsNotPositive, ErrMemberNotFound, ErrInsufficientPoints},
	Decide:   decide,
	Evolve:   evolve,
}
