package kafka

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
)

// wantHeaders compares all headers of a record; "*" stands for any value that is not empty.
func wantHeaders(t *testing.T, r *kgo.Record, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, h := range r.Headers {
		if _, twice := got[h.Key]; twice {
			t.Errorf("%s/%d: header %s appears twice", r.Topic, r.Offset, h.Key)
		}
		got[h.Key] = string(h.Value)
	}
	for k, v := range want {
		if got[k] != v && (v != "*" || got[k] == "") {
			t.Errorf("%s/%d: header %s is %q, want %q", r.Topic, r.Offset, k, got[k], v)
		}
		delete(got, k)
	}
	if len(got) > 0 {
		t.Errorf("%s/%d: more headers than wanted: %v", r.Topic, r.Offset, got)
	}
}

const placeJSON = `{"customer_id":"c-1","total_amount":{"minor_units":1250,"currency":"GBP"}}`

func TestRecordsOfACommand(t *testing.T) {
	f := newFixture(t, 1)
	// Half a millisecond more than what is kept of it.
	now := time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)
	f.brokersClock(func() time.Time { return now })
	w := f.worker("slot-0", func(c *WorkerConfig) { c.Now = func() time.Time { return now } }).waitReady()
	o := f.observe()
	placedSchema, err := f.registry.SchemaID(t.Context(), placedSubject, schemaText(t, "OrderPlaced"))
	if err != nil {
		t.Fatal(err)
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	rows := []struct {
		name string
		key  string
		make func(key, id string) *kgo.Record
		more bool // correlation and trace were given
	}{
		{"avro", "o-avro", func(key, id string) *kgo.Record {
			return f.command(key, id, place, "ce_correlationid", "corr", "traceparent", trace)
		}, true},
		{"json", "o-json", func(key, id string) *kgo.Record {
			return raw(key, []byte(placeJSON), "ce_id", id, "ce_type", "ledgerline.order.PlaceOrder", "content-type", "application/json")
		}, false},
		{"json with charset, expecting no order", "o-json2", func(key, id string) *kgo.Record {
			return raw(key, []byte(placeJSON), "ce_id", id, "ce_type", "ledgerline.order.PlaceOrder", "content-type", "application/json; charset=utf-8", "ce_expectedversion", "0")
		}, false},
	}
	for _, row := range rows {
		id := uuid.NewString() // version 4: the worker's clock stands still
		sent := row.make(row.key, id)
		f.send(sent)
		a := o.outcomeOf(id, 0)
		if a.Status != processing.Accepted || !a.Decision || a.Version != 1 || len(a.Events) != 1 || a.CommandType != "PlaceOrder" || a.AggregateID != row.key ||
			a.Aggregate != "order" || a.CommandOffset != sent.Offset || a.input != sent.Offset || a.Events[0].Type != "OrderPlaced" || a.Events[0].Version != 1 {
			t.Errorf("%s: got %+v", row.name, a)
		}
		if want := now.Truncate(time.Millisecond); !a.Time.Equal(want) {
			t.Errorf("%s: decided at %v, want %v", row.name, a.Time, want)
		}
		var event *kgo.Record
		o.until("the event", func() bool {
			for _, e := range o.records["order.events"] {
				if string(e.Key) == row.key {
					event = e
				}
			}
			return event != nil
		})
		want := map[string]string{
			"ce_specversion": "1.0", "ce_id": a.Events[0].ID, "ce_type": "ledgerline.order.OrderPlaced", "ce_source": "test", "ce_subject": row.key,
			"ce_time": "2026-03-01T12:00:00.123Z", "content-type": "application/avro", "ce_sequence": "1", "ce_commandid": id,
			"ce_commandoffset": "*", "ce_last": "true",
		}
		if row.more {
			want["ce_correlationid"], want["traceparent"] = "corr", trace
		}
		wantHeaders(t, event, want)
		if header(event, "ce_commandoffset") != header(a.record, "ce_commandoffset") {
			t.Errorf("%s: event is of command %s, outcome of %s", row.name, header(event, "ce_commandoffset"), header(a.record, "ce_commandoffset"))
		}
		if home := PartitionOf(row.key, testPartitions); event.Partition != home || a.record.Partition != home || sent.Partition != home {
			t.Errorf("%s: command in partition %d, event in %d, outcome in %d, want %d", row.name, sent.Partition, event.Partition, a.record.Partition, home)
		}
		if _, err := uuid.Parse(a.Events[0].ID); err != nil {
			t.Errorf("%s: event id: %v", row.name, err)
		}
		if event.Value[0] != 0 || int(binary.BigEndian.Uint32(event.Value[1:])) != placedSchema {
			t.Errorf("%s: event is framed as % x, want schema id %d", row.name, event.Value[:5], placedSchema)
		}
		d, err := f.codec.Decode(t.Context(), event.Value, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Value.(order.OrderPlaced); got.OrderID != row.key || got.CustomerID != "c-1" || got.TotalAmount != gbp(1250) {
			t.Errorf("%s: got %+v", row.name, got)
		}
		wantHeaders(t, a.record, map[string]string{
			"ce_specversion": "1.0", "ce_id": "*", "ce_type": "ledgerline.Outcome", "ce_source": "test", "ce_subject": row.key,
			"content-type": "application/avro", "ce_commandid": id, "ce_commandoffset": "*", "ce_time": "2026-03-01T12:00:00.123Z",
			"ce_status": "ACCEPTED",
		})
	}
	o.check(nil, w)
}

func schemaText(t *testing.T, name string) string {
	t.Helper()
	found, err := loadOrderSchemas()
	if err != nil {
		t.Fatal(err)
	}
	return found[name].Text()
}

func TestCommandWithoutIDGetsOneOfItsPosition(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	// The same bytes twice are two commands.
	first, second := f.command("o-1", "", place), f.command("o-1", "", place)
	f.send(first, second)
	got := o.outcomes(2)
	for i, r := range []*kgo.Record{first, second} {
		want, err := processing.CommandID(processing.Position{Aggregate: "order.commands", Partition: r.Partition, Offset: r.Offset}.String())
		if err != nil {
			t.Fatal(err)
		}
		if got[i].CommandID != want || got[i].input != r.Offset {
			t.Errorf("command %d: got id %s of %d, want %s", i, got[i].CommandID, got[i].input, want)
		}
	}
	if got[0].Status != processing.Accepted || got[1].Code != order.ErrOrderExists.Code {
		t.Errorf("got %s and %s %s", got[0].Status, got[1].Status, got[1].Code)
	}
	o.check(nil, w)
}

// Each bad command gets its answer, and the partition goes on.
func TestBadCommands(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	good := f.command("o-good", newID(t), place)
	f.send(good)
	home := PartitionOf("o-good", testPartitions)
	inHome := orderIn(home, "bad-")
	huge := strings.Repeat("x", 1<<20+1)
	avro := "application/avro"
	rows := []struct {
		name   string
		r      *kgo.Record
		status processing.Status // "" for no outcome
		code   string
		dead   bool
	}{
		{"refused", f.command(inHome, newID(t), ship), processing.Refused, "order-not-found", false},
		{"invalid", f.command(inHome, newID(t), order.PlaceOrder{CustomerID: "a/b", TotalAmount: gbp(1)}), processing.Failed, processing.CodeInvalidCommand, false},
		{"version conflict", f.command("o-good", newID(t), pay, "ce_expectedversion", "7"), processing.Refused, "version-conflict", false},
		{"expected version is no number", f.command(inHome, newID(t), place, "ce_expectedversion", "x"), processing.Failed, processing.CodeInvalidCommand, false},
		{"expected version below 0", f.command(inHome, newID(t), place, "ce_expectedversion", "-1"), processing.Failed, processing.CodeInvalidCommand, false},
		{"no bytes", raw(inHome, nil, "ce_id", newID(t), "content-type", avro), processing.Failed, processing.CodeUndecodable, true},
		{"no frame", raw(inHome, []byte("hello"), "ce_id", newID(t)), processing.Failed, processing.CodeUndecodable, true},
		{"cut", raw(inHome, good.Value[:7], "ce_id", newID(t), "content-type", avro), processing.Failed, processing.CodeUndecodable, true},
		{"json that is none", raw(inHome, []byte("{"), "ce_id", newID(t), "ce_type", "ledgerline.order.ShipOrder", "content-type", "application/json"), processing.Failed, processing.CodeUndecodable, true},
		{"json without type", raw(inHome, []byte("{}"), "ce_id", newID(t), "content-type", "application/json"), processing.Failed, processing.CodeUnknownCommandType, true},
		{"json of unknown type", raw(inHome, []byte("{}"), "ce_id", newID(t), "ce_type", "ledgerline.order.Nonsense", "content-type", "application/json"), processing.Failed, processing.CodeUnknownCommandType, true},
		{"an event is no command", f.eventAsCommand(inHome), processing.Failed, processing.CodeUnknownCommandType, true},
		{"unknown and no id", raw(inHome, []byte("hello")), processing.Failed, processing.CodeUndecodable, true},
		{"id too long", f.command(inHome, strings.Repeat("i", 256), place), "", processing.CodeInvalidCommand, true},
		{"too large", raw(inHome, []byte(huge), "ce_id", newID(t), "content-type", avro), processing.Failed, processing.CodeTooLarge, true},
	}
	for _, row := range rows {
		row.r.Timestamp = time.Now().Add(-time.Hour) // it has waited long
		if f.sendTo(home, row.r); row.status == "" {
			continue
		}
		a := o.outcomeOf(idOf(t, row.r), 0)
		if a.Status != row.status || a.Code != row.code || a.Decision != (row.status == processing.Refused) || len(a.Events) != 0 || a.Code == "" {
			t.Errorf("%s: got %s %s %q, decision %t", row.name, a.Status, a.Code, a.Detail, a.Decision)
		}
		if header(a.record, "ce_status") != string(row.status) || header(a.record, "ce_code") != row.code {
			t.Errorf("%s: headers say %s %s", row.name, header(a.record, "ce_status"), header(a.record, "ce_code"))
		}
	}
	after := f.command("o-good", newID(t), pay)
	f.send(after)
	if a := o.outcomeOf(idOf(t, after), 0); a.Status != processing.Accepted || a.Version != 2 {
		t.Errorf("after them: got %s %s, version %d", a.Status, a.Code, a.Version)
	}
	o.check([]*kgo.Record{good, after}, w)
	letters := o.records["order.dead-letters"]
	for _, row := range rows {
		if !row.dead {
			continue
		}
		if len(letters) == 0 {
			t.Fatalf("%s: no dead letter", row.name)
		}
		l := letters[0]
		letters = letters[1:]
		want := map[string]string{"ledgerline-cause": row.code, "ledgerline-detail": "*", "ledgerline-position": processing.Position{Aggregate: "order", Partition: home, Offset: row.r.Offset}.String()}
		for _, h := range row.r.Headers {
			want[h.Key] = string(h.Value)
		}
		wantHeaders(t, l, want)
		if !bytes.Equal(l.Key, row.r.Key) || !bytes.Equal(l.Value, row.r.Value) {
			t.Errorf("%s: the dead letter has other bytes", row.name)
		}
	}
	if len(letters) > 0 {
		t.Errorf("%d dead letters more than wanted", len(letters))
	}
}

// idOf returns the id under which a sent command is answered.
func idOf(t *testing.T, r *kgo.Record) string {
	t.Helper()
	key := header(r, "ce_id")
	if key == "" {
		key = processing.Position{Aggregate: r.Topic, Partition: r.Partition, Offset: r.Offset}.String()
	}
	id, err := processing.CommandID(key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestInvalidKeys(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	var sent []*kgo.Record
	for _, key := range []string{"", "a/b", "a b", "\x00", "\xff\xfe", strings.Repeat("k", 129), strings.Repeat("k", 900_000)} {
		r := f.command(key, newID(t), place)
		if r.Key = []byte(key); key == "" {
			r.Key = nil
		}
		f.sendTo(PartitionOf(key, testPartitions), r)
		sent = append(sent, r)
	}
	o.until("the dead letters", func() bool { return len(o.records["order.dead-letters"]) >= len(sent) })
	good := f.flow("o-", 8)
	f.send(good...)
	o.outcomeOf(idOf(t, good[len(good)-1]), 0)
	o.check(good, w)
	byID := map[string]*kgo.Record{}
	for _, l := range o.records["order.dead-letters"] {
		byID[header(l, "ce_id")] = l
		if header(l, "ledgerline-cause") != processing.CodeInvalidAggregateID {
			t.Errorf("cause %s", header(l, "ledgerline-cause"))
		}
	}
	for _, r := range sent {
		if l := byID[header(r, "ce_id")]; l == nil || !bytes.Equal(l.Key, r.Key) || !bytes.Equal(l.Value, r.Value) {
			t.Errorf("key %.20q: no dead letter with its bytes", r.Key)
		}
	}
	if got := accepted(f.answers(o.records["order.outcomes"])); got != len(good) {
		t.Errorf("%d accepted, want %d", got, len(good))
	}
}

// What is too large, or becomes so on its way, must not stop a partition.
func TestLargeCommandsStopNothing(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	home := PartitionOf("o-0", testPartitions)
	key := orderIn(home, "large-")
	elsewhere := orderIn((home+1)%testPartitions, "large-")
	zeros := bytes.Repeat([]byte{0}, 8<<20)
	long := strings.Repeat("\x01", 1_000_000)
	big := f.kgo(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(100<<20), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	rows := map[string]*kgo.Record{
		"as large as topics take":          raw(key, zeros[:2<<20-300], "ce_id", newID(t)),
		"larger than that, compressed":     raw(key, zeros, "ce_id", newID(t)),
		"large and misplaced":              raw(elsewhere, zeros[:2<<20-300], "ce_id", newID(t)),
		"compressed and misplaced":         raw(elsewhere, zeros, "ce_id", newID(t)),
		"large correlation id":             f.command(key, newID(t), place, "ce_correlationid", strings.Repeat("c", 2<<20-500)),
		"large type":                       raw(key, []byte("{}"), "ce_id", newID(t), "ce_type", long, "content-type", "application/json"),
		"large expected version":           f.command(key, newID(t), place, "ce_expectedversion", long),
		"large field name in JSON":         raw(key, []byte(`{"`+strings.Repeat("é", 400_000)+`":1}`), "ce_id", newID(t), "ce_type", "ledgerline.order.ShipOrder", "content-type", "application/json"),
		"many headers and nothing else":    raw(key, nil, "ce_id", newID(t), "a", long, "b", long[:900_000]),
		"large id":                         f.command(key, long, place),
		"large customer":                   f.command(key, newID(t), order.PlaceOrder{CustomerID: long[:900_000], TotalAmount: gbp(1)}),
		"large currency":                   f.command(key, newID(t), order.PlaceOrder{CustomerID: "c", TotalAmount: processing.Money{MinorUnits: 1, Currency: long[:900_000]}}),
		"trace as long as a book":          f.command(key, newID(t), order.PlaceOrder{CustomerID: "c", TotalAmount: gbp(1)}, "traceparent", long, "ce_correlationid", long[:900_000]),
		"reason as long as it must not be": f.command(key, newID(t), order.CancelOrder{Reason: long[:900_000]}),
	}
	for name, r := range rows {
		r.Partition = home
		if err := big.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		good := f.command(key, newID(t), ship)
		f.send(good)
		if a := o.outcomeOf(idOf(t, good), 0); a.Status != processing.Refused && a.Status != processing.Accepted {
			t.Errorf("%s: the next command got %s %s", name, a.Status, a.Code)
		}
	}
	o.check(nil, w)
	letters := map[string]*kgo.Record{}
	for _, l := range o.records["order.dead-letters"] {
		letters[header(l, "ledgerline-position")] = l
	}
	for name, r := range rows {
		if r.Value != nil && len(r.Value) <= MaxCommandBytes {
			continue
		}
		l := letters[processing.Position{Aggregate: "order", Partition: home, Offset: r.Offset}.String()]
		if l == nil || header(l, "ledgerline-cause") != processing.CodeTooLarge && r.Value != nil {
			t.Errorf("%s: no dead letter", name)
		}
	}
}
