package schemas

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/avro"
)

// The versions of a dish: a price, a price with a currency under another name, and when it came on the menu.
type (
	dish1 struct {
		Name  string `avro:"name"`
		Price int64  `avro:"price"`
	}
	dish2 struct {
		Name  string `avro:"name"`
		Price int64  `avro:"price"`
		Spicy *bool  `avro:"spicy"`
	}
	dish3 struct {
		Name  string    `avro:"name"`
		Cost  int64     `avro:"cost"`
		Spicy *bool     `avro:"spicy"`
		Since time.Time `avro:"since"`
	}
)

const (
	dishName  = `{"name":"name","type":"string"}`
	dishPrice = `{"name":"price","type":"long"}`
	dishCost  = `{"name":"cost","type":"long","aliases":["price"]}`
	dishSpicy = `{"name":"spicy","type":["null","boolean"],"default":null}`
	dishSince = `{"name":"since","type":` + millis + `,"default":0}`
)

func dishes(t testing.TB, up1, up2 func(value any, at time.Time) any) Binding {
	first, second := version[dish1](mustParse(t, record("Dish", dishName, dishPrice))), version[dish2](mustParse(t, record("Dish", dishName, dishPrice, dishSpicy)))
	first.Up, second.Up = up1, up2
	return Binding{Version: version[dish3](mustParse(t, record("Dish", dishName, dishCost, dishSpicy, dishSince))), Older: []Version{first, second}}
}

func rightDishes(t testing.TB) Binding {
	return dishes(t,
		func(v any, _ time.Time) any { d := v.(dish1); return dish2{Name: d.Name, Price: d.Price} },
		func(v any, at time.Time) any {
			d := v.(dish2)
			return dish3{Name: d.Name, Cost: d.Price, Spicy: d.Spicy, Since: at}
		})
}

// TestDecodeUpcasts: whatever version a record is of, and whatever tools made of its schema, the newest struct
// comes out; what a version did not know comes of its upcaster, not of a default.
func TestDecodeUpcasts(t *testing.T) {
	at := time.Date(2026, 11, 23, 2, 14, 0, 0, time.UTC)
	of := func(spicy *bool, since time.Time) dish3 {
		return dish3{Name: "dal", Cost: 5, Spicy: spicy, Since: since}
	}
	old := map[string]any{"name": "dal", "price": int64(5), "spicy": true, "cost": int64(5), "since": at.Add(time.Hour), "origin": "here"}
	for name, row := range map[string]struct {
		fields []string
		want   dish3
	}{
		"version 1":                        {[]string{dishName, dishPrice}, of(nil, at)},
		"version 2":                        {[]string{dishName, dishPrice, dishSpicy}, of(ptr(true), at)},
		"version 3":                        {[]string{dishName, dishCost, dishSpicy, dishSince}, of(ptr(true), at.Add(time.Hour))},
		"version 1 in another order":       {[]string{dishPrice, dishName}, of(nil, at)},
		"version 2 without its default":    {[]string{dishName, `{"name":"spicy","type":["null","boolean"]}`, dishPrice}, of(ptr(true), at)},
		"version 3 without its alias":      {[]string{dishName, `{"name":"cost","type":"long"}`, dishSpicy, dishSince}, of(ptr(true), at.Add(time.Hour))},
		"a version 4 that is not known":    {[]string{dishName, dishCost, dishSpicy, dishSince, `{"name":"origin","type":"string"}`}, of(ptr(true), at.Add(time.Hour))},
		"a version that was never told of": {[]string{dishName, dishPrice, dishSince}, of(nil, at)},
	} {
		t.Run(name, func(t *testing.T) {
			c, r := newCodec(t, rightDishes(t))
			text := record("Dish", row.fields...)
			id := r.register("a subject", text)
			payload, err := avro.MustParse(text).Encode(old)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Decode(t.Context(), append([]byte{0, 0, 0, byte(id >> 8), byte(id)}, payload...), at)
			if err != nil || !reflect.DeepEqual(got.Value, row.want) {
				t.Errorf("got %+v, %v; want %+v", got.Value, err, row.want)
			}
		})
	}
}

// TestWrongUpcasters: one that panics or returns something else makes its records undecodable, no more.
func TestWrongUpcasters(t *testing.T) {
	right := rightDishes(t)
	for want, binding := range map[string]Binding{
		"version 1 panicked":              dishes(t, func(any, time.Time) any { panic("oops") }, right.Older[1].Up),
		"version 2 returns schemas.dish1": dishes(t, right.Older[0].Up, func(any, time.Time) any { return dish1{} }),
	} {
		c, r := newCodec(t, binding)
		text := record("Dish", dishName, dishPrice)
		id := r.register("a subject", text)
		payload, err := avro.MustParse(text).Encode(map[string]any{"name": "dal", "price": int64(5)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decode(t.Context(), append([]byte{0, 0, 0, byte(id >> 8), byte(id)}, payload...), time.Time{})
		if !errors.Is(err, ErrUndecodable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want %s", got.Value, err, want)
		}
	}
	if _, err := NewCodec(&registry{}, dishes(t, nil, right.Older[1].Up)); err == nil || !strings.Contains(err.Error(), "each older version Up") {
		t.Errorf("a version without an upcaster: %v", err)
	}
}
