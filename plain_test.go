package ledgerline_test

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// step is one command of a scenario, as any client may send it: over HTTP and in Avro.
type step struct {
	order, command string
	data           map[string]any
	// key tells the command from others; two steps of one key are one command, sent twice.
	key string
	// version is what the sender expects the order's to be, "" for whatever it is.
	version string
}

// result is what became of a command.
type result struct {
	Status, Code string
	Decision     bool
	Version      int64
	Events       string
}

// plainScenario has an outcome of each kind; the orders' names end on suffix.
func plainScenario() []step {
	money := func(pence int64) map[string]any { return map[string]any{"minor_units": pence, "currency": "GBP"} }
	place := map[string]any{"customer_id": "ada", "total_amount": money(1250)}
	return []step{
		{order: "a", command: "ReceivePayment", data: map[string]any{"amount": money(1250)}, key: "too early"},
		{order: "a", command: "PlaceOrder", data: place, key: "place"},
		{order: "a", command: "PlaceOrder", data: place, key: "place"},
		{order: "a", command: "PlaceOrder", data: map[string]any{"customer_id": "eve", "total_amount": money(1)}, key: "place"},
		{order: "a", command: "PlaceOrder", data: place, key: "place again"},
		{order: "a", command: "ReceivePayment", data: map[string]any{"amount": money(1249)}, key: "too little"},
		{order: "a", command: "ReceivePayment", data: map[string]any{"amount": money(1250)}, key: "stale", version: "9"},
		{order: "a", command: "ReceivePayment", data: map[string]any{"amount": money(1250)}, key: "pay", version: "1"},
		{order: "a", command: "ShipOrder", data: map[string]any{}, key: "ship"},
		{order: "a", command: "CancelOrder", data: map[string]any{"reason": "late"}, key: "cancel"},
		{order: "b", command: "PlaceOrder", data: map[string]any{"customer_id": "ada", "total_amount": money(0)}, key: "nothing"},
		{order: "b", command: "PlaceOrder", data: place, key: "place"},
		{order: "b", command: "CancelOrder", data: map[string]any{"reason": "changed my mind"}, key: "cancel"},
		{order: "b", command: "CancelOrder", data: map[string]any{"reason": "changed my mind"}, key: "cancel again"},
		{order: "c", command: "ShipOrder", data: map[string]any{}, key: "ship nothing"},
	}
}

// TestOneOutcomeByEveryWay sends the same commands over HTTP, by a Kafka client that puts them where
// their keys belong, and by one that hashes keys as librdkafka does: the outcomes in the log are the same.
func TestOneOutcomeByEveryWay(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c, p := newAPI(t, l.URL), newPlain(t, l.Connection)
	n := p.partitions("order.commands")
	murmur2 := kgo.StickyKeyPartitioner(nil).ForTopic("order.commands")
	belongs := func(key string) int32 { return int32(murmur2.Partition(&kgo.Record{Key: []byte(key)}, int(n))) }
	misplaced := 0
	var wrong string // a suffix that the two ways of hashing tell apart for every order
	for i := 0; wrong == ""; i++ {
		suffix := fmt.Sprintf("-crc-%d", i)
		if a, b, c := "a"+suffix, "b"+suffix, "c"+suffix; crc32Of(a, n) != belongs(a) && crc32Of(b, n) != belongs(b) && crc32Of(c, n) != belongs(c) {
			wrong = suffix
		}
	}
	ways := []struct {
		suffix string
		send   func(step, string)
	}{
		{"-http", func(s step, id string) { sendHTTP(t, c, s, id) }},
		{"-kafka", func(s step, id string) { p.produce(s, id, belongs(s.order)) }},
		{wrong, func(s step, id string) {
			misplaced++
			p.produce(s, id, crc32Of(s.order, n))
		}},
	}
	got := make([][]result, len(ways))
	for i, way := range ways {
		ids := map[string]string{}
		for _, s := range plainScenario() {
			s.order += way.suffix
			id, known := ids[s.order+s.key]
			if !known {
				id = uuid.Must(uuid.NewV7()).String()
				ids[s.order+s.key] = id
			}
			before := len(p.results(s.order, id))
			way.send(s, id)
			await(t, "the outcome of "+s.key+way.suffix, func() error {
				found := p.results(s.order, id)
				if len(found) == before {
					return fmt.Errorf("there are %d", before)
				}
				got[i] = append(got[i], found[len(found)-1])
				return nil
			})
		}
	}
	want := []result{
		{Status: "REFUSED", Code: "order-not-found", Decision: true},
		{Status: "ACCEPTED", Decision: true, Version: 1, Events: "OrderPlaced 1"},
		{Status: "ACCEPTED", Version: 1, Events: "OrderPlaced 1"},
		{Status: "FAILED", Code: "idempotency-key-reused", Version: 1},
		{Status: "REFUSED", Code: "order-exists", Decision: true, Version: 1},
		{Status: "REFUSED", Code: "amount-mismatch", Decision: true, Version: 1},
		{Status: "REFUSED", Code: "version-conflict", Decision: true, Version: 1},
		{Status: "ACCEPTED", Decision: true, Version: 2, Events: "PaymentReceived 2"},
		{Status: "ACCEPTED", Decision: true, Version: 3, Events: "OrderShipped 3"},
		{Status: "REFUSED", Code: "order-already-shipped", Decision: true, Version: 3},
		{Status: "REFUSED", Code: "amount-not-positive", Decision: true},
		{Status: "ACCEPTED", Decision: true, Version: 1, Events: "OrderPlaced 1"},
		{Status: "ACCEPTED", Decision: true, Version: 2, Events: "OrderCancelled 2"},
		{Status: "REFUSED", Code: "order-already-cancelled", Decision: true, Version: 2},
		{Status: "REFUSED", Code: "order-not-found", Decision: true},
	}
	for i, way := range ways {
		for k, s := range plainScenario() {
			if got[i][k] != want[k] {
				t.Errorf("%s%s: %s gave %+v, want %+v", s.order, way.suffix, s.key, got[i][k], want[k])
			}
		}
	}

	moved := 0
	for _, r := range p.read("order.commands") {
		if headerOf(r, "ledgerline-moved-from") != "" {
			moved++
			if r.Partition != belongs(string(r.Key)) {
				t.Errorf("a command of %s was moved to partition %d, where it does not belong", r.Key, r.Partition)
			}
		}
	}
	if moved != misplaced || moved == 0 {
		t.Errorf("%d commands were moved, want the %d in wrong partitions", moved, misplaced)
	}
	for _, topic := range []string{"order.events", "order.outcomes"} {
		for _, r := range p.read(topic) {
			if r.Partition != belongs(string(r.Key)) {
				t.Errorf("%s has a record of %s in partition %d, where it does not belong", topic, r.Key, r.Partition)
			}
		}
	}
	types := p.events()
	for _, way := range ways {
		a, b := types["a"+way.suffix], types["b"+way.suffix]
		if !reflect.DeepEqual(a, []string{"ledgerline.order.OrderPlaced", "ledgerline.order.PaymentReceived", "ledgerline.order.OrderShipped"}) ||
			!reflect.DeepEqual(b, []string{"ledgerline.order.OrderPlaced", "ledgerline.order.OrderCancelled"}) {
			t.Errorf("%s: got events %v and %v", way.suffix, a, b)
		}
	}
}

// crc32Of is librdkafka's default, consistent_random, of a key that is not empty.
func crc32Of(key string, partitions int32) int32 {
	return int32(crc32.ChecksumIEEE([]byte(key)) % uint32(partitions))
}

func sendHTTP(t *testing.T, c *api, s step, id string) {
	t.Helper()
	verb := map[string]string{"PlaceOrder": "place-order", "ReceivePayment": "receive-payment", "ShipOrder": "ship-order", "CancelOrder": "cancel-order"}[s.command]
	headers := []string{"Idempotency-Key", id}
	if s.version != "" {
		headers = append(headers, "If-Match", `"`+s.version+`"`)
	}
	a := c.post("/v1/orders/"+s.order+"/"+verb, jsonText(s.data), headers...)
	if a.Status >= http.StatusInternalServerError {
		t.Fatalf("%s: %d %s", s.key, a.Status, a.Body)
	}
}

// produce appends a command in Avro to a partition.
func (p *plain) produce(s step, id string, partition int32) {
	p.t.Helper()
	fullName := "ledgerline.order." + s.command
	value := map[string]any{}
	for field, v := range s.data {
		value[field] = v
	}
	if s.command == "PlaceOrder" {
		value["discount"], value["placed_at"] = nil, nil
	}
	r := &kgo.Record{
		Topic: "order.commands", Partition: partition, Key: []byte(s.order), Value: p.encode("order.commands-"+fullName, value),
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(id)}, {Key: "ce_type", Value: []byte(fullName)}, {Key: "content-type", Value: []byte("application/avro")}},
	}
	if s.version != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_expectedversion", Value: []byte(s.version)})
	}
	if err := p.kgo.ProduceSync(p.t.Context(), r).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

// results returns the outcomes of a command, in order.
func (p *plain) results(order, id string) []result {
	p.t.Helper()
	var list []result
	for _, r := range p.read("order.outcomes") {
		if string(r.Key) != order || headerOf(r, "ce_commandid") != id {
			continue
		}
		o := p.decode(r.Value)
		one := result{Status: fmt.Sprint(o["status"]), Code: o["code"].(string), Decision: o["decision"].(bool), Version: o["version"].(int64)}
		var events []string
		for _, e := range o["events"].([]any) {
			event := e.(map[string]any)
			events = append(events, fmt.Sprint(event["type"], " ", event["version"]))
		}
		one.Events = strings.Join(events, ", ")
		list = append(list, one)
	}
	return list
}

// TestUnreadableCommandsBecomeDeadLetters produces what no one can decode: it is kept, answered where it
// has an id, and the partition goes on.
func TestUnreadableCommandsBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	p := newPlain(t, l.Connection)
	good := step{order: "o-1", command: "PlaceOrder", data: map[string]any{"customer_id": "ada", "total_amount": map[string]any{"minor_units": int64(5), "currency": "GBP"}}, key: "good"}
	n := p.partitions("order.commands")
	where := int32(kgo.StickyKeyPartitioner(nil).ForTopic("order.commands").Partition(&kgo.Record{Key: []byte(good.order)}, int(n)))
	bad, fine := uuid.NewString(), uuid.NewString()
	garbage := &kgo.Record{
		Topic: "order.commands", Partition: where, Key: []byte(good.order), Value: []byte("\x00\x00\x00\x00\x01\xff"),
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(bad)}},
	}
	if err := p.kgo.ProduceSync(t.Context(), garbage).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p.produce(good, fine, where)
	await(t, "the decision after the garbage", func() error {
		if found := p.results(good.order, fine); len(found) != 1 || found[0].Status != "ACCEPTED" {
			return fmt.Errorf("got %+v", found)
		}
		return nil
	})
	if found := p.results(good.order, bad); len(found) != 1 || found[0].Status != "FAILED" || found[0].Code == "" || found[0].Decision {
		t.Errorf("the garbage was answered with %+v", found)
	}
	kept := p.read("order.dead-letters")
	if len(kept) != 1 || string(kept[0].Value) != string(garbage.Value) || headerOf(kept[0], "ledgerline-cause") == "" || headerOf(kept[0], "ce_id") != bad {
		t.Errorf("got dead letters %+v", kept)
	}
}
