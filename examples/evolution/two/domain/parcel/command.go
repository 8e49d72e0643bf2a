package parcel

import "github.com/ledgerline/ledgerline/processing"

// Command is one of SendParcel, WeighParcel and DeliverParcel.
type Command interface{ command() }

// SendParcel sends a parcel.
type SendParcel struct {
	Address string `avro:"address"`
	// Express is whether it goes before the others.
	Express bool `avro:"express"`
}

// WeighParcel says what a parcel weighs.
type WeighParcel struct {
	Grams int64 `avro:"grams"`
}

// DeliverParcel hands a parcel over and charges the fee.
type DeliverParcel struct {
	SignedBy string           `avro:"signed_by"`
	Fee      processing.Money `avro:"fee"`
}

func (SendParcel) command()    {}
func (WeighParcel) command()   {}
func (DeliverParcel) command() {}
