package schemas

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"testing"
	"time"
)

// TestTinyRecordsCannotAllocate feeds records of a few bytes that claim to be huge.
func TestTinyRecordsCannotAllocate(t *testing.T) {
	type item struct{}
	type bomb struct {
		Text   string            `avro:"text"`
		Raw    []byte            `avro:"raw"`
		Longs  []int64           `avro:"longs"`
		Empty  []item            `avro:"empty"`
		Labels map[string]string `avro:"labels"`
	}
	const reader = `{"type":"record","name":"Bomb","fields":[
		{"name":"text","type":"string"},{"name":"raw","type":"bytes"},{"name":"longs","type":{"type":"array","items":"long"}},
		{"name":"empty","type":{"type":"array","items":{"type":"record","name":"Item","fields":[]}}},
		{"name":"labels","type":{"type":"map","values":"string"}}]}`
	// The same with a field that is skipped, so that all goes the way of a resolved schema.
	const writer = `{"type":"record","name":"Bomb","fields":[{"name":"extra","type":{"type":"array","items":"long"}},
		{"name":"text","type":"string"},{"name":"raw","type":"bytes"},{"name":"longs","type":{"type":"array","items":"long"}},
		{"name":"empty","type":{"type":"array","items":{"type":"record","name":"Item","fields":[]}}},
		{"name":"labels","type":{"type":"map","values":"string"}}]}`
	c, r := newCodec(t, bind[bomb](mustParse(t, reader)))
	extra := r.register("s", writer)
	frames := [][]byte{{0, 0, 0, 3, 0xe8}, {0, 0, 0, byte(extra >> 8), byte(extra), 0}}
	refused := 0
	for _, frame := range frames {
		if _, err := c.Decode(t.Context(), append(frame[:len(frame):len(frame)], 0, 0, 0, 0, 0), time.Time{}); err != nil {
			t.Fatal(err) // also warms the caches
		}
		for field := range 5 {
			for _, size := range []int64{1 << 20, 1 << 31, 1 << 40, math.MaxInt64, -1, math.MinInt64, -(1 << 31)} {
				data := binary.AppendVarint(append(frame[:len(frame):len(frame)], make([]byte, field)...), size)
				data = append(data, 1, 1, 1, 1, 1, 1)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := c.Decode(t.Context(), data, time.Time{})
				runtime.ReadMemStats(&after)
				if !errors.Is(err, ErrUndecodable) {
					t.Errorf("field %d, size %d: %v", field, size, err)
				}
				if used := after.TotalAlloc - before.TotalAlloc; used > 1<<18 {
					t.Errorf("field %d, size %d: %d bytes allocated for %d", field, size, used, len(data))
				}
				refused++
			}
		}
		// Blocks without end: many that are each small.
		blocks := append(frame[:len(frame):len(frame)], 0, 0, 0)
		for range 1000 {
			blocks = binary.AppendVarint(blocks, 4096)
		}
		if _, err := c.Decode(t.Context(), blocks, time.Time{}); !errors.Is(err, ErrUndecodable) {
			t.Errorf("a thousand blocks of empty items: %v", err)
		}
		if _, err := c.Decode(t.Context(), binary.AppendVarint(frame[:1:1], math.MaxInt64), time.Time{}); !errors.Is(err, ErrUndecodable) {
			t.Errorf("a bad frame: %v", err)
		}
	}
	t.Logf("%d claims refused", refused)
}

// FuzzDecode holds that no bytes make Decode panic, and that whatever it reads can be written again.
func FuzzDecode(f *testing.F) {
	c, _ := newCodec(f, orderBindings(f)...)
	for _, v := range samples() {
		data, err := c.Encode(f.Context(), topic, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := c.Decode(t.Context(), data, time.Time{})
		if err != nil {
			if !errors.Is(err, ErrUndecodable) {
				t.Fatalf("%x: %v", data, err)
			}
			return
		}
		if _, err := c.Payload(got.Value); err != nil {
			t.Fatalf("%x reads as %+v, which cannot be written: %v", data, got.Value, err)
		}
	})
}
