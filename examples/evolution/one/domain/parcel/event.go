package parcel

import "github.com/ledgerline/ledgerline/processing"

// Event is one of ParcelSent, ParcelWeighed and ParcelDelivered.
type Event interface{ event() }

// ParcelSent says that a parcel is on its way.
type ParcelSent struct {
	ParcelID string `avro:"parcel_id"`
	Address  string `avro:"address"`
}

// ParcelWeighed says what a parcel weighs.
type ParcelWeighed struct {
	ParcelID string `avro:"parcel_id"`
	Weight   int64  `avro:"weight"`
}

// ParcelDelivered says that a parcel was handed over and its fee charged.
type ParcelDelivered struct {
	ParcelID string           `avro:"parcel_id"`
	SignedBy string           `avro:"signed_by"`
	Fee      processing.Money `avro:"fee"`
}

func (ParcelSent) event()      {}
func (ParcelWeighed) event()   {}
func (ParcelDelivered) event() {}
