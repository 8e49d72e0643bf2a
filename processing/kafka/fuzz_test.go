package kafka

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/schemas"
)

// texts is a registry in memory that has whatever it is asked for; ids count from 1.
type texts []string

func (r *texts) SchemaByID(_ context.Context, id int) (string, error) {
	if id < 1 || id > len(*r) {
		return "", schemas.ErrNotRegistered
	}
	return (*r)[id-1], nil
}

func (r *texts) SchemaID(_ context.Context, _, text string) (int, error) {
	if i := slices.Index(*r, text); i >= 0 {
		return i + 1, nil
	}
	*r = append(*r, text)
	return len(*r), nil
}

func fuzzWire(f *testing.F) (*wire, *processing.Aggregate) {
	orders := order.Decider.Erase()
	bindings, err := processing.Bindings(schemas.FS, []*processing.Aggregate{orders})
	if err != nil {
		f.Fatal(err)
	}
	codec, err := schemas.NewCodec(&texts{}, bindings...)
	if err != nil {
		f.Fatal(err)
	}
	return &wire{topics: Topics{}, codec: codec, source: "fuzz"}, orders
}

// FuzzEventHeaders holds that whatever stands in an event's headers and value, it is an event that can be written
// again as it is, or is handed over with why not.
func FuzzEventHeaders(f *testing.F) {
	w, _ := fuzzWire(f)
	shipped := order.OrderShipped{OrderID: "o-1", CustomerID: "ada"}
	good, err := w.eventRecord(f.Context(), processing.Event{
		ID: "1", Aggregate: "order", AggregateID: "o-1", Type: "OrderShipped", Data: shipped, Version: 3,
		Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), CommandID: "c", CommandOffset: 7, Last: true, CorrelationID: "x",
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, row := range [][4]string{{header(good, headerTime), "3", "7", "true"}, {"", "", "", ""}, {"2026-01-01T00:00:00Z", "0", "-1", "no"}, {"2026-01-01T00:00:00.5+01:00", "9223372036854775808", "x", "true"}, {"0000-01-01T00:00:00Z", "-3", "1e3", "TRUE"}} {
		f.Add([]byte("o-1"), row[0], row[1], row[2], row[3], good.Value)
	}
	f.Add([]byte("a/b"), header(good, headerTime), "1", "0", "true", good.Value[:7])
	f.Fuzz(func(t *testing.T, key []byte, at, sequence, offset, last string, value []byte) {
		r := &kgo.Record{Topic: "order.events", Key: key, Value: value, Headers: newHeaders()}
		h := headers(r.Headers)
		for _, one := range [][2]string{{headerID, "1"}, {headerTime, at}, {headerSequence, sequence}, {headerCommandID, "c"}, {headerCommandOffset, offset}, {headerLast, last}} {
			h.add(one[0], one[1])
		}
		r.Headers = h
		e, err := w.delivered(t.Context(), "order", r)
		switch {
		case err != nil:
			t.Fatalf("the registry has everything: %v", err)
		case e.Undecodable != nil:
			if e.Data != nil || e.AggregateID != string(key) {
				t.Fatalf("%+v", e)
			}
			return
		case e.Version < 1 || e.Data == nil || processing.ValidateID("id", e.AggregateID) != nil:
			t.Fatalf("taken for an event: %+v", e)
		}
		written, err := w.eventRecord(t.Context(), e)
		if err != nil {
			t.Skip("a value that can be read and not written:", err)
		}
		again, err := w.delivered(t.Context(), "order", written)
		if e.Time = e.Time.UTC(); err != nil || again.Undecodable != nil || again.Version != e.Version || again.CommandOffset != e.CommandOffset || again.Last != e.Last || !again.Time.Equal(e.Time) || !reflect.DeepEqual(again.Data, e.Data) {
			t.Fatalf("read %+v, written and read again %+v, %v", e, again, err)
		}
	})
}

// FuzzCommandHeaders holds that a record of a commands topic is a command or a fault, whatever stands in it.
func FuzzCommandHeaders(f *testing.F) {
	w, orders := fuzzWire(f)
	value, err := w.codec.Encode(f.Context(), "order.commands", order.ShipOrder{})
	if err != nil {
		f.Fatal(err)
	}
	id := uuid.Must(uuid.NewV7()).String()
	f.Add([]byte("o-1"), id, "ledgerline.order.ShipOrder", contentAvro, "3", value)
	f.Add([]byte("o-1"), "", "ledgerline.order.ShipOrder", "application/json", "", []byte("{}"))
	f.Add([]byte("o 1"), "key", "ledgerline.order.Nonsense", "application/json; charset=utf-8", "-1", []byte(placeJSON))
	f.Add([]byte{}, "\xff", "", "text/plain", "x", []byte{0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, key []byte, id, fullName, content, expected string, value []byte) {
		var h headers
		for _, one := range [][2]string{{headerID, id}, {headerType, fullName}, {headerContentType, content}, {headerExpectedVersion, expected}} {
			h.add(one[0], one[1])
		}
		in, err := w.command(t.Context(), orders, &kgo.Record{Topic: "order.commands", Key: key, Value: value, Headers: h})
		switch c := in.Command; {
		case err != nil:
			t.Fatalf("the registry has everything: %v", err)
		case in.Fault != nil:
			if in.Fault.Code == "" || in.Fault.Detail == "" {
				t.Fatalf("a fault without a code or words: %+v", in.Fault)
			}
		case uuid.Validate(c.ID) != nil || c.Data == nil || c.AggregateID != string(key) || c.Expected != nil && *c.Expected < 0 || c.BodyHash == [16]byte{}:
			t.Fatalf("taken for a command: %+v", c)
		}
	})
}
