package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/schemas"
)

var (
	place = order.PlaceOrder{CustomerID: "c-1", TotalAmount: gbp(1250)}
	pay   = order.ReceivePayment{Amount: gbp(1250)}
	ship  = order.ShipOrder{}
)

func gbp(pence int64) processing.Money { return processing.Money{MinorUnits: pence, Currency: "GBP"} }

func newID(t *testing.T) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// idOfTime returns a new version 7 UUID of a time.
func idOfTime(at time.Time) string {
	id := uuid.New()
	for i := range 6 {
		id[i] = byte(at.UnixMilli() >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	return id.String()
}

// command frames a command by hand. More headers come as key, value, key, value.
func (f *fixture) command(key, id string, body any, more ...string) *kgo.Record {
	f.t.Helper()
	const topic = "order.commands"
	texts, err := loadOrderSchemas()
	if err != nil {
		f.t.Fatal(err)
	}
	schema := texts[reflect.TypeOf(body).Name()]
	n, err := f.registry.SchemaID(f.t.Context(), schemas.Subject(topic, schema.FullName()), schema.Text())
	if err != nil {
		f.t.Fatal(err)
	}
	payload, err := f.codec.Payload(body)
	if err != nil {
		f.t.Fatal(err)
	}
	more = append([]string{"ce_id", id, "ce_type", schema.FullName(), "content-type", "application/avro"}, more...)
	return raw(key, append(binary.BigEndian.AppendUint32([]byte{0}, uint32(n)), payload...), more...)
}

// raw makes a record of the commands topic; a header with an empty value is left out.
func raw(key string, value []byte, more ...string) *kgo.Record {
	r := &kgo.Record{Topic: "order.commands", Key: []byte(key), Value: value}
	for i := 0; i < len(more); i += 2 {
		if more[i+1] != "" {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: more[i], Value: []byte(more[i+1])})
		}
	}
	return r
}

// send appends records where their keys belong, in order, and returns when all are.
func (f *fixture) send(records ...*kgo.Record) {
	f.t.Helper()
	if err := f.cl.ProduceSync(f.t.Context(), records...).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

// sendTo appends a record to a partition.
func (f *fixture) sendTo(partition int32, r *kgo.Record) {
	f.t.Helper()
	r.Partition = partition
	if err := f.manual.ProduceSync(f.t.Context(), r).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

// orderIn returns an order id whose home is the partition.
func orderIn(partition int32, prefix string) string {
	for i := 0; ; i++ {
		if id := prefix + strconv.Itoa(i); PartitionOf(id, testPartitions) == partition {
			return id
		}
	}
}

// flow returns place, pay and ship of n orders, all of which are accepted if they are decided in order
// and once.
func (f *fixture) flow(prefix string, n int) []*kgo.Record {
	f.t.Helper()
	var records []*kgo.Record
	for _, body := range []any{place, pay, ship} {
		for i := range n {
			records = append(records, f.command(prefix+strconv.Itoa(i), newID(f.t), body))
		}
	}
	return records
}

// brokersClock has the brokers tell another time than that of the test's host.
func (f *fixture) brokersClock(now func() time.Time) {
	f.cluster.ControlKey(int16(kmsg.DescribeTransactions), func(q kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.KeepControl()
		request := q.(*kmsg.DescribeTransactionsRequest)
		answer := request.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		for _, id := range request.TransactionalIDs {
			one := kmsg.NewDescribeTransactionsResponseTransactionState()
			one.TransactionalID, one.State, one.StartTimestamp = id, "Ongoing", now().UnixMilli()
			answer.TransactionStates = append(answer.TransactionStates, one)
		}
		return answer, nil, true
	})
}

// running is a worker at work.
type running struct {
	*Worker
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	log    *logBook
}

func (f *fixture) worker(slot string, change ...func(*WorkerConfig)) *running {
	f.t.Helper()
	return f.newWorker(slot, change...).start()
}

func (f *fixture) newWorker(slot string, change ...func(*WorkerConfig)) *running {
	f.t.Helper()
	r := &running{t: f.t, done: make(chan struct{}), log: newLogBook()}
	cfg := WorkerConfig{
		Client: f.client, Aggregates: []*processing.Aggregate{f.orders}, Codec: f.newCodec(), Group: testGroup, Slot: slot, Source: "test",
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if r.Worker, err = NewWorker(cfg); err != nil {
		f.t.Fatal(err)
	}
	return r
}

// start runs a worker until the test ends.
func (r *running) start() *running {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.done)
		r.err = r.Run(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		<-r.done
		if r.t.Failed() {
			r.t.Logf("log of worker %s:\n%s", r.cfg.Slot, r.log)
		}
	})
	return r
}

// ready waits for the worker to own partitions.
func (r *running) waitReady() *running {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	select {
	case <-r.Ready():
	case <-r.done:
		r.t.Fatalf("worker ended: %v", r.err)
	case <-ctx.Done():
		r.t.Fatalf("worker is not ready")
	}
	return r
}

// stop ends the worker as SIGTERM does.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	<-r.done
	if r.err != nil {
		r.t.Errorf("worker ended with %v", r.err)
	}
}

// logBook keeps what is logged and lets a test wait for it.
type logBook struct {
	mu   sync.Mutex
	cond *sync.Cond
	text bytes.Buffer
	gone bool
}

func newLogBook() *logBook {
	b := &logBook{}
	b.cond = sync.NewCond(&b.mu)
	return b
}

func (b *logBook) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.cond.Broadcast()
	return b.text.Write(line)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// wait blocks until one line has all the words.
func (b *logBook) wait(t *testing.T, words ...string) {
	t.Helper()
	b.waitFor(t, patience, words...)
}

func (b *logBook) waitFor(t *testing.T, long time.Duration, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.gone = true
		b.cond.Broadcast()
	})()
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for line := range strings.Lines(b.text.String()) {
			has := true
			for _, w := range words {
				has = has && strings.Contains(line, w)
			}
			if has {
				return
			}
		}
		if b.gone {
			t.Fatalf("nothing logged with %q:\n%s", words, b.text.String())
		}
		b.cond.Wait()
	}
}

// observer reads what is committed, from the beginning, as anybody can.
type observer struct {
	f       *fixture
	cl      *kgo.Client
	records map[string][]*kgo.Record // by topic
	at      map[topicPartition]int64
}

func (f *fixture) observe(topics ...string) *observer {
	f.t.Helper()
	if len(topics) == 0 {
		topics = []string{"order.commands", "order.events", "order.outcomes", "order.dead-letters"}
	}
	return &observer{f: f, records: map[string][]*kgo.Record{}, at: map[topicPartition]int64{}, cl: f.kgo(
		kgo.ConsumeTopics(topics...), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(100e6),
	)}
}

func (o *observer) poll(ctx context.Context) error {
	fetches := o.cl.PollFetches(ctx)
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
			return e.Err
		}
	}
	fetches.EachRecord(func(r *kgo.Record) {
		if r.Offset < o.at[topicPartition{r.Topic, r.Partition}] {
			return // the client went back after a leader had moved
		}
		o.at[topicPartition{r.Topic, r.Partition}] = r.Offset + 1
		if !r.Attrs.IsControl() {
			o.records[r.Topic] = append(o.records[r.Topic], r)
		}
	})
	return nil
}

// until reads on until cond holds.
func (o *observer) until(what string, cond func() bool) {
	o.f.t.Helper()
	ctx, cancel := context.WithTimeout(o.f.t.Context(), patience)
	defer cancel()
	for !cond() {
		if err := o.poll(ctx); err != nil {
			o.f.t.Fatalf("waited for %s, have %d events, %d outcomes, %d dead letters: %v", what, len(o.records["order.events"]), len(o.records["order.outcomes"]), len(o.records["order.dead-letters"]), err)
		}
	}
}

// outcomes waits for n outcomes and returns all.
func (o *observer) outcomes(n int) []answered {
	o.f.t.Helper()
	o.until(fmt.Sprintf("%d outcomes", n), func() bool { return len(o.records["order.outcomes"]) >= n })
	return o.f.answers(o.records["order.outcomes"])
}

// drain reads to the ends of all topics. An open transaction that nobody ends makes it fail.
func (o *observer) drain() {
	o.f.t.Helper()
	marks, err := readMarks(o.f.t.Context(), o.f.adm, "order.commands", "order.events", "order.outcomes", "order.dead-letters")
	if err != nil {
		o.f.t.Fatal(err)
	}
	o.until("the ends of the topics", func() bool {
		for tp, m := range marks {
			if m.high > m.start && o.at[tp] < m.high {
				return false
			}
		}
		return true
	})
}

// answered is an outcome with the record that holds it.
type answered struct {
	processing.Outcome
	record *kgo.Record
	input  int64
}

func (f *fixture) answers(records []*kgo.Record) []answered {
	f.t.Helper()
	var all []answered
	for _, r := range records {
		d, err := f.codec.Decode(f.t.Context(), r.Value, time.Time{})
		if err != nil {
			f.t.Fatal(err)
		}
		input, err := strconv.ParseInt(header(r, "ce_commandoffset"), 10, 64)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, answered{d.Value.(processing.Outcome), r, input})
	}
	return all
}

// outcomeOf waits for the nth outcome, from 0, of a command id.
func (o *observer) outcomeOf(id string, nth int) answered {
	o.f.t.Helper()
	for n := 1; ; n++ {
		seen := 0
		for _, a := range o.outcomes(n) {
			if a.CommandID != id {
				continue
			}
			if seen == nth {
				return a
			}
			seen++
		}
		n = len(o.records["order.outcomes"])
	}
}

// check stops the workers and holds what is in the log against the laws.
func (o *observer) check(sent []*kgo.Record, workers ...*running) {
	o.f.t.Helper()
	for _, w := range workers {
		w.stop()
	}
	o.drain()
	broken := laws(o.f.answers(o.records["order.outcomes"]), o.records["order.events"], sent)
	for _, b := range broken[:min(len(broken), 5)] {
		o.f.t.Errorf("%s (one of %d)", b, len(broken))
	}
}

// loadOrderSchemas returns the newest versions.
func loadOrderSchemas() (map[string]*schemas.Schema, error) {
	loaded, err := schemas.Load(schemas.FS, "order")
	newest := map[string]*schemas.Schema{}
	for name, versions := range loaded {
		newest[name] = versions[len(versions)-1]
	}
	return newest, err
}

// eventAsCommand returns a record of the commands topic that holds an event.
func (f *fixture) eventAsCommand(key string) *kgo.Record {
	f.t.Helper()
	value, err := f.codec.Encode(f.t.Context(), "order.events", order.OrderShipped{OrderID: key, CustomerID: "c-1"})
	if err != nil {
		f.t.Fatal(err)
	}
	return raw(key, value, "ce_id", newID(f.t), "content-type", "application/avro")
}

func newFixtureCodec(t *testing.T) *schemas.Codec {
	t.Helper()
	f := &fixture{t: t, registry: openRegistry(t, "http://127.0.0.1:1"), orders: order.Decider.Erase()}
	return f.newCodec()
}

// drainOf reads to the ends of one topic.
func (o *observer) drainOf(topic string) {
	o.f.t.Helper()
	marks, err := readMarks(o.f.t.Context(), o.f.adm, topic)
	if err != nil {
		o.f.t.Fatal(err)
	}
	o.until("the end of "+topic, func() bool {
		for tp, m := range marks {
			if m.high > m.start && o.at[tp] < m.high {
				return false
			}
		}
		return true
	})
}

// observeCommits counts commits within transactions, and holds each against what it must carry.
func observeCommits(t *testing.T) kfake.Fault {
	return kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Count: -1, Observe: true, When: func(q kmsg.Request) bool {
		for _, topic := range q.(*kmsg.TxnOffsetCommitRequest).Topics {
			for _, p := range topic.Partitions {
				if p.Metadata == nil {
					t.Errorf("commit of %s/%d has no metadata", topic.Topic, p.Partition)
				} else if _, err := processing.ParseMetadata(*p.Metadata); err != nil {
					t.Errorf("commit of %s/%d: %v", topic.Topic, p.Partition, err)
				}
			}
		}
		return true
	}}
}
