package kafka

import (
	"hash/crc32"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
)

// Transactions that hang, on Apache Kafka: no embedded broker can be brought to have one. A broker that
// does not verify accepts what belongs to a transaction that its coordinator knows nothing of.
func TestHangingTransactionsAreFinished(t *testing.T) {
	if !strings.HasPrefix(os.Getenv("LEDGERLINE_E2E_STACK"), "native") {
		t.Skip("it needs Apache Kafka; run: .ci/run native")
	}
	s, err := stack.Start(t.Context(), stack.Config{Provider: stack.Native})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{t: t, losing: &losing{}, orders: order.Decider.Erase()}
	f.provision(s.Brokers)
	no := "false"
	if _, err := f.adm.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Name: "transaction.partition.verification.enable", Value: &no}}); err != nil {
		t.Fatal(err)
	}
	// In lost and told nothing of the transaction has its marker, but of told the worker was told that it is
	// committed; in marked the outcome has it, which says that it was.
	lost, marked, told := f.command(orderIn(1, "lost-"), newID(t), place), f.command(orderIn(2, "marked-"), newID(t), place), f.command(orderIn(0, "told-"), newID(t), place)
	f.send(lost, marked, told)
	hang := f.hanging("slot-0")
	for _, r := range []*kgo.Record{lost, marked, told} {
		event, outcome := f.written(r)
		hang.produce(event)
		if r == marked {
			hang.commit(outcome)
		} else {
			hang.produce(outcome)
		}
		hang.offset(r)
	}
	hang.cl.Close()

	w := f.newWorker("slot-0")
	w.committed[topicPartition{told.Topic, told.Partition}] = lastOffsets{0, 0}
	w.start()
	others := f.command(orderIn(3, "other-"), newID(t), place)
	f.send(others)
	w.log.waitFor(t, DefaultTransactionTimeout+openPatience+patience, "hanging transaction finished by an abort", "partitions=2")
	w.log.wait(t, "hanging transaction finished by a commit", "partitions=3")
	paid := []*kgo.Record{f.command(string(lost.Key), newID(t), pay), f.command(string(marked.Key), newID(t), pay), f.command(string(told.Key), newID(t), pay)}
	f.send(paid...)
	o := f.observe()
	if a := o.outcomeOf(idOf(t, others), 0); a.Status != processing.Accepted {
		t.Errorf("of another partition: %s %s", a.Status, a.Code)
	}
	for _, r := range paid {
		if a := o.outcomeOf(idOf(t, r), 0); a.Status != processing.Accepted || a.Version != 2 {
			t.Errorf("%s: got %s %s, version %d", r.Key, a.Status, a.Code, a.Version)
		}
	}
	o.check(append(paid, lost, marked, told, others), w)
	if n := len(o.records["order.events"]); n != 7 {
		t.Errorf("%d events, want 7", n)
	}
}

// hanging writes what hangs.
type hanging struct {
	f     *fixture
	cl    *kgo.Client
	slot  string
	id    int64
	epoch int16
	seq   map[topicPartition]int32
}

func (f *fixture) hanging(slot string) *hanging {
	f.t.Helper()
	h := &hanging{f: f, slot: slot, seq: map[topicPartition]int32{}}
	h.cl = f.kgo(kgo.TransactionalID(slot), kgo.MaxVersions(kversion.V3_7_0()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var err error
	if h.id, h.epoch, err = h.cl.ProducerID(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return h
}

// produce appends a record that no coordinator knows of.
func (h *hanging) produce(r *kgo.Record) {
	t := h.f.t
	t.Helper()
	kr := kmsg.NewRecord()
	kr.Key, kr.Value = r.Key, r.Value
	for _, one := range r.Headers {
		kr.Headers = append(kr.Headers, kmsg.Header{Key: one.Key, Value: one.Value})
	}
	kr.Length = int32(len(kr.AppendTo(nil)) - 1) // the length itself is one byte while it is 0
	now := time.Now().UnixMilli()
	b := kmsg.NewRecordBatch()
	b.PartitionLeaderEpoch, b.Magic, b.Attributes = -1, 2, 0x10 // transactional
	b.FirstTimestamp, b.MaxTimestamp, b.ProducerID, b.ProducerEpoch, b.NumRecords = now, now, h.id, h.epoch, 1
	b.Records = kr.AppendTo(nil)
	const beforeLength, beforeSum = 12, 21 // bytes: what the length does not count, what the sum does not
	text := b.AppendTo(nil)
	b.Length = int32(len(text) - beforeLength)
	text = b.AppendTo(nil)
	b.CRC = int32(crc32.Checksum(text[beforeSum:], crc32.MakeTable(crc32.Castagnoli)))
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.TransactionID, q.Acks, q.TimeoutMillis = 9, &h.slot, -1, 5000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = r.Topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = r.Partition, b.AppendTo(nil)
	topic.Partitions = append(topic.Partitions, p)
	q.Topics = append(q.Topics, topic)
	resp, err := h.cl.Broker(1).RetriableRequest(t.Context(), q)
	if err == nil {
		err = kerr.ErrorForCode(resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("producing to %s/%d: %v", r.Topic, r.Partition, err)
	}
}

// commit appends a record in a transaction that ends well.
func (h *hanging) commit(r *kgo.Record) {
	t := h.f.t
	t.Helper()
	if err := h.cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := h.cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := h.cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

// offset leaves a pending offset of the command's partition.
func (h *hanging) offset(r *kgo.Record) {
	t := h.f.t
	t.Helper()
	q := kmsg.NewPtrTxnOffsetCommitRequest()
	q.TransactionalID, q.Group, q.ProducerID, q.ProducerEpoch, q.Generation = h.slot, testGroup, h.id, h.epoch, -1
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = r.Topic
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = r.Partition, r.Offset+1
	topic.Partitions = append(topic.Partitions, p)
	q.Topics = append(q.Topics, topic)
	resp, err := q.RequestWith(t.Context(), h.cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("committing an offset: %v", err)
	}
}
