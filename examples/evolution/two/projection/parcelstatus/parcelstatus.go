// Package parcelstatus projects a parcel's events into a document per parcel.
//
// Layout: read model parcel-status, keyed by parcel id as the events are. It refuses events of types that it does
// not know.
package parcelstatus

import (
	"fmt"

	"github.com/ledgerline/ledgerline/examples/evolution/two/domain/parcel"
	"github.com/ledgerline/ledgerline/processing"
)

// ParcelStatus is the document of a parcel.
type ParcelStatus struct {
	processing.Document
	Address     string            `json:"address"`
	Express     bool              `json:"express"`
	Grams       int64             `json:"grams,omitempty"`
	DeliveredTo string            `json:"delivered_to,omitempty"`
	Fee         *processing.Money `json:"fee,omitempty"`
}

// ReadModel is parcel-status.
var ReadModel = processing.Documents[ParcelStatus]{
	Name:        "parcel-status",
	Collection:  "parcels",
	CodeVersion: 2,
	Aggregate:   "parcel",
	Fold:        fold,
}

func fold(doc *ParcelStatus, event processing.Event) error {
	switch e := event.Data.(type) {
	case parcel.ParcelSent:
		doc.Address, doc.Express = e.Address, e.Express
	case parcel.ParcelWeighed:
		doc.Grams = e.Grams
	case parcel.ParcelDelivered:
		doc.DeliveredTo, doc.Fee = e.SignedBy, &e.Fee
	case parcel.ParcelHandedOver:
		doc.DeliveredTo = e.SignedBy
	case parcel.FeeCharged:
		doc.Fee = &e.Fee
	default:
		return fmt.Errorf("folding parcel %q: unknown event %s", event.AggregateID, event.Type)
	}
	return nil
}
