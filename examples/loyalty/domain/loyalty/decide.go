package loyalty

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
)

func decide(in processing.Context, command Command, state State) ([]Event, error) {
	switch c := command.(type) {
	case EarnPoints:
		if c.Points <= 0 {
			return nil, ErrPointsNotPositive.Because("points are %d", c.Points)
		}
		return []Event{PointsEarned{MemberID: in.ID, Points: c.Points, Reason: c.Reason}}, nil
	case SpendPoints:
		return take(c.Points, state, PointsSpent{MemberID: in.ID, Points: c.Points})
	case ExpirePoints:
		return take(c.Points, state, PointsExpired{MemberID: in.ID, Points: c.Points})
	default:
		return nil, fmt.Errorf("deciding loyalty %s: unknown command %T", in.ID, command)
	}
}

// take returns event if state has as many points, else a refusal.
func take(points int64, state State, event Event) ([]Event, error) {
	switch {
	case !state.Member:
		return nil, ErrMemberNotFound
	case points <= 0:
		return nil, ErrPointsNotPositive.Because("points are %d", points)
	case points > state.Points:
		return nil, ErrInsufficientPoints.Because("balance is %d, asked for %d", state.Points, points)
	}
	return []Event{event}, nil
}
