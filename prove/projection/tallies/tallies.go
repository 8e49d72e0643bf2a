// Package tallies projects a tally's events into one document per tally, keyed as the events are: its sum,
// beside the version that every document has. It refuses events of types that it does not know.
package tallies

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/prove/domain/tally"
)

// Tally is the document of a tally.
type Tally struct {
	processing.Document
	// Sum is what was added and not taken.
	Sum int64 `json:"sum"`
}

// ReadModel is tally-sums.
var ReadModel = processing.Documents[Tally]{
	Name:        "tally-sums",
	Collection:  "tallies",
	CodeVersion: 1,
	Aggregate:   "tally",
	Fold:        fold,
}

func fold(doc *Tally, event processing.Event) error {
	switch e := event.Data.(type) {
	case tally.Added:
		doc.Sum += e.Amount
	case tally.Taken:
		doc.Sum -= e.Amount
	default:
		return fmt.Errorf("folding tally %q: unknown event %s", event.AggregateID, event.Type)
	}
	return nil
}
