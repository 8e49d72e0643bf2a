package schemas

import (
	"testing"
	"time"
)

func benchValue() orderPlaced {
	return orderPlaced{OrderID: "536365", CustomerID: "17850", TotalAmount: money{13912, "GBP"}, PlacedAt: time.UnixMilli(1291191960000).UTC()}
}

func BenchmarkEncode(b *testing.B) {
	c, _ := newCodec(b, orderBindings(b)...)
	v := benchValue()
	for name, value := range map[string]any{"struct": v, "pointer": &v} {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			var err error
			b.ReportAllocs()
			for b.Loop() {
				if buf, err = c.AppendEncode(b.Context(), buf[:0], topic, value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	c, _ := newCodec(b, orderBindings(b)...)
	data, err := c.Encode(b.Context(), topic, benchValue())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decode(b.Context(), data, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFromJSON(b *testing.B) {
	c, _ := newCodec(b, orderBindings(b)...)
	text := []byte(orderHead + `,"placed_at":"2010-12-01T08:26:00Z"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.FromJSON("ledgerline.order.PlaceOrder", text); err != nil {
			b.Fatal(err)
		}
	}
}
