package suite

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

// plain is a Kafka client that shares nothing with the product: it frames records by hand, asks the
// registry in plain HTTP and reads and writes Avro with another library.
type plain struct {
	stack   *stack.Stack
	prefix  string
	kgo     *kgo.Client
	schemas map[int]avro.Schema
}

func newPlain(t *testing.T, s *stack.Stack, prefix string) *plain {
	t.Helper()
	client, err := s.Kafka(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &plain{stack: s, prefix: prefix, kgo: client, schemas: map[int]avro.Schema{}}
}

// parse reads a schema text, apart from all others: two subjects may hold one name.
func parse(t *testing.T, text string) avro.Schema {
	t.Helper()
	schema, err := avro.ParseWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// encode frames a value with the newest schema of the subject.
func (p *plain) encode(t *testing.T, subject string, value any) []byte {
	t.Helper()
	var newest struct {
		ID     int    `json:"id"`
		Schema string `json:"schema"`
	}
	if err := p.stack.AskRegistry(t.Context(), http.MethodGet, "/subjects/"+subject+"/versions/latest", "", &newest); err != nil {
		t.Fatal(err)
	}
	payload, err := avro.Marshal(parse(t, newest.Schema), value)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(newest.ID)), payload...)
}

// decode reads a framed value into generic Go values.
func (p *plain) decode(t *testing.T, framed []byte) map[string]any {
	t.Helper()
	if len(framed) < 5 || framed[0] != 0 {
		t.Fatalf("%x is not framed", framed)
	}
	id := int(binary.BigEndian.Uint32(framed[1:5]))
	schema := p.schemas[id]
	if schema == nil {
		var stored struct {
			Schema string `json:"schema"`
		}
		if err := p.stack.AskRegistry(t.Context(), http.MethodGet, fmt.Sprintf("/schemas/ids/%d", id), "", &stored); err != nil {
			t.Fatal(err)
		}
		schema = parse(t, stored.Schema)
		p.schemas[id] = schema
	}
	var value map[string]any
	if err := avro.Unmarshal(schema, framed[5:], &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// partitions returns how many partitions a topic has.
func (p *plain) partitions(t *testing.T, topic string) int32 {
	t.Helper()
	details, err := kadm.NewClient(p.kgo).ListTopics(t.Context(), topic)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	return int32(len(details[topic].Partitions))
}

// belongs returns the partition that Java's clients put a key into.
func belongs(key string, partitions int32) int32 {
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(&kgo.Record{Key: []byte(key)}, int(partitions)))
}

// read returns all that is committed in a topic, in order within each partition.
func (p *plain) read(t *testing.T, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	admin := kadm.NewClient(p.kgo)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if start, _ := starts.Lookup(topic, o.Partition); o.Offset > start.Offset {
			from[o.Partition], left[o.Partition] = kgo.NewOffset().AtStart(), o.Offset
		}
	})
	if len(left) == 0 {
		return nil
	}
	// The markers of transactions are kept, for the last offset may be one.
	client, err := p.stack.Kafka(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading %s, %v left: %v", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records
}

// produceAvro appends a command of an order, in Avro, to a partition.
func (p *plain) produceAvro(t *testing.T, s step, id string, partition int32) {
	t.Helper()
	fullName := "ledgerline.order." + s.command
	value := map[string]any{}
	for field, v := range s.data {
		value[field] = v
	}
	if s.command == "PlaceOrder" {
		value["discount"], value["placed_at"] = nil, nil
	}
	p.produce(t, s, partition, p.encode(t, p.prefix+"order.commands-"+fullName, value), "ce_id", id, "ce_type", fullName, "content-type", "application/avro")
}

// produceJSON appends a command of an order as plain JSON to a partition.
func (p *plain) produceJSON(t *testing.T, s step, id string, partition int32) {
	t.Helper()
	text, err := json.Marshal(s.data)
	if err != nil {
		t.Fatal(err)
	}
	p.produce(t, s, partition, text, "ce_id", id, "ce_type", "ledgerline.order."+s.command, "content-type", "application/json")
}

func (p *plain) produce(t *testing.T, s step, partition int32, value []byte, headers ...string) {
	t.Helper()
	if s.version != "" {
		headers = append(headers, "ce_expectedversion", s.version)
	}
	r := &kgo.Record{Topic: p.prefix + "order.commands", Partition: partition, Key: []byte(s.order), Value: value}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
	}
	if err := p.kgo.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// result is what became of a command.
type result struct {
	Status, Code string
	Decision     bool
	Version      int64
	Events       string
}

// results returns the outcomes of a command, in order.
func (p *plain) results(t *testing.T, order, id string) []result {
	t.Helper()
	var found []result
	for _, r := range p.read(t, p.prefix+"order.outcomes") {
		if string(r.Key) != order || headerOf(r, "ce_commandid") != id {
			continue
		}
		o := p.decode(t, r.Value)
		one := result{Status: fmt.Sprint(o["status"]), Code: o["code"].(string), Decision: o["decision"].(bool), Version: o["version"].(int64)}
		var events []string
		for _, e := range o["events"].([]any) {
			event := e.(map[string]any)
			events = append(events, fmt.Sprint(event["type"], " ", event["version"]))
		}
		one.Events = strings.Join(events, ", ")
		found = append(found, one)
	}
	return found
}

func headerOf(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
