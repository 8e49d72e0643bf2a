// Package pointsbyreason projects the events of all members into one document per reason: how many
// points were earned for it, and how often.
//
// Layout: read model points-by-reason, keyed by reason, sixteen buckets. Of a reason it keeps the sums
// points and times. It owns those two. It passes over PointsSpent and PointsExpired, which have no
// reason, and refuses (and so parks) events of types that it does not know.
package pointsbyreason

import (
	"fmt"

	"github.com/ledgerline/ledgerline/examples/loyalty/domain/loyalty"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// PointsByReason is the document of a reason.
type PointsByReason struct {
	Reason string `json:"reason"`
	// Points is the sum of what was earned, Times how often.
	Points int64 `json:"points"`
	Times  int64 `json:"times"`
}

// ReadModel is points-by-reason.
var ReadModel = processing.Operations{
	Name:        "points-by-reason",
	Collection:  "reasons",
	CodeVersion: 1,
	Aggregates:  []string{"loyalty"},
	Project:     project,
	View:        view,
}

func project(event processing.Event) ([]readstore.Op, error) {
	switch e := event.Data.(type) {
	case loyalty.PointsEarned:
		return []readstore.Op{
			{Kind: readstore.AddSum, ID: e.Reason, Field: "points", Delta: e.Points},
			{Kind: readstore.AddSum, ID: e.Reason, Field: "times", Delta: 1},
		}, nil
	case loyalty.PointsSpent, loyalty.PointsExpired:
		return nil, nil
	default:
		return nil, fmt.Errorf("projecting member %q: unknown event %s", event.AggregateID, event.Type)
	}
}

func view(reason string, sums map[string]int64) (any, error) {
	return PointsByReason{Reason: reason, Points: sums["points"], Times: sums["times"]}, nil
}
