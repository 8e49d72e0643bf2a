package schemas

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// JSONErrorKind says in which way JSON does not fit a schema.
type JSONErrorKind int

const (
	// Malformed: it is not JSON at all. Field is empty.
	Malformed JSONErrorKind = iota
	// Invalid: it is JSON, and Field (the whole if empty) does not fit the schema.
	Invalid
	// Fractional: Field is an integer, and the number has a '.', an 'e' or an 'E', whatever its value.
	Fractional
)

// JSONError says why [Schema.FromJSON] refused its input: the first reason in document order.
type JSONError struct {
	// Field is a dotted path, "total_amount.minor_units" or "lines[2].article".
	Field string
	// Reason is for people. It quotes at most a few words of the input.
	Reason string
	Kind   JSONErrorKind
}

func (e *JSONError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// in returns e with its path continued upwards.
func (e *JSONError) in(parent string) *JSONError {
	switch {
	case e.Field == "":
		e.Field = parent
	case e.Field[0] == '[':
		e.Field = parent + e.Field
	default:
		e.Field = parent + "." + e.Field
	}
	return e
}

func invalid(format string, args ...any) *JSONError {
	return &JSONError{Kind: Invalid, Reason: fmt.Sprintf(format, args...)}
}

// maxJSONDepth is how deep values may nest. Only a recursive schema can get there.
const maxJSONDepth = 64

// FromJSON turns plain JSON, as over HTTP, into Avro binary without a frame. The schema drives it, and
// it is strict: unknown, repeated and missing fields, values of another type and text after the object
// are a *JSONError. A field with a default may be missing. Unions of null and one type take the bare
// value, enums a symbol, bytes and fixed base64 with padding. A timestamp is an RFC 3339 string, cut to
// the schema's unit, or an integer in that unit; either way of the years 0 to 9999. Other logical types
// are taken as the type that they are made of. Integers are written without fraction and exponent.
//
// An error that is no *JSONError means that the schema has no JSON form. The size of data is for the
// caller to bound.
func (s *Schema) FromJSON(data []byte) ([]byte, error) {
	if s.noJSON != nil {
		return nil, fmt.Errorf("reading JSON for %s: %w", s.FullName(), s.noJSON)
	}
	if !json.Valid(data) {
		var raw json.RawMessage
		return nil, &JSONError{Kind: Malformed, Reason: fmt.Sprintf("not JSON: %v", json.Unmarshal(data, &raw))}
	}
	r := jsonReader{data: data}
	out, fail := r.value(make([]byte, 0, len(data)), s.root)
	if fail != nil {
		return nil, fail
	}
	return out, nil
}

// value appends the Avro form of the next JSON value to dst.
func (r *jsonReader) value(dst []byte, n *node) ([]byte, *JSONError) {
	if r.depth++; r.depth > maxJSONDepth {
		return nil, invalid("nested deeper than %d levels", maxJSONDepth)
	}
	defer func() { r.depth-- }()
	switch n.kind {
	case kindRecord:
		return r.record(dst, n)
	case kindArray:
		return r.array(dst, n)
	case kindMap:
		return r.mapping(dst, n)
	case kindUnion:
		if r.next() == 'n' {
			r.literal()
			return binary.AppendVarint(dst, int64(n.nullIndex)), nil
		}
		return r.value(binary.AppendVarint(dst, int64(1-n.nullIndex)), n.value)
	case kindNull, kindBoolean:
		return r.word(dst, n)
	case kindInt, kindLong:
		return r.integer(dst, n)
	case kindFloat, kindDouble:
		return r.float(dst, n)
	default:
		return r.text(dst, n)
	}
}

func (r *jsonReader) record(dst []byte, n *node) ([]byte, *JSONError) {
	if r.next() != '{' {
		return nil, r.unexpected("an object")
	}
	// The fields come in any order and leave in the schema's.
	type span struct{ from, to int }
	var scratch []byte
	spans := make([]span, len(n.fields))
	seen := make([]bool, len(n.fields))
	fail := r.object(func(name string) (fail *JSONError) {
		i, ok := n.index[name]
		if !ok {
			return invalid("unknown field").in(quoteName(name))
		}
		if seen[i] {
			return invalid("given twice").in(name)
		}
		seen[i], spans[i].from = true, len(scratch)
		if scratch, fail = r.value(scratch, n.fields[i].node); fail != nil {
			return fail.in(name)
		}
		spans[i].to = len(scratch)
		return nil
	})
	if fail != nil {
		return nil, fail
	}
	for i, f := range n.fields {
		switch {
		case seen[i]:
			dst = append(dst, scratch[spans[i].from:spans[i].to]...)
		case f.def != nil:
			dst = append(dst, f.def...)
		default:
			return nil, invalid("missing").in(f.name)
		}
	}
	return dst, nil
}

func (r *jsonReader) array(dst []byte, n *node) ([]byte, *JSONError) {
	if r.next() != '[' {
		return nil, r.unexpected("an array")
	}
	r.pos++
	var items []byte
	count := 0
	for r.next() != ']' {
		if r.data[r.pos] == ',' {
			r.pos++
		}
		var fail *JSONError
		if items, fail = r.value(items, n.items); fail != nil {
			return nil, fail.in("[" + strconv.Itoa(count) + "]")
		}
		count++
	}
	r.pos++
	return appendBlock(dst, count, items), nil
}

func (r *jsonReader) mapping(dst []byte, n *node) ([]byte, *JSONError) {
	if r.next() != '{' {
		return nil, r.unexpected("an object")
	}
	var entries []byte
	seen := map[string]bool{}
	fail := r.object(func(name string) (fail *JSONError) {
		if seen[name] {
			return invalid("given twice").in(quoteName(name))
		}
		seen[name] = true
		entries = appendString(entries, name)
		if entries, fail = r.value(entries, n.items); fail != nil {
			return fail.in(quoteName(name))
		}
		return nil
	})
	if fail != nil {
		return nil, fail
	}
	return appendBlock(dst, len(seen), entries), nil
}

func (r *jsonReader) word(dst []byte, n *node) ([]byte, *JSONError) {
	switch c := r.next(); {
	case n.kind == kindNull && c == 'n':
		r.literal()
		return dst, nil
	case n.kind == kindBoolean && (c == 't' || c == 'f'):
		r.literal()
		if c == 't' {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case n.kind == kindNull:
		return nil, r.unexpected("null")
	}
	return nil, r.unexpected("true or false")
}

func (r *jsonReader) integer(dst []byte, n *node) ([]byte, *JSONError) {
	unit, isTime := timeUnits[n.logical]
	isTime = isTime && n.kind == kindLong
	switch c := r.next(); {
	case isTime && c == '"':
		return r.timestamp(dst, n)
	case c != '0' && isTime:
		return nil, r.unexpected("a time like 2026-01-31T12:00:00Z")
	case c != '0':
		return nil, r.unexpected("an integer")
	}
	text := r.number()
	if strings.ContainsAny(text, ".eE") {
		return nil, &JSONError{Kind: Fractional, Reason: "want an integer without fraction or exponent, got " + shorten(text)}
	}
	bits := 64
	if n.kind == kindInt {
		bits = 32
	}
	v, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return nil, invalid("%s does not fit in %d bits", shorten(text), bits)
	}
	if isTime {
		if year := unit.read(v).UTC().Year(); year < 0 || year > 9999 {
			return nil, invalid("time %d is not of the years 0 to 9999", v)
		}
	}
	return binary.AppendVarint(dst, v), nil
}

func (r *jsonReader) timestamp(dst []byte, n *node) ([]byte, *JSONError) {
	text, fail := r.string()
	if fail != nil {
		return nil, fail
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !rfc3339.MatchString(text) {
		return nil, invalid("want a time like 2026-01-31T12:00:00Z, got %s", shorten(strconv.Quote(text)))
	}
	unit := timeUnits[n.logical]
	v := unit.write(t)
	// Nanoseconds of a long reach from 1678 to 2262 only, and an offset can lead out of the years.
	if back := unit.read(v); back.Unix() != t.Unix() || back.UTC().Year() < 0 || back.UTC().Year() > 9999 {
		return nil, invalid("time %s is out of range", shorten(text))
	}
	return binary.AppendVarint(dst, v), nil
}

// rfc3339 is the shape that package time does not insist on: it takes a comma, one digit for an hour
// and an offset of 99 hours.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// timeUnit turns a time into a logical type's integer and back.
type timeUnit struct {
	write func(time.Time) int64
	read  func(int64) time.Time
}

var timeUnits = map[string]timeUnit{
	"timestamp-millis": {time.Time.UnixMilli, time.UnixMilli},
	"timestamp-micros": {time.Time.UnixMicro, time.UnixMicro},
	"timestamp-nanos":  {time.Time.UnixNano, func(v int64) time.Time { return time.Unix(0, v) }},
}

func (r *jsonReader) float(dst []byte, n *node) ([]byte, *JSONError) {
	if r.next() != '0' {
		return nil, r.unexpected("a number")
	}
	text := r.number()
	bits := 64
	if n.kind == kindFloat {
		bits = 32
	}
	v, err := strconv.ParseFloat(text, bits)
	if err != nil {
		return nil, invalid("%s does not fit in %d bits", shorten(text), bits)
	}
	if n.kind == kindFloat {
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v))), nil
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v)), nil
}

// text reads what JSON writes as a string: string, enum, bytes and fixed.
func (r *jsonReader) text(dst []byte, n *node) ([]byte, *JSONError) {
	if r.next() != '"' {
		return nil, r.unexpected("a string")
	}
	text, fail := r.string()
	if fail != nil {
		return nil, fail
	}
	switch n.kind {
	case kindString:
		return appendString(dst, text), nil
	case kindEnum:
		i := slices.Index(n.symbols, text)
		if i < 0 {
			return nil, invalid("want one of %s, got %s", strings.Join(n.symbols, ", "), shorten(strconv.Quote(text)))
		}
		return binary.AppendVarint(dst, int64(i)), nil
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	switch {
	case err != nil || strings.ContainsAny(text, "\r\n"): // which the decoder would pass over
		return nil, invalid("want base64 with padding")
	case n.kind == kindFixed && len(raw) != n.size:
		return nil, invalid("want %d bytes, got %d", n.size, len(raw))
	case n.kind == kindFixed:
		return append(dst, raw...), nil
	}
	return appendString(dst, string(raw)), nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendVarint(dst, int64(len(s))), s...)
}

// appendBlock appends an array or a map of count items as one block.
func appendBlock(dst []byte, count int, items []byte) []byte {
	if count > 0 {
		dst = append(binary.AppendVarint(dst, int64(count)), items...)
	}
	return append(dst, 0)
}
