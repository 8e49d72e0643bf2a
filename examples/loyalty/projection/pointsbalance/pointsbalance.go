// Package pointsbalance projects a member's events into one document per member: the points there are,
// and where they came from and went.
//
// Layout: read model points-balance, keyed by member id as the events are. It owns what the document
// shows. It refuses (and so parks) a member whose events do not begin with PointsEarned, and events of
// types that it does not know.
package pointsbalance

import (
	"fmt"

	"github.com/ledgerline/ledgerline/examples/loyalty/domain/loyalty"
	"github.com/ledgerline/ledgerline/processing"
)

// PointsBalance is the document of a member. Balance is Earned less Spent and Expired.
type PointsBalance struct {
	processing.Document
	MemberID string `json:"member_id"`
	Balance  int64  `json:"balance"`
	Earned   int64  `json:"earned"`
	Spent    int64  `json:"spent"`
	Expired  int64  `json:"expired"`
}

// ReadModel is points-balance.
var ReadModel = processing.Documents[PointsBalance]{
	Name:        "points-balance",
	Collection:  "members",
	CodeVersion: 1,
	Aggregate:   "loyalty",
	Fold:        fold,
}

func fold(doc *PointsBalance, event processing.Event) error {
	if _, earned := event.Data.(loyalty.PointsEarned); !earned && doc.MemberID == "" {
		return fmt.Errorf("folding member %q: %s before any points were earned", event.AggregateID, event.Type)
	}
	switch e := event.Data.(type) {
	case loyalty.PointsEarned:
		doc.MemberID = e.MemberID
		doc.Earned += e.Points
	case loyalty.PointsSpent:
		doc.Spent += e.Points
	case loyalty.PointsExpired:
		doc.Expired += e.Points
	default:
		return fmt.Errorf("folding member %q: unknown event %s", event.AggregateID, event.Type)
	}
	doc.Balance = doc.Earned - doc.Spent - doc.Expired
	return nil
}
