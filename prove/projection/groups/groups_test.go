package groups_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/processingtest"
	"github.com/ledgerline/ledgerline/prove/domain/tally"
	"github.com/ledgerline/ledgerline/prove/projection/groups"
)

// TestLaws: the order between partitions does not matter, nor where batches begin and end.
func TestLaws(t *testing.T) {
	// Three tallies of each of two groups: there is a partition to choose for each.
	var ids []string
	for i, left := 0, map[string]int{"g-1": 3, "g-2": 3}; len(ids) < 6; i++ {
		id := fmt.Sprintf("t-%d", i)
		if group := groups.Of(id); left[group] > 0 {
			left[group]--
			ids = append(ids, id)
		}
	}
	processingtest.CheckOperations(t, groups.ReadModel(2), rapid.Custom(func(t *rapid.T) []processing.Event {
		var log []processing.Event
		versions, offsets := map[string]int64{}, map[int32]int64{}
		for range rapid.IntRange(0, 20).Draw(t, "events") {
			i := rapid.IntRange(0, len(ids)-1).Draw(t, "tally")
			amount := rapid.Int64Range(1, 9).Draw(t, "amount")
			e := processing.Event{Aggregate: "tally", AggregateID: ids[i], Partition: int32(i % 3), Type: "Added", Data: tally.Added{TallyID: ids[i], Amount: amount, Part: 1}}
			if rapid.Bool().Draw(t, "taken") {
				e.Type, e.Data = "Taken", tally.Taken{TallyID: ids[i], Amount: amount}
			}
			versions[e.AggregateID]++
			e.Version, e.Offset = versions[e.AggregateID], offsets[e.Partition]
			offsets[e.Partition]++
			log = append(log, e)
		}
		return log
	}))
}
