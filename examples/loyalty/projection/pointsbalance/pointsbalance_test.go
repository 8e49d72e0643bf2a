package pointsbalance_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/examples/loyalty/domain/loyalty"
	"github.com/ledgerline/ledgerline/examples/loyalty/projection/pointsbalance"
	"github.com/ledgerline/ledgerline/processing"
)

var (
	earned  = loyalty.PointsEarned{MemberID: "m-1", Points: 50, Reason: "purchase"}
	spent   = loyalty.PointsSpent{MemberID: "m-1", Points: 20}
	expired = loyalty.PointsExpired{MemberID: "m-1", Points: 5}
)

func TestFold(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []any
		want   string // the document as JSON, or a part of the error
	}{
		{"earned", []any{earned}, `{"version":1,"member_id":"m-1","balance":50,"earned":50,"spent":0,"expired":0}`},
		{"spent", []any{earned, spent}, `{"version":2,"member_id":"m-1","balance":30,"earned":50,"spent":20,"expired":0}`},
		{"expired", []any{earned, spent, expired, earned}, `{"version":4,"member_id":"m-1","balance":75,"earned":100,"spent":20,"expired":5}`},
		{"spent first", []any{spent}, "before any points were earned"},
		{"of another kind", []any{earned, "points"}, "unknown event"},
	} {
		var doc pointsbalance.PointsBalance
		var err error
		for i, data := range c.events {
			if err = pointsbalance.ReadModel.Fold(&doc, processing.Event{AggregateID: "m-1", Data: data}); err != nil {
				break
			}
			doc.Version = int64(i + 1) // as the engine does
		}
		text, _ := json.Marshal(doc)
		if err != nil {
			text = []byte(err.Error())
		}
		if got := string(text); got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
