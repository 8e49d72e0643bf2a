package ledgerline

import "testing"

// TestLetterIDs reads ids of both kinds, and refuses what is none.
func TestLetterIDs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]letterID{
		"order.dead-letters/0@17":                      {aggregate: "order", offset: 17},
		"a.b.dead-letters/3@0":                         {aggregate: "a.b", partition: 3},
		"order.dead-letters/0@9223372036854775807":     {aggregate: "order", offset: 1<<63 - 1},
		"order-status:order/o-1":                       {model: "order-status", aggregate: "order", aggregateID: "o-1"},
		"order-status:order/order.dead-letters:0@17":   {model: "order-status", aggregate: "order", aggregateID: "order.dead-letters:0@17"},
		"order-status:order.dead-letters/0@17":         {model: "order-status", aggregate: "order.dead-letters", aggregateID: "0@17"},
		"customer-orders:payment/a,b;c@d.dead-letters": {model: "customer-orders", aggregate: "payment", aggregateID: "a,b;c@d.dead-letters"},
	} {
		var id letterID
		if err := id.UnmarshalText([]byte(text)); err != nil || id != want || id.String() != text {
			t.Errorf("%s is read as %+v, shown as %s, %v", text, id, id, err)
		}
	}
	for _, text := range []string{
		"", "17", "order", "order.dead-letters", "order.dead-letters/0", "order.dead-letters/0@", "order.dead-letters/@17", "order.dead-letters/0@-1",
		"order.dead-letters/-1@17", "order.dead-letters/+0@17", "order.dead-letters/0@017", "order.dead-letters/0@17@3", "order.dead-letters/0@17 ",
		"order.dead-letters/0@9223372036854775808", "order.dead-letters/2147483648@0", "order.commands/0@17", ".dead-letters/0@17", "/0@17",
		"order-status:order", "order-status:order/", "order-status:/o-1", ":order/o-1", "order-status:order/o/1", "order-status:order/{o}",
	} {
		var id letterID
		if err := id.UnmarshalText([]byte(text)); err == nil || id != (letterID{}) {
			t.Errorf("%q is read as %+v", text, id)
		}
	}
}
