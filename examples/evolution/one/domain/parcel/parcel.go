// Package parcel decides what happens to a parcel: it is sent, weighed and delivered.
//
// It owns one parcel. It refuses to weigh or deliver what was not sent or is delivered already.
package parcel

import "github.com/ledgerline/ledgerline/processing"

// State is what deciding the next command takes. The zero State is a parcel that does not exist.
type State struct {
	Sent, Delivered bool
}

// The refusals of a parcel.
var (
	ErrParcelExists    = processing.Refuse("parcel-exists", processing.Conflict)
	ErrParcelNotFound  = processing.Refuse("parcel-not-found", processing.NotFound)
	ErrParcelDelivered = processing.Refuse("parcel-delivered", processing.Conflict)
)

// Decider is the parcel aggregate.
var Decider = processing.Decider[State, Command, Event]{
	Aggregate:  "parcel",
	Collection: "parcels",
	Commands: []processing.Type{
		processing.TypeOf[SendParcel](),
		processing.TypeOf[WeighParcel](),
		processing.TypeOf[DeliverParcel](),
	},
	Events: []processing.Type{
		processing.TypeOf[ParcelSent](),
		processing.TypeOf[ParcelWeighed](),
		processing.TypeOf[ParcelDelivered](),
	},
	Refusals: []*processing.Refusal{ErrParcelExists, ErrParcelNotFound, ErrParcelDelivered},
	Decide:   decide,
	Evolve:   evolve,
}
