package loyalty_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/examples/loyalty/domain/loyalty"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

type step = processingtest.Step[loyalty.State, loyalty.Command, loyalty.Event]

// commands draws few points, so that a balance often is just enough or just not.
func commands() *rapid.Generator[loyalty.Command] {
	return rapid.Custom(func(t *rapid.T) loyalty.Command {
		points := rapid.Int64Range(-1, 5).Draw(t, "points")
		switch rapid.SampledFrom([]string{"spend", "expire", "earn"}).Draw(t, "command") {
		case "earn":
			return loyalty.EarnPoints{Points: points, Reason: rapid.SampledFrom([]string{"purchase", "review"}).Draw(t, "reason")}
		case "spend":
			return loyalty.SpendPoints{Points: points}
		default:
			return loyalty.ExpirePoints{Points: points}
		}
	})
}

func TestLaws(t *testing.T) {
	processingtest.CheckDecider(t, loyalty.Decider, commands(), pointsAreConserved)
}

// pointsAreConserved: the balance is what was earned less what was spent and has expired, never below zero.
func pointsAreConserved(history []step) error {
	var balance int64
	for _, s := range history {
		for _, e := range s.Events {
			switch e := e.(type) {
			case loyalty.PointsEarned:
				balance += e.Points
			case loyalty.PointsSpent:
				balance -= e.Points
			case loyalty.PointsExpired:
				balance -= e.Points
			}
		}
		if s.After.Points != balance || balance < 0 {
			return fmt.Errorf("%+v: the events come to %d points, the state has %d", s.Command, balance, s.After.Points)
		}
	}
	return nil
}
