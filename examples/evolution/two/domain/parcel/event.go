package parcel

import "github.com/ledgerline/ledgerline/processing"

// Event is one of ParcelSent, ParcelWeighed, ParcelHandedOver and FeeCharged, or a ParcelDelivered of before.
type Event interface{ event() }

// ParcelSent says that a parcel is on its way.
type ParcelSent struct {
	ParcelID string `avro:"parcel_id"`
	Address  string `avro:"address"`
	// Express is whether it goes before the others; none did before this was known.
	Express bool `avro:"express"`
}

// ParcelWeighed says what a parcel weighs.
type ParcelWeighed struct {
	ParcelID string `avro:"parcel_id"`
	Grams    int64  `avro:"grams"`
}

// ParcelDelivered says that a parcel was handed over and its fee charged. It is ParcelHandedOver and FeeCharged
// since release two.
type ParcelDelivered struct {
	ParcelID string           `avro:"parcel_id"`
	SignedBy string           `avro:"signed_by"`
	Fee      processing.Money `avro:"fee"`
}

// ParcelHandedOver says that a parcel was handed over.
type ParcelHandedOver struct {
	ParcelID string `avro:"parcel_id"`
	SignedBy string `avro:"signed_by"`
}

// FeeCharged says that the fee of a parcel was charged.
type FeeCharged struct {
	ParcelID string           `avro:"parcel_id"`
	Fee      processing.Money `avro:"fee"`
}

func (ParcelSent) event()       {}
func (ParcelWeighed) event()    {}
func (ParcelDelivered) event()  {}
func (ParcelHandedOver) event() {}
func (FeeCharged) event()       {}
