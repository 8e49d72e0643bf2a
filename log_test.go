package ledgerline_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline"
)

// plain is a Kafka client that shares nothing with the product: it frames records by hand, asks the
// registry in plain HTTP and reads and writes Avro with another library.
type plain struct {
	t    *testing.T
	conn ledgerline.Connection
	kgo  *kgo.Client
	http *http.Client

	mu      sync.Mutex
	schemas map[int]avro.Schema
}

func newPlain(t *testing.T, conn ledgerline.Connection) *plain {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(conn.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(20*time.Millisecond), kgo.ProducerBatchMaxBytes(2<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &plain{t: t, conn: conn, kgo: client, http: &http.Client{Transport: transport, Timeout: patience}, schemas: map[int]avro.Schema{}}
}

// ask reads JSON from the registry.
func (p *plain) ask(path string, into any) {
	p.t.Helper()
	response, err := p.http.Get(p.conn.RegistryURL + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", response.Status)
	}
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		p.t.Fatalf("asking the registry for %s: %v: %s", path, err, text)
	}
}

// parse reads a schema text, apart from all others: two subjects may hold one name.
func (p *plain) parse(text string) avro.Schema {
	p.t.Helper()
	schema, err := avro.ParseWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		p.t.Fatal(err)
	}
	return schema
}

// encode frames a value with the newest schema of the subject.
func (p *plain) encode(subject string, value any) []byte {
	p.t.Helper()
	var newest struct {
		ID     int    `json:"id"`
		Schema string `json:"schema"`
	}
	p.ask("/subjects/"+subject+"/versions/latest", &newest)
	payload, err := avro.Marshal(p.parse(newest.Schema), value)
	if err != nil {
		p.t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(newest.ID)), payload...)
}

// decode reads a framed value into generic Go values.
func (p *plain) decode(framed []byte) map[string]any {
	p.t.Helper()
	if len(framed) < 5 || framed[0] != 0 {
		p.t.Fatalf("%x is not framed", framed)
	}
	id := int(binary.BigEndian.Uint32(framed[1:5]))
	p.mu.Lock()
	defer p.mu.Unlock()
	schema := p.schemas[id]
	if schema == nil {
		var stored struct {
			Schema string `json:"schema"`
		}
		p.ask(fmt.Sprintf("/schemas/ids/%d", id), &stored)
		schema = p.parse(stored.Schema)
		p.schemas[id] = schema
	}
	var value map[string]any
	if err := avro.Unmarshal(schema, framed[5:], &value); err != nil {
		p.t.Fatal(err)
	}
	return value
}

// partitions returns how many partitions a topic has.
func (p *plain) partitions(topic string) int32 {
	p.t.Helper()
	details, err := kadm.NewClient(p.kgo).ListTopics(p.t.Context(), topic)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return int32(len(details[topic].Partitions))
}

// read returns all that is committed in a topic, in order within each partition.
func (p *plain) read(topic string) []*kgo.Record {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	ends, err := kadm.NewClient(p.kgo).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			from[o.Partition], left[o.Partition] = kgo.NewOffset().AtStart(), o.Offset
		}
	})
	if len(left) == 0 {
		return nil
	}
	// The markers of transactions are kept, for the last offset may be one.
	client, err := kgo.NewClient(kgo.SeedBrokers(p.conn.Brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			p.t.Fatalf("reading %s, %v left: %v", topic, left, err)
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

// events returns the types of the events in the log, by order, each order's in order.
func (p *plain) events() map[string][]string {
	p.t.Helper()
	types := map[string][]string{}
	for _, r := range p.read("order.events") {
		id := string(r.Key)
		types[id] = append(types[id], headerOf(r, "ce_type"))
		if version := headerOf(r, "ce_sequence"); version != fmt.Sprint(len(types[id])) {
			p.t.Errorf("event %d of order %s has version %s", len(types[id]), id, version)
		}
	}
	return types
}

// decisions returns how many decisions there are on each command of an order, as "order command-id".
func (p *plain) decisions() map[string]int {
	p.t.Helper()
	count := map[string]int{}
	for _, r := range p.read("order.outcomes") {
		if o := p.decode(r.Value); o["decision"].(bool) {
			count[fmt.Sprint(o["aggregate_id"], " ", o["command_id"])]++
		}
	}
	return count
}

func headerOf(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func itoa(n int) string { return fmt.Sprint(n) }
