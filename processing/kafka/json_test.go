package kafka

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
)

// jsonCommand is a command as kcat and the console producers send it.
func jsonCommand(key, id, commandType, body string, more ...string) *kgo.Record {
	return raw(key, []byte(body), append([]string{"ce_id", id, "ce_type", commandType, "content-type", "application/json"}, more...)...)
}

// One command is the same in every form that it may come in.
func TestFormsOfOneCommand(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	id := uuid.NewString()
	forms := []*kgo.Record{
		jsonCommand("o-1", id, "PlaceOrder", placeJSON),
		jsonCommand("o-1", id, "ledgerline.order.PlaceOrder", placeJSON),
		jsonCommand("o-1", strings.ToUpper(id), "PlaceOrder", `{ "total_amount": {"currency": "GBP", "minor_units": 1250}, "discount": null, "customer_id": "c\u002d1" }`),
		f.command("o-1", id, place),
	}
	f.send(forms...)
	for i, r := range forms {
		a := o.outcomeOf(id, i)
		if a.Status != processing.Accepted || a.Decision != (i == 0) || a.Version != 1 || a.CommandType != "PlaceOrder" || a.input != r.Offset || len(a.Events) != 1 || a.Events[0].Type != "OrderPlaced" {
			t.Errorf("form %d: got %+v", i, a)
		}
	}
	other := jsonCommand("o-1", id, "PlaceOrder", strings.Replace(placeJSON, "1250", "1251", 1))
	f.send(other)
	if a := o.outcomeOf(id, len(forms)); a.Status != processing.Failed || a.Code != processing.CodeKeyReused {
		t.Errorf("another body: got %s %s", a.Status, a.Code)
	}
	o.check(nil, w)
	if n := len(o.records["order.events"]); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// An id of the client's own words is a version 5 UUID, which any language can work out.
func TestCommandIDOfAKey(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	f.send(jsonCommand("o-1", "invoice-17", "PlaceOrder", placeJSON))
	space := uuid.MustParse("8f8b4c6e-6a0e-5d0c-9c52-0d1b6a3f7e11")
	if a := o.outcomeOf(uuid.NewSHA1(space, []byte("invoice-17")).String(), 0); a.Status != processing.Accepted {
		t.Errorf("got %s %s", a.Status, a.Code)
	}
	o.check(nil, w)
}

// A client that hashes keys otherwise is served; without an id, the command gets that of the place
// where it first lay, so that its sender can know it.
func TestMisplacedJSONCommandWithoutID(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	home := PartitionOf("o-1", testPartitions)
	r := jsonCommand("o-1", "", "PlaceOrder", placeJSON)
	f.sendTo((home+1)%testPartitions, r)
	a := o.outcomeOf(idOf(t, r), 0)
	if a.Status != processing.Accepted || a.record.Partition != home || a.Version != 1 {
		t.Errorf("got %s %s in partition %d, want it in %d", a.Status, a.Code, a.record.Partition, home)
	}
	o.check(nil, w)
}

// All fields of the events come out of JSON: times, and fields that may be left out.
func TestFieldsOfJSONCommands(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	f.send(
		jsonCommand("o-1", newID(t), "PlaceOrder", `{"customer_id":"c-1","total_amount":{"minor_units":1000,"currency":"GBP"},"discount":{"minor_units":250,"currency":"GBP"},"placed_at":"2026-03-01T12:00:00.5+01:00"}`, "ce_expectedversion", "0"),
		jsonCommand("o-1", newID(t), "ReceivePayment", `{"amount":{"minor_units":1000,"currency":"GBP"}}`, "ce_expectedversion", "1"),
		jsonCommand("o-1", newID(t), "ShipOrder", `{}`),
	)
	for i, a := range o.outcomes(3) {
		if a.Status != processing.Accepted || a.Version != int64(i+1) {
			t.Errorf("command %d: got %s %s %q, version %d", i, a.Status, a.Code, a.Detail, a.Version)
		}
	}
	last := jsonCommand("o-1", newID(t), "CancelOrder", `{"reason":"late"}`, "ce_expectedversion", "1")
	f.send(last)
	if a := o.outcomeOf(idOf(t, last), 0); a.Status != processing.Refused || a.Code != "version-conflict" {
		t.Errorf("version 1 expected of 3: got %s %s", a.Status, a.Code)
	}
	o.check(nil, w)
	d, err := f.codec.Decode(t.Context(), o.records["order.events"][0].Value, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	placed := d.Value.(order.OrderPlaced)
	if want := time.Date(2026, 3, 1, 11, 0, 0, 500_000_000, time.UTC); !placed.PlacedAt.Equal(want) || placed.Discount == nil || *placed.Discount != gbp(250) || placed.TotalAmount != gbp(1000) {
		t.Errorf("got %+v", placed)
	}
}

// What is wrong with JSON is said in the outcome and in the dead letter, by the name of the field.
func TestMistakesInJSONCommands(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	const money = `"total_amount":{"minor_units":1250,"currency":"GBP"}`
	rows := []struct {
		name, commandType, body string
		code, detail            string
	}{
		{"no JSON", "PlaceOrder", `customer_id=c-1`, processing.CodeUndecodable, "not JSON"},
		{"nothing", "PlaceOrder", ``, processing.CodeUndecodable, "not JSON"},
		{"two", "ShipOrder", `{}{}`, processing.CodeUndecodable, "not JSON"},
		{"no object", "ShipOrder", `[]`, processing.CodeUndecodable, "object"},
		{"float", "PlaceOrder", `{"customer_id":"c-1","total_amount":{"minor_units":12.5,"currency":"GBP"}}`, processing.CodeUndecodable, "total_amount.minor_units: "},
		{"exponent", "PlaceOrder", `{"customer_id":"c-1","total_amount":{"minor_units":1e3,"currency":"GBP"}}`, processing.CodeUndecodable, "total_amount.minor_units: "},
		{"past 64 bits", "PlaceOrder", `{"customer_id":"c-1","total_amount":{"minor_units":9223372036854775808,"currency":"GBP"}}`, processing.CodeUndecodable, "total_amount.minor_units: "},
		{"number as text", "PlaceOrder", `{"customer_id":"c-1","total_amount":{"minor_units":"1250","currency":"GBP"}}`, processing.CodeUndecodable, "total_amount.minor_units: "},
		{"missing field", "PlaceOrder", `{` + money + `}`, processing.CodeUndecodable, "customer_id: "},
		{"unknown field", "PlaceOrder", `{"customer_id":"c-1","customer":"c-1",` + money + `}`, processing.CodeUndecodable, "customer: "},
		{"field twice", "PlaceOrder", `{"customer_id":"c-1","customer_id":"c-2",` + money + `}`, processing.CodeUndecodable, "customer_id: "},
		{"union as Avro spells it", "PlaceOrder", `{"customer_id":"c-1",` + money + `,"placed_at":{"long":5}}`, processing.CodeUndecodable, "placed_at: "},
		{"refused by the command itself", "PlaceOrder", `{"customer_id":"a b",` + money + `}`, processing.CodeInvalidCommand, "customer_id: "},
		{"no type", "", `{}`, processing.CodeUnknownCommandType, `ce_type of JSON: ""`},
		{"type in another case", "shipOrder", `{}`, processing.CodeUnknownCommandType, "shipOrder"},
		{"path form of the type", "ship-order", `{}`, processing.CodeUnknownCommandType, "ship-order"},
		{"event", "OrderShipped", `{}`, processing.CodeUnknownCommandType, "OrderShipped"},
		{"event, in full", "ledgerline.order.OrderShipped", `{"order_id":"o-1","customer_id":"c-1"}`, processing.CodeUnknownCommandType, "ledgerline.order.OrderShipped is no command of order"},
		{"outcome", "Outcome", `{}`, processing.CodeUnknownCommandType, "Outcome"},
		{"command of another aggregate", "DepositMoney", `{}`, processing.CodeUnknownCommandType, "DepositMoney"},
		{"another namespace", "shop.order.ShipOrder", `{}`, processing.CodeUnknownCommandType, "shop.order.ShipOrder"},
	}
	for _, row := range rows {
		id := newID(t)
		f.send(jsonCommand("o-1", id, row.commandType, row.body))
		if a := o.outcomeOf(id, 0); a.Status != processing.Failed || a.Code != row.code || !strings.Contains(a.Detail, row.detail) || a.Decision {
			t.Errorf("%s: got %s %s %q", row.name, a.Status, a.Code, a.Detail)
		}
		if row.code == processing.CodeInvalidCommand {
			continue // it was read: no dead letter
		}
		var letter *kgo.Record
		o.until("the dead letter of "+row.name, func() bool {
			for _, l := range o.records["order.dead-letters"] {
				if header(l, "ce_id") == id {
					letter = l
				}
			}
			return letter != nil
		})
		if header(letter, "ledgerline-cause") != row.code || !strings.Contains(header(letter, "ledgerline-detail"), row.detail) || string(letter.Value) != row.body {
			t.Errorf("%s: dead letter says %s %q of %q", row.name, header(letter, "ledgerline-cause"), header(letter, "ledgerline-detail"), letter.Value)
		}
	}
	// JSON that does not say so is no framed Avro.
	r := jsonCommand("o-1", newID(t), "ShipOrder", `{}`)
	r.Headers = r.Headers[:len(r.Headers)-1]
	f.send(r)
	if a := o.outcomeOf(idOf(t, r), 0); a.Code != processing.CodeUndecodable || !strings.Contains(a.Detail, "content-type: application/json") {
		t.Errorf("without a content type: got %s %s", a.Status, a.Code)
	}
	o.check(nil, w)
	if n := len(o.records["order.events"]); n != 0 {
		t.Errorf("%d events, want none", n)
	}
}
