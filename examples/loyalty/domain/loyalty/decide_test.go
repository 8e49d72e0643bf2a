package loyalty_test

import (
	"testing"

	"github.com/ledgerline/ledgerline/examples/loyalty/domain/loyalty"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

type row = processingtest.Row[loyalty.Command, loyalty.Event]

var (
	scenario = processingtest.Scenario[loyalty.State, loyalty.Command, loyalty.Event]{Decider: loyalty.Decider, ID: "m-1"}

	earned50 = loyalty.PointsEarned{MemberID: "m-1", Points: 50, Reason: "purchase"}
	spent50  = loyalty.PointsSpent{MemberID: "m-1", Points: 50}
	member   = []loyalty.Event{earned50}
	poor     = []loyalty.Event{earned50, spent50}
)

func TestEarnPoints(t *testing.T) {
	earn := func(points int64) loyalty.EarnPoints { return loyalty.EarnPoints{Points: points, Reason: "purchase"} }
	most := earned50
	most.Points = loyalty.MaxPoints
	scenario.Run(t, []row{
		{Name: "the first makes a member", When: earn(50), Then: member},
		{Name: "more", Given: poor, When: earn(50), Then: member},
		{Name: "the most", When: earn(loyalty.MaxPoints), Then: []loyalty.Event{most}},
		{Name: "above the most", When: earn(loyalty.MaxPoints + 1), Invalid: "points"},
		{Name: "none", When: earn(0), Refused: loyalty.ErrPointsNotPositive},
		{Name: "less than none", Given: member, When: earn(-1), Refused: loyalty.ErrPointsNotPositive},
		{Name: "a reason that is no id", When: loyalty.EarnPoints{Points: 50, Reason: "a purchase"}, Invalid: "reason"},
	})
}

func TestSpendPoints(t *testing.T) {
	scenario.Run(t, []row{
		{Name: "some", Given: member, When: loyalty.SpendPoints{Points: 20}, Then: []loyalty.Event{loyalty.PointsSpent{MemberID: "m-1", Points: 20}}},
		{Name: "all", Given: member, When: loyalty.SpendPoints{Points: 50}, Then: []loyalty.Event{spent50}},
		{Name: "one too many", Given: member, When: loyalty.SpendPoints{Points: 51}, Refused: loyalty.ErrInsufficientPoints},
		{Name: "twice", Given: poor, When: loyalty.SpendPoints{Points: 50}, Refused: loyalty.ErrInsufficientPoints},
		{Name: "none", Given: member, When: loyalty.SpendPoints{Points: 0}, Refused: loyalty.ErrPointsNotPositive},
		{Name: "less than none", Given: member, When: loyalty.SpendPoints{Points: -1}, Refused: loyalty.ErrPointsNotPositive},
		{Name: "nobody", When: loyalty.SpendPoints{Points: 50}, Refused: loyalty.ErrMemberNotFound},
	})
}

func TestExpirePoints(t *testing.T) {
	scenario.Run(t, []row{
		{Name: "all", Given: member, When: loyalty.ExpirePoints{Points: 50}, Then: []loyalty.Event{loyalty.PointsExpired{MemberID: "m-1", Points: 50}}},
		{Name: "one too many", Given: member, When: loyalty.ExpirePoints{Points: 51}, Refused: loyalty.ErrInsufficientPoints},
		{Name: "none", Given: member, When: loyalty.ExpirePoints{Points: 0}, Refused: loyalty.ErrPointsNotPositive},
		{Name: "nobody", When: loyalty.ExpirePoints{Points: 50}, Refused: loyalty.ErrMemberNotFound},
	})
}
