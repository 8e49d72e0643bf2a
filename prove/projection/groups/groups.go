// Package groups projects the events of tallies into totals of groups, each of many tallies in many
// partitions: a model that is not keyed as its events are.
//
// Layout: read model group-totals, keyed by group, sixteen buckets. Of a group it keeps
//
//	sums     events    how many events its tallies had, each one of a command's events counted
//	         total     what was added and not taken; the ranked list total:all
//	entries  <tally>   JSON text of an [Entry]
//
// It refuses events of types that it does not know.
package groups

import (
	"fmt"
	"hash/fnv"
	"reflect"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/prove/domain/tally"
	"github.com/ledgerline/ledgerline/readstore"
)

// Count is how many groups there are.
const Count = 50

// Group is what HTTP shows of a group.
type Group struct {
	Events int64 `json:"events"`
	Total  int64 `json:"total"`
}

// Entry is a group's entry of one tally.
type Entry struct {
	// Version is the tally's.
	Version int64 `json:"version"`
}

// ReadModel is group-totals.
var ReadModel = processing.Operations{
	Name:        "group-totals",
	Collection:  "groups",
	CodeVersion: 1,
	Aggregates:  []string{"tally"},
	EntriesName: "tallies",
	Rankings:    []processing.Ranking{{Sort: "total", Parameter: "of"}},
	Project:     project,
	View: func(_ string, sums map[string]int64) (any, error) {
		return Group{Events: sums["events"], Total: sums["total"]}, nil
	},
	Shows: reflect.TypeFor[Group](),
	Entry: reflect.TypeFor[Entry](),
}

// Of returns the group of a tally, such as "g-17": FNV-1a of its id, of 32 bits, modulo Count.
func Of(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // it never fails
	return fmt.Sprintf("g-%d", h.Sum32()%Count)
}

func project(event processing.Event) ([]readstore.Op, error) {
	var delta int64
	switch e := event.Data.(type) {
	case tally.Added:
		delta = e.Amount
	case tally.Taken:
		delta = -e.Amount
	default:
		return nil, fmt.Errorf("projecting tally %q: unknown event %s", event.AggregateID, event.Type)
	}
	group := Of(event.AggregateID)
	return []readstore.Op{
		{Kind: readstore.AddSum, ID: group, Field: "events", Delta: 1},
		{Kind: readstore.AddSum, ID: group, Field: "total", Delta: delta, Rank: "total:all"},
		{Kind: readstore.SetEntry, ID: group, Field: event.AggregateID, Value: fmt.Sprintf(`{"version":%d}`, event.Version)},
	}, nil
}
