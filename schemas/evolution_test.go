package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/avro"
)

const (
	moneyType = `{"type":"record","name":"Money","namespace":"ledgerline","fields":[{"name":"minor_units","type":"long"},{"name":"currency","type":"string"}]}`
	millis    = `{"type":"long","logicalType":"timestamp-millis"}`
)

// record returns a schema text from the text of fields.
func record(name string, fields ...string) string {
	return `{"type":"record","name":"` + name + `","namespace":"ledgerline.order","fields":[` + strings.Join(fields, ",") + `]}`
}

func TestDecodeReadsOtherWriters(t *testing.T) {
	at := time.Date(2010, 12, 1, 8, 26, 0, 0, time.UTC)
	placed := orderPlaced{OrderID: "o", CustomerID: "c", TotalAmount: money{5, "GBP"}, PlacedAt: at}
	total := map[string]any{"minor_units": int64(5), "currency": "GBP"}
	fields := map[string]any{"order_id": "o", "customer_id": "c", "total_amount": total, "placed_at": at}
	and := func(name string, v any) map[string]any {
		all := maps.Clone(fields)
		all[name] = v
		return all
	}
	const ids = `{"name":"order_id","type":"string"},{"name":"customer_id","type":"string"}`
	amount := `{"name":"total_amount","type":` + moneyType + `}`
	discount := `{"name":"discount","type":["null","ledgerline.Money"],"default":null}`
	placedAt := `{"name":"placed_at","type":` + millis + `}`
	aliased := strings.Replace(embedded(t, "order", "OrderPlaced").Text(), `"name": "OrderPlaced",`, `"name": "OrderPlaced", "aliases": ["OrderCreated", "shop.Placed"],`, 1)
	aliased = strings.Replace(aliased, `"name": "customer_id",`, `"name": "customer_id", "aliases": ["buyer"],`, 1)
	cancelled := orderCancelled{OrderID: "o", CustomerID: "c", TotalAmount: money{5, "GBP"}, PreviousStatus: "UNKNOWN", Reason: "r"}

	for _, row := range []struct {
		name   string
		reader Binding
		writer string
		wrote  any
		want   any
	}{
		{"a field more", bind[orderPlaced](mustParse(t, aliased)), record("OrderPlaced", ids, `{"name":"note","type":{"type":"map","values":"string"}}`, amount, discount, placedAt),
			and("note", map[string]string{"a": "b"}), placed},
		{"a defaulted field less", bind[orderPlaced](mustParse(t, aliased)), record("OrderPlaced", ids, amount, placedAt), fields, placed},
		{"another order", bind[orderPlaced](mustParse(t, aliased)), record("OrderPlaced", placedAt, amount, ids, discount), and("discount", total),
			orderPlaced{OrderID: "o", CustomerID: "c", TotalAmount: money{5, "GBP"}, Discount: &money{5, "GBP"}, PlacedAt: at}},
		{"a field under its old name", bind[orderPlaced](mustParse(t, aliased)),
			record("OrderPlaced", `{"name":"order_id","type":"string"},{"name":"buyer","type":"string"}`, amount, placedAt), and("buyer", "c"), placed},
		{"the record under its old name", bind[orderPlaced](mustParse(t, aliased)), record("OrderCreated", ids, amount, placedAt), fields, placed},
		{"the record under an old name elsewhere", bind[orderPlaced](mustParse(t, aliased)), strings.Replace(record("Placed", ids, amount, placedAt), "ledgerline.order", "shop", 1), fields, placed},
		{"a narrower integer", bind[orderPlaced](mustParse(t, aliased)), record("OrderPlaced", ids, strings.Replace(amount, `"long"`, `"int"`, 1), placedAt),
			map[string]any{"order_id": "o", "customer_id": "c", "total_amount": map[string]any{"minor_units": int32(5), "currency": "GBP"}, "placed_at": at}, placed},
		{"a time without its logical type", bind[orderPlaced](mustParse(t, aliased)), record("OrderPlaced", ids, amount, `{"name":"placed_at","type":"long"}`), and("placed_at", at.UnixMilli()), placed},
		{"a later symbol", bind[orderCancelled](embedded(t, "order", "OrderCancelled")), record("OrderCancelled", ids, amount,
			`{"name":"previous_status","type":{"type":"enum","name":"OrderStatus","symbols":["UNKNOWN","PLACED","PAID","HELD"]}},{"name":"reason","type":"string"}`),
			map[string]any{"order_id": "o", "customer_id": "c", "total_amount": total, "previous_status": "HELD", "reason": "r"}, cancelled},
	} {
		c, r := newCodec(t, row.reader)
		id := r.register("a subject", row.writer)
		payload, err := avro.MustParse(row.writer).Encode(row.wrote)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		data := append([]byte{0, 0, 0, byte(id >> 8), byte(id)}, payload...)
		got, err := c.Decode(t.Context(), data, time.Time{})
		if err != nil || !reflect.DeepEqual(got.Value, row.want) || got.FullName != row.reader.Schema.FullName() {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", row.name, got, err, row.want)
		}
		for cut := 5; cut < len(data); cut++ {
			if got, err := c.Decode(t.Context(), data[:cut], time.Time{}); !errors.Is(err, ErrUndecodable) {
				t.Errorf("%s, cut at %d: got %+v, %v", row.name, cut, got.Value, err)
			}
		}
		if _, err := c.Decode(t.Context(), append(data, 0), time.Time{}); !errors.Is(err, ErrUndecodable) {
			t.Errorf("%s, a byte left over: %v", row.name, err)
		}
	}
}

func TestDecodeRefusesIncompatibleWriters(t *testing.T) {
	c, r := newCodec(t, bind[orderPlaced](embedded(t, "order", "OrderPlaced")))
	for name, fields := range map[string]string{
		"total_amount": `{"name":"order_id","type":"string"},{"name":"customer_id","type":"string"},{"name":"placed_at","type":` + millis + `}`,
		"order_id":     `{"name":"order_id","type":"long"},{"name":"customer_id","type":"string"},{"name":"total_amount","type":` + moneyType + `},{"name":"placed_at","type":` + millis + `}`,
		"placed_at": `{"name":"order_id","type":"string"},{"name":"customer_id","type":"string"},{"name":"total_amount","type":` + moneyType +
			`},{"name":"discount","type":["null","ledgerline.Money"],"default":null},{"name":"placed_at","type":{"type":"long","logicalType":"timestamp-micros"}}`,
	} {
		id := r.register("s", record("OrderPlaced", fields))
		got, err := c.Decode(t.Context(), append([]byte{0, 0, 0, byte(id >> 8), byte(id)}, make([]byte, 20)...), time.Time{})
		if !errors.Is(err, ErrIncompatible) || !errors.Is(err, ErrUndecodable) || !strings.Contains(err.Error(), name) || got.FullName != "ledgerline.order.OrderPlaced" {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// TestCompatible: each change to a schema that testdata/changes.jsonl has is taken or refused as it says, the
// refusal with the words that it says.
func TestCompatible(t *testing.T) {
	text, err := os.ReadFile("testdata/changes.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	taken, refused := 0, 0
	for line := range bytes.Lines(text) {
		var row struct {
			Change  string
			Older   []json.RawMessage
			Newer   json.RawMessage
			Refused string
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		var older []string
		for _, fields := range row.Older {
			older = append(older, ofFields(fields))
		}
		err := Compatible(ofFields(row.Newer), older...)
		if row.Refused == "" {
			taken++
		} else {
			refused++
		}
		if row.Refused == "" && err != nil || row.Refused != "" && (err == nil || !strings.Contains(err.Error(), row.Refused)) {
			t.Errorf("%s: got %v, want %q", row.Change, err, row.Refused)
		}
	}
	if taken < 15 || refused < 25 {
		t.Errorf("%d changes taken, %d refused", taken, refused)
	}
	for text, want := range map[[2]string]string{
		{everythingText, everythingText}:         "",
		{`{`, `{`}:                               "checking the newer schema",
		{record("R"), `{`}:                       "checking older schema 1 of 1",
		{everythingText, record("R")}:            "is called ledgerline.order.R",
		{record("R"), record("R", `{"name":1}`)}: "checking older schema 1 of 1",
	} {
		if err := Compatible(text[0], text[1]); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q after %q: got %v, want %q", text[0], text[1], err, want)
		}
	}
}

// ofFields returns the schema of record R with these fields, unless it is one already.
func ofFields(text json.RawMessage) string {
	if text[0] == '[' {
		return record("R", strings.Trim(string(text), "[]"))
	}
	return string(text)
}
