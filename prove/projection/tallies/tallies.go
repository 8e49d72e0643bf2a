// Package tallies projects a tally's events into one document per tally, keyed as the events are: its sum,
// beside the version that every document has. Documents of code version 2 say that they are. It refuses
// events of types that it does not know.
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
	// Code is the code version, if it is not 1.
	Code int `json:"code,omitempty"`
}

// ReadModel returns tally-sums of a code version.
func ReadModel(code int) processing.Documents[Tally] {
	return processing.Documents[Tally]{
		Name:        "tally-sums",
		Collection:  "tallies",
		CodeVersion: code,
		Aggregate:   "tally",
		Fold: func(doc *Tally, event processing.Event) error {
			if code != 1 {
				doc.Code = code
			}
			return fold(doc, event)
		},
	}
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
