package schemas

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

const orderHead = `{"customer_id":"c","total_amount":{"minor_units":5,"currency":"GBP"}`

func TestFromJSON(t *testing.T) {
	c, _ := newCodec(t, orderBindings(t)...)
	placed := time.Date(2010, 12, 1, 8, 26, 0, 0, time.UTC)
	base := placeOrder{CustomerID: "c", TotalAmount: money{5, "GBP"}}
	with := func(change func(*placeOrder)) placeOrder {
		o := base
		change(&o)
		return o
	}
	empty := everything{Text: "none", Small: -1, Yes: true, Ratio: 0.5, Single: 1, Kind: "B", Last: ptr("z")}
	thing := func(change func(*everything)) everything {
		e := empty
		change(&e)
		return e
	}
	for _, row := range []struct {
		name, json string
		want       any
	}{
		{"required only", orderHead + `}`, base},
		{"white space", " {\r\n\t\"total_amount\" : { \"currency\" : \"GBP\" , \"minor_units\" : 5 } , \"customer_id\" : \"c\" } ", base},
		{"null discount", orderHead + `,"discount":null}`, base},
		{"discount", orderHead + `,"discount":{"minor_units":-9223372036854775808,"currency":"GBP"}}`, with(func(o *placeOrder) { o.Discount = &money{-1 << 63, "GBP"} })},
		{"time as text", orderHead + `,"placed_at":"2010-12-01T08:26:00Z"}`, with(func(o *placeOrder) { o.PlacedAt = &placed })},
		{"time of another zone", orderHead + `,"placed_at":"2010-12-01T09:26:00+01:00"}`, with(func(o *placeOrder) { o.PlacedAt = &placed })},
		{"time is cut to milliseconds", orderHead + `,"placed_at":"2010-12-01T08:26:00.0019Z"}`, with(func(o *placeOrder) { o.PlacedAt = ptr(placed.Add(time.Millisecond)) })},
		{"time as milliseconds", orderHead + `,"placed_at":1291191960000}`, with(func(o *placeOrder) { o.PlacedAt = &placed })},
		{"escaped names and text", `{"customer\u005fid":"\u0063\n\"\/\ud83d\ude00é","total_amount":{"minor_units":5,"currency":"GBP"}}`, with(func(o *placeOrder) { o.CustomerID = "c\n\"/😀é" })},
		{"the replacement character itself", `{"customer_id":"\ufffd` + "\ufffd" + `","total_amount":{"minor_units":5,"currency":"GBP"}}`, with(func(o *placeOrder) { o.CustomerID = "\ufffd\ufffd" })},
		{"minus zero", `{"customer_id":"c","total_amount":{"minor_units":-0,"currency":"GBP"}}`, with(func(o *placeOrder) { o.TotalAmount.MinorUnits = 0 })},
		{"no fields", `{}`, shipOrder{}},
		{"defaults", `{}`, empty},
		{"lists", `{"lines":[{"article":"a","count":1},{"count":2,"article":"b"}]}`, thing(func(e *everything) { e.Lines = []line{{"a", 1}, {"b", 2}} })},
		{"maps", `{"labels":{"b":"2","a":"1"}}`, thing(func(e *everything) { e.Labels = map[string]string{"a": "1", "b": "2"} })},
		{"empty list and map", `{"lines":[ ],"labels":{ }}`, empty},
		{"floats", `{"ratio":-1.5e-3,"single":7}`, thing(func(e *everything) { e.Ratio, e.Single = -1.5e-3, 7 })},
		{"enum, boolean, int", `{"kind":"A","yes":false,"small":2147483647}`, thing(func(e *everything) { e.Kind, e.Yes, e.Small = "A", false, 1<<31-1 })},
		{"null second", `{"last":null}`, thing(func(e *everything) { e.Last = nil })},
		{"nested", `{"more":{"more":{"text":"deep"}}}`, thing(func(e *everything) {
			e.More = ptr(thing(func(e *everything) { e.More = ptr(thing(func(e *everything) { e.Text = "deep" })) }))
		})},
		{"microseconds", `{"at":"1969-12-31T23:59:59.9999999Z"}`, thing(func(e *everything) { e.At = ptr(time.UnixMicro(-1).UTC()) })},
		{"bytes", `{"command_id":"","aggregate":"","aggregate_id":"","command_type":"","status":"FAILED","decision":true,"version":0,"events":[],"command_offset":0,"body_hash":"AP8H","time":0}`,
			outcome{Status: "FAILED", Decision: true, BodyHash: []byte{0, 255, 7}, Time: time.UnixMilli(0).UTC()}},
	} {
		name := c.byGo[reflect.TypeOf(row.want)].Schema.FullName()
		got, err := c.FromJSON(name, []byte(row.json))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		} else if !sameValue(got, row.want) {
			t.Errorf("%s:\n got %#v\nwant %#v", row.name, got, row.want)
		}
	}
}

// sameValue compares values, an empty list or map being as good as none.
func sameValue(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	plain := func(text []byte) string {
		return strings.NewReplacer(":[]", ":null", ":{}", ":null").Replace(string(text))
	}
	return reflect.TypeOf(a) == reflect.TypeOf(b) && errX == nil && errY == nil && plain(x) == plain(y)
}

func TestFromJSONRefuses(t *testing.T) {
	order := embedded(t, "order", "PlaceOrder")
	all := mustParse(t, everythingText)
	moneyOf := func(amount string) string {
		return `{"customer_id":"c","total_amount":{"minor_units":` + amount + `,"currency":"GBP"}}`
	}
	bytesSchema := mustParse(t, `{"type":"record","name":"B","fields":[{"name":"b","type":"bytes","default":""},
		{"name":"f","type":{"type":"fixed","name":"F","size":2},"default":"\u0000\u0000"},
		{"name":"n","type":{"type":"long","logicalType":"timestamp-nanos"},"default":0},{"name":"nothing","type":"null","default":null}]}`)
	const minor = "total_amount.minor_units"
	for _, row := range []struct {
		name   string
		schema *Schema
		json   string
		kind   JSONErrorKind
		field  string
		reason string
	}{
		{"empty", order, ``, Malformed, "", "not JSON"},
		{"cut short", order, `{"customer_id":`, Malformed, "", "not JSON"},
		{"trailing object", order, orderHead + `}{}`, Malformed, "", "not JSON"},
		{"trailing bracket", order, orderHead + `}]`, Malformed, "", "not JSON"},
		{"trailing comma", order, orderHead + `,}`, Malformed, "", "not JSON"},
		{"comment", order, `/**/{}`, Malformed, "", "not JSON"},
		{"byte order mark", order, "\ufeff" + orderHead + "}", Malformed, "", "not JSON"},
		{"not a number", order, moneyOf(`NaN`), Malformed, "", "not JSON"},
		{"leading zero", order, moneyOf(`05`), Malformed, "", "not JSON"},
		{"too deep for the parser", order, `{"x":` + strings.Repeat("[", 20000), Malformed, "", "not JSON"},
		{"an array", order, `[]`, Invalid, "", "want an object, got an array"},
		{"null", order, `null`, Invalid, "", "want an object, got null"},
		{"missing", order, `{"total_amount":{"minor_units":5,"currency":"GBP"}}`, Invalid, "customer_id", "missing"},
		{"missing inside", order, `{"customer_id":"c","total_amount":{"minor_units":5}}`, Invalid, "total_amount.currency", "missing"},
		{"unknown", order, orderHead + `,"extra":1}`, Invalid, "extra", "unknown field"},
		{"unknown by case", order, `{"Customer_id":"c"}`, Invalid, "Customer_id", "unknown field"},
		{"unknown inside", order, `{"total_amount":{"value":1}}`, Invalid, "total_amount.value", "unknown field"},
		{"unknown, strange", order, `{"a\nb":1}`, Invalid, `"a\nb"`, "unknown field"},
		{"unknown, empty", order, `{"":1}`, Invalid, `""`, "unknown field"},
		{"unknown, long", order, `{"` + strings.Repeat("x", 1e5) + `":1}`, Invalid, strings.Repeat("x", 64) + "…", "unknown field"},
		{"twice", order, orderHead + `,"customer_id":"d"}`, Invalid, "customer_id", "given twice"},
		{"twice by escape", order, orderHead + `,"customer\u005fid":"d"}`, Invalid, "customer_id", "given twice"},
		{"twice null", order, orderHead + `,"discount":null,"discount":null}`, Invalid, "discount", "given twice"},
		{"null text", order, `{"customer_id":null}`, Invalid, "customer_id", "want a string, got null"},
		{"number as text", order, `{"customer_id":17850}`, Invalid, "customer_id", "want a string, got a number"},
		{"text as number", order, moneyOf(`"5"`), Invalid, minor, "want an integer, got a string"},
		{"null number", order, moneyOf(`null`), Invalid, minor, "want an integer, got null"},
		{"boolean as number", order, moneyOf(`true`), Invalid, minor, "want an integer, got true"},
		{"text as object", order, `{"total_amount":"5 GBP"}`, Invalid, "total_amount", "want an object, got a string"},
		{"text as optional object", order, orderHead + `,"discount":"1"}`, Invalid, "discount", "want an object, got a string"},
		{"tagged union", order, orderHead + `,"placed_at":{"long":5}}`, Invalid, "placed_at", "want a time like 2026-01-31T12:00:00Z, got an object"},
		{"fraction", order, moneyOf(`5.5`), Fractional, minor, "got 5.5"},
		{"whole fraction", order, moneyOf(`5.0`), Fractional, minor, "got 5.0"},
		{"exponent", order, moneyOf(`1e2`), Fractional, minor, "got 1e2"},
		{"big exponent", order, moneyOf(`1E+999999999`), Fractional, minor, "got 1E+999999999"},
		{"fractional time", order, orderHead + `,"placed_at":1.5}`, Fractional, "placed_at", "got 1.5"},
		{"out of range", order, moneyOf(`9223372036854775808`), Invalid, minor, "does not fit in 64 bits"},
		{"far out of range", order, moneyOf(`-` + strings.Repeat("9", 1e5)), Invalid, minor, "… does not fit in 64 bits"},
		{"int out of range", all, `{"small":2147483648}`, Invalid, "small", "does not fit in 32 bits"},
		{"int fraction", all, `{"small":1.0}`, Fractional, "small", "got 1.0"},
		{"double out of range", all, `{"ratio":1e309}`, Invalid, "ratio", "does not fit in 64 bits"},
		{"float out of range", all, `{"single":1e39}`, Invalid, "single", "does not fit in 32 bits"},
		{"text as double", all, `{"ratio":"NaN"}`, Invalid, "ratio", "want a number, got a string"},
		{"number as boolean", all, `{"yes":1}`, Invalid, "yes", "want true or false, got a number"},
		{"null boolean", all, `{"yes":null}`, Invalid, "yes", "want true or false, got null"},
		{"unknown symbol", all, `{"kind":"C"}`, Invalid, "kind", `want one of A, B, got "C"`},
		{"object as array", all, `{"lines":{}}`, Invalid, "lines", "want an array, got an object"},
		{"bad item", all, `{"lines":[{"article":"a","count":1},{"article":"b","count":"x"}]}`, Invalid, "lines[1].count", "want an integer, got a string"},
		{"null item", all, `{"lines":[null]}`, Invalid, "lines[0]", "want an object, got null"},
		{"array as map", all, `{"labels":[]}`, Invalid, "labels", "want an object, got an array"},
		{"bad value in map", all, `{"labels":{"a":1}}`, Invalid, "labels.a", "want a string, got a number"},
		{"twice in map", all, `{"labels":{"a":"1","a":"1"}}`, Invalid, "labels.a", "given twice"},
		{"too deep", all, strings.Repeat(`{"more":`, 100) + "{}" + strings.Repeat("}", 100), Invalid, "", "nested deeper than 64 levels"},
		{"not a time", order, orderHead + `,"placed_at":"yesterday"}`, Invalid, "placed_at", `got "yesterday"`},
		{"a time without zone", order, orderHead + `,"placed_at":"2010-12-01T08:26:00"}`, Invalid, "placed_at", "want a time"},
		{"a time with a comma", order, orderHead + `,"placed_at":"2010-12-01T08:26:00,5Z"}`, Invalid, "placed_at", "want a time"},
		{"an hour of one digit", order, orderHead + `,"placed_at":"2010-12-01T8:26:00Z"}`, Invalid, "placed_at", "want a time"},
		{"an offset of days", order, orderHead + `,"placed_at":"2010-12-01T08:26:00+99:00"}`, Invalid, "placed_at", "want a time"},
		{"a day that is not", order, orderHead + `,"placed_at":"2010-02-30T08:26:00Z"}`, Invalid, "placed_at", "want a time"},
		{"year 10000", order, orderHead + `,"placed_at":253402300800000}`, Invalid, "placed_at", "not of the years 0 to 9999"},
		{"year 10000 in UTC", order, orderHead + `,"placed_at":"9999-12-31T23:59:59-01:00"}`, Invalid, "placed_at", "out of range"},
		{"largest time", order, orderHead + `,"placed_at":9223372036854775807}`, Invalid, "placed_at", "not of the years 0 to 9999"},
		{"nanoseconds before 1678", bytesSchema, `{"n":"1600-01-01T00:00:00Z"}`, Invalid, "n", "out of range"},
		{"bytes without padding", bytesSchema, `{"b":"AP8"}`, Invalid, "b", "want base64 with padding"},
		{"bytes with a line break", bytesSchema, `{"b":"AP\n8H"}`, Invalid, "b", "want base64 with padding"},
		{"bytes with spare bits", bytesSchema, `{"b":"AP9="}`, Invalid, "b", "want base64 with padding"},
		{"bytes of the wrong size", bytesSchema, `{"f":"AP8H"}`, Invalid, "f", "want 2 bytes, got 3"},
		{"something as null", bytesSchema, `{"nothing":0}`, Invalid, "nothing", "want null, got a number"},
		{"not UTF-8", order, "{\"customer_id\":\"a\xff\"}", Invalid, "customer_id", "not valid UTF-8"},
		{"surrogate in UTF-8", order, "{\"customer_id\":\"\xed\xa0\x80\"}", Invalid, "customer_id", "not valid UTF-8"},
		{"half a surrogate pair", order, `{"customer_id":"\ud83d"}`, Invalid, "customer_id", "not valid UTF-8"},
		{"half a pair, then text", order, `{"customer_id":"\ud83dxxxxxxx"}`, Invalid, "customer_id", "not valid UTF-8"},
		{"the wrong half first", order, `{"customer_id":"\ude00\ud83d"}`, Invalid, "customer_id", "not valid UTF-8"},
		{"two first halves", order, `{"customer_id":"\ud83d\ud83d"}`, Invalid, "customer_id", "not valid UTF-8"},
		{"name not UTF-8", order, "{\"\xff\":1}", Invalid, "", "not valid UTF-8"},
		{"the first of two", order, `{"customer_id":1,"total_amount":1.5}`, Invalid, "customer_id", "want a string"},
	} {
		_, err := row.schema.FromJSON([]byte(row.json))
		var got *JSONError
		if !errors.As(err, &got) {
			t.Errorf("%s: got %v, want a *JSONError", row.name, err)
			continue
		}
		if row.name == "too deep" {
			row.field = got.Field // a long path
		}
		if got.Kind != row.kind || got.Field != row.field || !strings.Contains(got.Reason, row.reason) {
			t.Errorf("%s: got kind %d, %q, %q; want kind %d, %q, %q", row.name, got.Kind, got.Field, got.Reason, row.kind, row.field, row.reason)
		}
		if len(got.Reason) > 300 || !strings.HasSuffix(err.Error(), got.Reason) || !strings.HasPrefix(err.Error(), got.Field) {
			t.Errorf("%s: error reads %.400q", row.name, err)
		}
	}
}

func TestFromJSONWithoutAForm(t *testing.T) {
	s := mustParse(t, `{"type":"record","name":"U","fields":[{"name":"u","type":["string","long"]}]}`)
	_, err := s.FromJSON([]byte(`{"u":1}`))
	var broken *JSONError
	if err == nil || errors.As(err, &broken) {
		t.Errorf("got %v, want an error that does not blame the JSON", err)
	}
}

// FuzzFromJSON holds whatever is accepted against the library: its binary decodes without a rest, and
// the library's own JSON of it, which spells times as integers, leads to the same binary.
func FuzzFromJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"text":"a\u00e9\ud83d\ude00","small":-5,"large":9223372036854775807}`, `{"large":1e2}`, `{"large":5.0,"large":1}`,
		`{"yes":false,"ratio":1.5e-300,"single":0.1,"kind":"B"}`, `{"lines":[{"article":"x","count":1},{"article":"","count":-1}]}`,
		`{"labels":{"b":"1","a":"2","":"3"}}`, `{"gift":null,"more":{"more":{"last":null}},"at":"2026-01-31T12:00:00.123456Z"}`,
		`{"at":-62135596800000000}`, `{"text":"\ud800"}`, "{\"text\":\"\xff\"}", `{"more":{"labels":{"more":[]}}}`, `[`, `{}{}`, `"`, `{"text":"\\"}`,
	} {
		f.Add([]byte(seed))
	}
	s := mustParse(f, everythingText)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := s.FromJSON(data)
		var fail *JSONError
		if err != nil {
			if !errors.As(err, &fail) || (fail.Kind == Malformed) == json.Valid(data) {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		var v any
		rest, err := s.avro.Decode(got, &v)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%q: the library reads %x with %d bytes left: %v", data, got, len(rest), err)
		}
		text, err := s.avro.EncodeJSON(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.FromJSON(text)
		if err != nil {
			t.Fatalf("%q: its other form %s: %v", data, text, err)
		}
		if !bytes.Equal(sorted(t, got, s), sorted(t, again, s)) {
			t.Fatalf("%q and %s differ: %x, %x", data, text, got, again)
		}
	})
}

func sorted(t *testing.T, data []byte, s *Schema) []byte {
	out, err := sortMaps(bytes.Clone(data), 0, s.root)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSortMapsReadsBlocks(t *testing.T) {
	s := mustParse(t, `{"type":"record","name":"M","fields":[{"name":"m","type":{"type":"map","values":"int"}},
		{"name":"f","type":{"type":"fixed","name":"F","size":2}},{"name":"l","type":{"type":"array","items":"float"}}]}`)
	str := func(dst []byte, key string, v int64) []byte { return binary.AppendVarint(appendString(dst, key), v) }
	// b in a block that states its size, then a in one that does not.
	one := binary.AppendVarint(binary.AppendVarint(nil, -1), 3)
	in := append(str(binary.AppendVarint(str(one, "b", 2), 1), "a", 1), 0)
	in = append(in, 'x', 'y', 2, 1, 2, 3, 4, 0)
	want := append(str(str(binary.AppendVarint(nil, 2), "a", 1), "b", 2), 0)
	want = append(want, 'x', 'y', 2, 1, 2, 3, 4, 0)
	if got := sorted(t, in, s); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	for cut := range in {
		if _, err := sortMaps(bytes.Clone(in[:cut]), 0, s.root); err == nil {
			t.Errorf("cut at %d: no error", cut)
		}
	}
}
