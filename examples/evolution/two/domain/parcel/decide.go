package parcel

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
)

func decide(in processing.Context, command Command, state State) ([]Event, error) {
	_, sends := command.(SendParcel)
	switch {
	case sends && state.Sent:
		return nil, ErrParcelExists
	case !sends && !state.Sent:
		return nil, ErrParcelNotFound
	case state.Delivered:
		return nil, ErrParcelDelivered
	}
	switch c := command.(type) {
	case SendParcel:
		return []Event{ParcelSent{ParcelID: in.ID, Address: c.Address, Express: c.Express}}, nil
	case WeighParcel:
		return []Event{ParcelWeighed{ParcelID: in.ID, Grams: c.Grams}}, nil
	case DeliverParcel:
		return []Event{
			ParcelHandedOver{ParcelID: in.ID, SignedBy: c.SignedBy},
			FeeCharged{ParcelID: in.ID, Fee: c.Fee},
		}, nil
	default:
		return nil, fmt.Errorf("deciding parcel %s: unknown command %T", in.ID, command)
	}
}
