package parcel_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/examples/evolution/two/domain/parcel"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

func TestLaws(t *testing.T) {
	processingtest.CheckDecider(t, parcel.Decider, rapid.SampledFrom([]parcel.Command{
		parcel.SendParcel{Address: "1 High Street"}, parcel.WeighParcel{Grams: 900}, parcel.DeliverParcel{SignedBy: "Ada"},
	}))
}

type row = processingtest.Row[parcel.Command, parcel.Event]

var scenario = processingtest.Scenario[parcel.State, parcel.Command, parcel.Event]{Decider: parcel.Decider, ID: "p-1"}

func TestDeliverParcel(t *testing.T) {
	fee := processing.Money{MinorUnits: 450, Currency: "GBP"}
	sent := parcel.ParcelSent{ParcelID: "p-1", Address: "1 High Street"}
	deliver := parcel.DeliverParcel{SignedBy: "Ada", Fee: fee}
	before := parcel.ParcelDelivered{ParcelID: "p-1", SignedBy: "Ada", Fee: fee}
	both := []parcel.Event{parcel.ParcelHandedOver{ParcelID: "p-1", SignedBy: "Ada"}, parcel.FeeCharged{ParcelID: "p-1", Fee: fee}}
	scenario.Run(t, []row{
		{Name: "it is two events", Given: []parcel.Event{sent}, When: deliver, Then: both},
		{Name: "twice", Given: append([]parcel.Event{sent}, both...), When: deliver, Refused: parcel.ErrParcelDelivered},
		{Name: "again, in one event of before", Given: []parcel.Event{sent, before}, When: deliver, Refused: parcel.ErrParcelDelivered},
	})
}
