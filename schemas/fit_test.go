package schemas

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestNewCodecRefusesWhatDoesNotFit(t *testing.T) {
	placed := embedded(t, "order", "OrderPlaced")
	all := mustParse(t, everythingText)
	type wrong struct{ orderPlaced }
	type paid = struct {
		OrderID    string `avro:"order_id"`
		CustomerID string `avro:"customer_id"`
		Amount     money  `avro:"amount"`
	}
	type head struct {
		OrderID    string `avro:"order_id"`
		CustomerID string `avro:"customer_id"`
	}
	payment := embedded(t, "order", "PaymentReceived")
	two := mustParse(t, `{"type":"record","name":"Two","fields":[{"name":"a","type":["long","string"]}]}`)
	alias := mustParse(t, strings.Replace(payment.Text(), `"name": "PaymentReceived",`, `"name": "Paid", "aliases": ["PaymentReceived"],`, 1))
	for _, row := range []struct {
		name     string
		bindings []Binding
		want     string // "" for no error
	}{
		{"all that we have", orderBindings(t), ""},
		{"an embedded struct", []Binding{bind[struct {
			head
			Amount money `avro:"amount"`
		}](payment)}, ""},
		{"a struct with a field more", []Binding{bind[struct {
			paid
			Note string `avro:"note"`
		}](payment)}, "field note of"},
		{"a field without a tag", []Binding{bind[struct {
			paid
			Note string
		}](payment)}, "field Note of"},
		{"a field left out", []Binding{bind[struct {
			paid
			Note string `avro:"-"`
			note string
		}](payment)}, ""},
		{"a struct with a field less", []Binding{bind[head](payment)}, "field amount of the schema has no field"},
		{"a deep field less", []Binding{bind[struct {
			head
			Amount struct {
				MinorUnits int64 `avro:"minor_units"`
			} `avro:"amount"`
		}](payment)}, "field amount.currency of the schema"},
		{"a deep field more", []Binding{bind[struct {
			head
			Amount struct {
				money
				Scale int32 `avro:"scale"`
			} `avro:"amount"`
		}](payment)}, "field amount.scale of"},
		{"a narrow integer", []Binding{bind[struct {
			head
			Amount struct {
				MinorUnits int32  `avro:"minor_units"`
				Currency   string `avro:"currency"`
			} `avro:"amount"`
		}](payment)}, "field amount.minor_units: want an int64, got int32"},
		{"a float", []Binding{bind[struct {
			head
			Amount float64 `avro:"amount"`
		}](payment)}, "field amount: want a struct, got float64"},
		{"a tag option", []Binding{bind[struct {
			head
			Amount money `avro:"amount,omitzero"`
		}](payment)}, `tag option "omitzero" is not supported`},
		{"a name twice", []Binding{bind[struct {
			paid
			Amount money `avro:"amount"`
		}](payment)}, "are called amount"},
		{"an optional field that is no pointer", []Binding{bind[struct {
			paid2    head
			OrderID  string    `avro:"order_id"`
			Customer string    `avro:"customer_id"`
			Total    money     `avro:"total_amount"`
			Discount money     `avro:"discount"`
			PlacedAt time.Time `avro:"placed_at"`
		}](placed)}, "field discount: want a pointer, nil for null"},
		{"a time as text", []Binding{bind[struct {
			OrderID  string `avro:"order_id"`
			Customer string `avro:"customer_id"`
			Total    money  `avro:"total_amount"`
			Discount *money `avro:"discount"`
			PlacedAt string `avro:"placed_at"`
		}](placed)}, "field placed_at: want an int64, got string"},
		{"a wide union", []Binding{bind[struct {
			A any `avro:"a"`
		}](two)}, "field a: unions other than of null and one type"},
		{"another struct", []Binding{bind[wrong](all)}, "has no field"},
		{"a schema twice", []Binding{bind[paymentReceived](payment), bind[paid](payment)}, "two bindings read ledgerline.order.PaymentReceived"},
		{"an alias of another", []Binding{bind[paymentReceived](payment), bind[paid](alias)}, "two bindings read ledgerline.order.PaymentReceived"},
		{"a struct twice", []Binding{bind[paymentReceived](payment), bind[paymentReceived](alias)}, "is bound to"},
		{"no schema", []Binding{bind[head](nil)}, "needs Schema"},
		{"New of another type", []Binding{{Version: Version{Schema: payment, Go: reflect.TypeFor[paymentReceived](), New: func() any { return new(head) }, Value: func(p any) any { return p }}}}, "New returns *schemas.head"},
		{"Value of another type", []Binding{{Version: Version{Schema: payment, Go: reflect.TypeFor[paymentReceived](), New: func() any { return new(paymentReceived) }, Value: func(p any) any { return p }}}}, "Value returns *schemas.paymentReceived"},
	} {
		_, err := NewCodec(&registry{}, row.bindings...)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
	if _, err := NewCodec(nil); err == nil {
		t.Error("a codec without a registry was made")
	}
}

// TestWhatFitsWorks checks the rules of fit against the library: the zero value of every type that fits
// survives encoding and decoding, given a symbol for the enums.
func TestWhatFitsWorks(t *testing.T) {
	s := mustParse(t, `{"type":"record","name":"Leaves","fields":[
		{"name":"i32","type":"int"},{"name":"i64","type":"int"},{"name":"i","type":"int"},{"name":"l","type":"long"},{"name":"d","type":{"type":"int","logicalType":"date"}},
		{"name":"ms","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"raw","type":{"type":"long","logicalType":"timestamp-micros"}},
		{"name":"f32","type":"float"},{"name":"f64","type":"float"},{"name":"dd","type":"double"},{"name":"b","type":"bytes"},
		{"name":"x","type":{"type":"fixed","name":"X","size":2}},{"name":"s","type":"string"},{"name":"t","type":"string"},
		{"name":"m","type":{"type":"map","values":{"type":"array","items":"long"}}},{"name":"n","type":["string","null"]}]}`)
	type leaves struct {
		I32 int32              `avro:"i32"`
		I64 int64              `avro:"i64"`
		I   int                `avro:"i"`
		L   int64              `avro:"l"`
		D   time.Time          `avro:"d"`
		Ms  time.Time          `avro:"ms"`
		Raw int64              `avro:"raw"`
		F32 float32            `avro:"f32"`
		F64 float64            `avro:"f64"`
		DD  float64            `avro:"dd"`
		B   []byte             `avro:"b"`
		X   [2]byte            `avro:"x"`
		S   orderStatus        `avro:"s"`
		T   netip.Addr         `avro:"t"`
		M   map[string][]int64 `avro:"m"`
		N   *string            `avro:"n"`
	}
	c, _ := newCodec(t, bind[leaves](s))
	for _, v := range []leaves{{B: []byte{}}, {I32: -1 << 31, I64: 1<<31 - 1, I: -5, L: 1 << 62, D: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC), Ms: time.UnixMilli(-1).UTC(),
		Raw: 77, F32: 1.5, F64: 2.5, DD: 3.5, B: []byte{9}, X: [2]byte{1, 2}, S: "s", M: map[string][]int64{"a": {1, 2}, "b": {3}}, N: ptr("")}} {
		data, err := c.Encode(t.Context(), topic, v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decode(t.Context(), data, time.Time{})
		if err != nil || !sameValue(got.Value, v) {
			t.Errorf("got %+v, %v\nwant %+v", got.Value, err, v)
		}
	}
}
