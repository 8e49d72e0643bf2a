package sim

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// writer appends events as workers do, in transactions of whole commands, some of which abort. It is a
// plain Kafka client with an encoder of its own.
type writer struct {
	w       *readWorld
	cl      *kgo.Client
	rng     *rand.Rand
	schemas map[string]avro.Schema
	ids     map[string]uint32 // of the schemas, in the registry
	// versions of tallies and the next command's offset of each partition.
	versions map[string]int64
	commands [readPartitions]int64

	mu      sync.Mutex
	written []written // those committed last
}

// written is a command whose events are committed.
type written struct {
	tally    string
	position string
}

// readTallies are so many that each group has one or two.
const readTallies = 70

func newWriter(w *readWorld) *writer {
	o := &writer{w: w, rng: rand.New(rand.NewPCG(w.rng.Uint64(), 0)), schemas: map[string]avro.Schema{}, ids: map[string]uint32{}, versions: map[string]int64{}}
	for _, name := range []string{"Added", "Taken"} {
		s := w.bindings[name]
		parsed, err := avro.ParseWithCache(s.Text(), "", &avro.SchemaCache{})
		if err != nil {
			w.t.Fatal(err)
		}
		id, err := w.registry.SchemaID(context.Background(), "", s.Text())
		if err != nil {
			w.t.Fatal(err)
		}
		o.schemas[name], o.ids[name] = parsed, uint32(id)
	}
	o.cl = w.plain(kgo.TransactionalID("writer"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	return o
}

// burst appends n commands as fast as it goes.
func (o *writer) burst(n int) {
	for left := n; left > 0; left -= 20 {
		o.append(min(left, 20), false)
	}
}

// run appends a few commands now and then until ctx ends.
func (o *writer) run(ctx context.Context) {
	for pauseCtx(ctx, time.Duration(o.rng.ExpFloat64()*float64(400*time.Millisecond))) {
		o.append(1+o.rng.IntN(4), o.rng.IntN(12) == 0)
	}
}

func (o *writer) close() error {
	defer o.cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return o.cl.Flush(ctx)
}

// append appends the events of so many commands in one transaction, which it may abort. Then nothing of it
// ever was.
func (o *writer) append(n int, abort bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	versions, commands := maps.Clone(o.versions), o.commands
	var all []written
	err := o.cl.BeginTransaction()
	for range n {
		all = append(all, o.command())
	}
	if err == nil {
		err = o.cl.Flush(ctx)
	}
	if err == nil {
		err = o.cl.EndTransaction(ctx, kgo.TransactionEndTry(!abort))
	}
	if err != nil {
		o.w.t.Errorf("appending events: %v", err)
		return
	}
	if abort {
		o.w.fault("aborted-transaction", "the writer's")
		o.versions, o.commands = versions, commands
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.written = append(o.written, all...); len(o.written) > 30 {
		o.written = o.written[len(o.written)-30:]
	}
}

// recent returns a command of those written last.
func (o *writer) recent(rng *rand.Rand) written {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.written[max(0, len(o.written)-1-rng.IntN(6))]
}

// command produces the events of one: one to five.
func (o *writer) command() written {
	tally := "t-" + strconv.Itoa(o.rng.IntN(readTallies))
	name, events := "Added", 1+o.rng.IntN(5)
	if o.rng.IntN(4) == 0 {
		name, events = "Taken", 1
	}
	r := &kgo.Record{Topic: eventsTopic, Key: []byte(tally)}
	p := int32(kgo.StickyKeyPartitioner(nil).ForTopic(eventsTopic).Partition(r, readPartitions))
	o.commands[p] += 1 + o.rng.Int64N(3) // some commands make no event
	offset := o.commands[p]
	id := fmt.Sprintf("c-%d-%d", p, offset)
	for i := range events {
		o.versions[tally]++
		o.cl.Produce(context.Background(), o.event(tally, name, id, p, offset, i, i == events-1), func(_ *kgo.Record, err error) {
			if err != nil {
				o.w.t.Errorf("appending an event: %v", err)
			}
		})
	}
	return written{tally, fmt.Sprintf("tally/%d@%d", p, offset)}
}

func (o *writer) event(tally, name, command string, partition int32, offset int64, i int, last bool) *kgo.Record {
	body := map[string]any{"tally_id": tally, "amount": 1 + o.rng.Int64N(9)}
	if name == "Added" {
		body["part"] = int64(i) + 1
	}
	payload, err := avro.Marshal(o.schemas[name], body)
	if err != nil {
		o.w.t.Fatal(err)
	}
	r := &kgo.Record{
		Topic: eventsTopic, Partition: partition, Key: []byte(tally),
		Value: append(binary.BigEndian.AppendUint32([]byte{0}, o.ids[name]), payload...),
	}
	for _, h := range [][2]string{
		{"ce_specversion", "1.0"}, {"ce_id", fmt.Sprintf("%s-%d", command, i)}, {"ce_type", "ledgerline.prove." + name}, {"ce_source", "writer"}, {"ce_subject", tally},
		{"ce_time", time.Now().UTC().Format(time.RFC3339Nano)}, {"content-type", "application/avro"},
		{"ce_sequence", strconv.FormatInt(o.versions[tally], 10)}, {"ce_commandid", command}, {"ce_commandoffset", strconv.FormatInt(offset, 10)},
	} {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	if last {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_last", Value: []byte("true")})
	}
	return r
}
