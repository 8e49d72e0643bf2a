// Package groups projects the events of tallies into totals of groups, each of many tallies in many
// partitions: a model that is not keyed as its events are.
//
// Layout: read model group-totals, keyed by group, sixteen buckets. Of a group it keeps
//
//	sums     events    how many events its tallies had, each one of a command's events counted
//	         total     what was added and not taken; the ranked list total:all
//	         codes     the sum of the events' code versions, in code version 2 alone
//	entries  <tally>   JSON text of an [Entry]
//
// It refuses events of types that it does not know.
package groups

import (
	"encoding/json"
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
	ID     string `json:"id"`
	Events int64  `json:"events"`
	Total  int64  `json:"total"`
	// Codes is the sum of the code versions that the events were projected with, if those are not 1.
	Codes int64 `json:"codes,omitempty"`
}

// Entry is a group's entry of one tally.
type Entry struct {
	// Version is the tally's.
	Version int64 `json:"version"`
	// Code is the code version, if it is not 1.
	Code int `json:"code,omitempty"`
}

// ReadModel returns group-totals of a code version. Its view shows generations of any.
func ReadModel(code int) processing.Operations {
	return processing.Operations{
		Name:        "group-totals",
		Collection:  "groups",
		CodeVersion: code,
		Aggregates:  []string{"tally"},
		EntriesName: "tallies",
		Rankings:    []processing.Ranking{{Sort: "total", Parameter: "of"}},
		Project:     func(event processing.Event) ([]readstore.Op, error) { return project(code, event) },
		View: func(id string, sums map[string]int64) (any, error) {
			return Group{ID: id, Events: sums["events"], Total: sums["total"], Codes: sums["codes"]}, nil
		},
		Shows: reflect.TypeFor[Group](),
		Entry: reflect.TypeFor[Entry](),
	}
}

// Of returns the group of a tally, such as "g-17": FNV-1a of its id, of 32 bits, modulo Count.
func Of(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // it never fails
	return fmt.Sprintf("g-%d", h.Sum32()%Count)
}

func project(code int, event processing.Event) ([]readstore.Op, error) {
	var delta int64
	switch e := event.Data.(type) {
	case tally.Added:
		delta = e.Amount
	case tally.Taken:
		delta = -e.Amount
	default:
		return nil, fmt.Errorf("projecting tally %q: unknown event %s", event.AggregateID, event.Type)
	}
	group, entry := Of(event.AggregateID), Entry{Version: event.Version}
	ops := []readstore.Op{
		{Kind: readstore.AddSum, ID: group, Field: "events", Delta: 1},
		{Kind: readstore.AddSum, ID: group, Field: "total", Delta: delta, Rank: "total:all"},
	}
	if code != 1 {
		entry.Code = code
		ops = append(ops, readstore.Op{Kind: readstore.AddSum, ID: group, Field: "codes", Delta: int64(code)})
	}
	text, err := json.Marshal(entry)
	return append(ops, readstore.Op{Kind: readstore.SetEntry, ID: group, Field: event.AggregateID, Value: string(text)}), err
}
