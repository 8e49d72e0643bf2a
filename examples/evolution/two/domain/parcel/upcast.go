package parcel

import (
	"time"

	"github.com/ledgerline/ledgerline/processing"
)

// parcelSent is the event type with its earlier version.
var parcelSent = processing.TypeOf[ParcelSent]().Since(
	processing.Upcast(func(e ParcelSent1, _ time.Time) ParcelSent {
		return ParcelSent{ParcelID: e.ParcelID, Address: e.Address, Express: false}
	}),
)

// ParcelSent1 is version 1 of [ParcelSent].
type ParcelSent1 struct {
	ParcelID string `avro:"parcel_id"`
	Address  string `avro:"address"`
}

// parcelWeighed is the event type with its earlier version.
var parcelWeighed = processing.TypeOf[ParcelWeighed]().Since(
	processing.Upcast(func(e ParcelWeighed1, _ time.Time) ParcelWeighed {
		return ParcelWeighed{ParcelID: e.ParcelID, Grams: e.Weight}
	}),
)

// ParcelWeighed1 is version 1 of [ParcelWeighed].
type ParcelWeighed1 struct {
	ParcelID string `avro:"parcel_id"`
	Weight   int64  `avro:"weight"`
}
