package schemas

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRoundTrip(t *testing.T) {
	c, r := newCodec(t, orderBindings(t)...)
	ctx := t.Context()
	for _, v := range samples() {
		data, err := c.Encode(ctx, topic, v)
		if err != nil {
			t.Fatalf("%T: %v", v, err)
		}
		pointer := reflect.New(reflect.TypeOf(v))
		pointer.Elem().Set(reflect.ValueOf(v))
		same, err := c.AppendEncode(ctx, []byte("head"), topic, pointer.Interface())
		if err != nil || string(same) != "head"+string(data) {
			t.Errorf("%T by pointer, appended: %x, %v; want %x", v, same, err, data)
		}
		payload, err := c.Payload(v)
		if err != nil || !bytes.Equal(payload, data[5:]) {
			t.Errorf("%T: payload %x, %v; want %x", v, payload, err, data[5:])
		}
		got, err := c.Decode(ctx, data, time.Time{})
		if err != nil {
			t.Fatalf("%T: %v", v, err)
		}
		b := c.byGo[reflect.TypeOf(v)].Schema
		if got.FullName != b.FullName() || got.Name != b.Name() || !reflect.DeepEqual(got.Value, v) {
			t.Errorf("got %s, %s, %#v\nwant %#v", got.FullName, got.Name, got.Value, v)
		}
	}
	if types := len(c.byGo); r.asked != types { // what is written is known to be read
		t.Errorf("the registry was asked %d times for %d types", r.asked, types)
	}
}

// TestBytesOnTheWire is what other people's programs rely on.
func TestBytesOnTheWire(t *testing.T) {
	c, _ := newCodec(t, bind[orderPlaced](embedded(t, "order", "OrderPlaced")))
	data, err := c.Encode(t.Context(), topic, orderPlaced{OrderID: "o-1", CustomerID: "c", TotalAmount: money{13912, "GBP"}, PlacedAt: time.UnixMilli(1).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	const want = "00" + "000003e8" + "066f2d31" + "0263" + "b0d901" + "06474250" + "00" + "02"
	if got := hex.EncodeToString(data); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDecodeRefusesEveryCutAndRest(t *testing.T) {
	c, _ := newCodec(t, orderBindings(t)...)
	cuts := 0
	for _, v := range samples() {
		data, err := c.Encode(t.Context(), topic, v)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range data {
			if got, err := c.Decode(t.Context(), data[:cut], time.Time{}); !errors.Is(err, ErrUndecodable) || got.Value != nil {
				t.Errorf("%T cut at %d of %d: got %+v, %v", v, cut, len(data), got.Value, err)
			}
			cuts++
		}
		for _, rest := range [][]byte{{0}, {2}, data} {
			if got, err := c.Decode(t.Context(), append(bytes.Clone(data), rest...), time.Time{}); !errors.Is(err, ErrUndecodable) || got.Value != nil {
				t.Errorf("%T with %d bytes more: got %+v, %v", v, len(rest), got.Value, err)
			}
		}
	}
	t.Logf("%d cuts refused", cuts)
}

func TestDecodeRefuses(t *testing.T) {
	c, r := newCodec(t, bind[shipOrder](embedded(t, "order", "ShipOrder")))
	other := r.register("x", `{"type":"record","name":"Elsewhere","namespace":"some.place","fields":[]}`)
	sameSimpleName := r.register("x", `{"type":"record","name":"ShipOrder","namespace":"some.place","fields":[]}`)
	noAvro := r.register("x", `{"$schema":"https://json-schema.org/draft-07/schema"}`)
	noRecord := r.register("x", `"string"`)
	frame := func(id int) []byte { return []byte{0, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)} }
	for _, row := range []struct {
		name     string
		data     []byte
		want     error
		fullName string
	}{
		{"nothing", nil, ErrUndecodable, ""},
		{"JSON", []byte(`{"a":1}`), ErrUndecodable, ""},
		{"id above all ids", []byte{0, 0xff, 0xff, 0xff, 0xff}, ErrUndecodable, ""},
		{"id of nothing", frame(7), ErrUndecodable, ""},
		{"id of nothing, told apart", frame(7), ErrNotRegistered, ""},
		{"another type", frame(other), ErrUnknownType, "some.place.Elsewhere"},
		{"the same name elsewhere", frame(sameSimpleName), ErrUnknownType, "some.place.ShipOrder"},
		{"no Avro schema", frame(noAvro), ErrUndecodable, ""},
		{"no record", frame(noRecord), ErrUndecodable, ""},
	} {
		got, err := c.Decode(t.Context(), row.data, time.Time{})
		if !errors.Is(err, row.want) || got.Value != nil || got.FullName != row.fullName {
			t.Errorf("%s: got %+v, %v", row.name, got, err)
		}
	}
	before := r.asked
	_, _ = c.Decode(t.Context(), frame(other), time.Time{})
	_, _ = c.Decode(t.Context(), frame(noAvro), time.Time{})
	if r.asked != before {
		t.Error("a final verdict was asked for again")
	}
}

func TestRegistryTroubleIsNotFinal(t *testing.T) {
	c, r := newCodec(t, bind[shipOrder](embedded(t, "order", "ShipOrder")))
	down := errors.New("connection refused")
	r.fail = down
	data := []byte{0, 0, 0, 3, 0xe8}
	_, err := c.Decode(t.Context(), data, time.Time{})
	if !errors.Is(err, down) || errors.Is(err, ErrUndecodable) || errors.Is(err, ErrUnknownType) {
		t.Errorf("decode: %v", err)
	}
	if _, err := c.Encode(t.Context(), topic, shipOrder{}); !errors.Is(err, down) {
		t.Errorf("encode: %v", err)
	}
	r.fail = nil
	if _, err := c.Decode(t.Context(), data, time.Time{}); err != nil {
		t.Errorf("decode, the registry being back: %v", err)
	}
	if _, err := c.Encode(t.Context(), topic, shipOrder{}); err != nil {
		t.Errorf("encode, the registry being back: %v", err)
	}
	r.fail = down
	if _, err := c.Decode(t.Context(), data, time.Time{}); err != nil {
		t.Errorf("decode of a known id, the registry being down: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	c, _ := newCodec(t, bind[orderCancelled](embedded(t, "order", "OrderCancelled")))
	for _, v := range []any{nil, 5, shipOrder{}, &shipOrder{}} {
		if _, err := c.Encode(t.Context(), topic, v); !errors.Is(err, ErrUnknownType) {
			t.Errorf("%T: %v", v, err)
		}
		if _, err := c.Payload(v); !errors.Is(err, ErrUnknownType) {
			t.Errorf("payload of %T: %v", v, err)
		}
	}
	_, err := c.Encode(t.Context(), topic, orderCancelled{PreviousStatus: "EATEN"})
	if err == nil || !strings.Contains(err.Error(), "previous_status") {
		t.Errorf("unknown symbol: %v", err)
	}
	if _, err := c.Encode(t.Context(), topic, (*orderCancelled)(nil)); err == nil {
		t.Error("a nil pointer was encoded")
	}
	if _, err := c.FromJSON("ledgerline.order.Nothing", []byte("{}")); !errors.Is(err, ErrUnknownType) {
		t.Errorf("JSON of an unknown type: %v", err)
	}
}

func TestPreload(t *testing.T) {
	placed, paid := embedded(t, "order", "OrderPlaced"), embedded(t, "order", "PaymentReceived")
	r := &registry{}
	c, err := NewCodec(r, bind[orderPlaced](placed), bind[paymentReceived](paid))
	if err != nil {
		t.Fatal(err)
	}
	r.register(Subject(topic, placed.FullName()), placed.Text())
	err = c.Preload(t.Context(), topic, placed.FullName(), paid.FullName(), "no.Such")
	if !errors.Is(err, ErrNotRegistered) || !errors.Is(err, ErrUnknownType) ||
		!strings.Contains(err.Error(), "subject order.events-ledgerline.order.PaymentReceived: ") || !strings.Contains(err.Error(), "run: provision apply") {
		t.Errorf("got %v", err)
	}
	r.register(Subject(topic, paid.FullName()), paid.Text())
	if err := c.Preload(t.Context(), topic, placed.FullName(), paid.FullName()); err != nil {
		t.Error(err)
	}
	asked := r.asked
	r.fail = errors.New("down")
	if _, err := c.Encode(t.Context(), topic, paymentReceived{}); err != nil || r.asked != asked {
		t.Errorf("after Preload: %v, asked %d times", err, r.asked-asked)
	}
	if err := c.Preload(t.Context(), topic, placed.FullName()); err != nil {
		t.Errorf("again, the registry being down: %v", err)
	}
	if err := c.Preload(t.Context(), "other.events", placed.FullName()); err == nil || strings.Contains(err.Error(), "provision") {
		t.Errorf("another topic, the registry being down: %v", err)
	}
}

func TestPayloadOfEqualMapsIsEqual(t *testing.T) {
	c, _ := newCodec(t, bind[everything](mustParse(t, everythingText)))
	v := everything{Kind: "A", Labels: map[string]string{}, More: &everything{Kind: "B", Labels: map[string]string{}}}
	for i := range 50 {
		v.Labels[fmt.Sprint("key ", i)], v.More.Labels[fmt.Sprint("k", i)] = "v", "w"
	}
	want, err := c.Payload(v)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got, err := c.Payload(v); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %x, %v; want %x", got, err, want)
		}
	}
	data, err := c.Encode(t.Context(), topic, v)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decode(t.Context(), data, time.Time{}); err != nil || !sameValue(got.Value, v) {
		t.Errorf("got %+v, %v", got.Value, err)
	}
}

func TestOneRequestForManyWaiters(t *testing.T) {
	for name, call := range map[string]func(context.Context, *Codec) error{
		"decode": func(ctx context.Context, c *Codec) error {
			_, err := c.Decode(ctx, []byte{0, 0, 0, 3, 0xe8}, time.Time{})
			return err
		},
		"encode": func(ctx context.Context, c *Codec) error { _, err := c.Encode(ctx, topic, shipOrder{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, r := newCodec(t, bind[shipOrder](embedded(t, "order", "ShipOrder")))
				release := make(chan struct{})
				r.hold = func(ctx context.Context) error {
					select {
					case <-release:
						return nil
					case <-ctx.Done():
						return fmt.Errorf("request: %w", ctx.Err())
					}
				}
				// The asker gives up, and so does a waiter; another of the waiters asks again, for all.
				asker, leave := context.WithCancel(t.Context())
				waiter, tired := context.WithCancel(t.Context())
				left := make(chan error, 2)
				go func() { left <- call(asker, c) }()
				synctest.Wait()
				go func() { left <- call(waiter, c) }()
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						if err := call(t.Context(), c); err != nil {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				tired()
				synctest.Wait()
				leave()
				for range 2 {
					if err := <-left; !errors.Is(err, context.Canceled) {
						t.Errorf("who left got %v", err)
					}
				}
				synctest.Wait()
				close(release)
				all.Wait()
				if r.asked != 2 {
					t.Errorf("the registry was asked %d times, want 2", r.asked)
				}
			})
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	c, _ := newCodec(t, orderBindings(t)...)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				for _, v := range samples() {
					data, err := c.Encode(t.Context(), topic, v)
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := c.Decode(t.Context(), data, time.Time{}); err != nil || !reflect.DeepEqual(got.Value, v) {
						t.Errorf("got %#v, %v; want %#v", got.Value, err, v)
						return
					}
				}
			}
		})
	}
	all.Wait()
}
