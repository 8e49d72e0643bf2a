package schemas

import (
	"bytes"
	"encoding/csv"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	hamba "github.com/hamba/avro/v2"
)

// TestOracle holds our codec against an implementation of Avro that shares no code with it, on every
// order of the example data: what hamba writes we read, what we write hamba reads, and the bytes are
// the same.
func TestOracle(t *testing.T) {
	placed, paid := embedded(t, "order", "OrderPlaced"), embedded(t, "order", "PaymentReceived")
	c, _ := newCodec(t, bind[orderPlaced](placed), bind[paymentReceived](paid))
	theirPlaced, theirPaid := hamba.MustParse(placed.Text()), hamba.MustParse(paid.Text())
	read, written := 0, 0
	var pence int64
	both := func(schema hamba.Schema, v any, into any) {
		theirs, err := hamba.Marshal(schema, v)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := c.Encode(t.Context(), topic, v)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ours[5:], theirs) {
			t.Fatalf("%+v: we write %x, hamba %x", v, ours[5:], theirs)
		}
		got, err := c.Decode(t.Context(), append(bytes.Clone(ours[:5]), theirs...), time.Time{})
		if err != nil || !reflect.DeepEqual(got.Value, v) {
			t.Fatalf("we read hamba's %+v as %+v, %v", v, got.Value, err)
		}
		read++
		if err := hamba.Unmarshal(schema, ours[5:], into); err != nil {
			t.Fatal(err)
		}
		if back := reflect.ValueOf(into).Elem().Interface(); !reflect.DeepEqual(back, v) {
			t.Fatalf("hamba reads our %+v as %+v", v, back)
		}
		written++
	}
	for i, o := range exampleOrders(t) {
		if i%10 == 0 {
			o.Discount = &money{int64(i), "GBP"} // the data has none
		}
		pence += o.TotalAmount.MinorUnits
		both(theirPlaced, o, &orderPlaced{})
		both(theirPaid, paymentReceived{OrderID: o.OrderID, CustomerID: o.CustomerID, Amount: o.TotalAmount}, &paymentReceived{})
	}
	t.Logf("%d records of hamba read by us, %d of ours read by hamba, orders of %d pence", read, written, pence)
	if read != 17178 || written != 17178 || pence != 388897174 {
		t.Errorf("got %d and %d records and %d pence, want 17178 both ways and 388897174", read, written, pence)
	}
}

func exampleOrders(t *testing.T) []orderPlaced {
	t.Helper()
	f, err := os.Open("../examples/online-retail-orders.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var orders []orderPlaced
	for _, row := range rows[1:] {
		if row[1] != "order" {
			continue
		}
		at, err := time.Parse(time.RFC3339, row[0])
		if err != nil {
			t.Fatal(err)
		}
		pence, err := strconv.ParseInt(row[5], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		orders = append(orders, orderPlaced{OrderID: row[2], CustomerID: row[3], TotalAmount: money{pence, "GBP"}, PlacedAt: at})
	}
	return orders
}
