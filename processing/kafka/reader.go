package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// topicPartition names a partition of a topic.
type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string { return fmt.Sprintf("%s/%d", tp.topic, tp.partition) }

// span is a run of offsets, to exclusive.
type span struct{ from, to int64 }

// reader reads spans of partitions, read_committed. It keeps control records, since offsets are not
// dense: a transaction's marker takes one, and the end of a span may lie behind it.
type reader struct {
	cl *kgo.Client
}

func newReader(c ClientConfig) (*reader, error) {
	cl, err := kgo.NewClient(append(clientOptions(c),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// A fetch that waits at the end of a log holds up the next one on its connection, after a
		// rewind or for another span, until it is answered.
		kgo.FetchMaxWait(100*time.Millisecond),
	)...)
	if err != nil {
		return nil, fmt.Errorf("making a reader of %v: %w", c.Brokers, err)
	}
	return &reader{cl: cl}, nil
}

func (r *reader) close() { r.cl.Close() }

// read calls visit with every committed record of the spans, in order within a partition, and returns
// once all spans are read to their end. A span that reaches into an open transaction blocks until that
// has ended. A span that begins before the start of the log is read from there.
func (r *reader) read(ctx context.Context, spans map[topicPartition]span, visit func(*kgo.Record) error) error {
	left := map[topicPartition]span{}
	starts := map[string]map[int32]kgo.Offset{}
	for tp, s := range spans {
		if s.from >= s.to {
			continue
		}
		left[tp] = s
		if starts[tp.topic] == nil {
			starts[tp.topic] = map[int32]kgo.Offset{}
		}
		starts[tp.topic][tp.partition] = kgo.NewOffset().At(s.from)
	}
	if len(left) == 0 {
		return nil
	}
	remove := map[string][]int32{}
	for topic, ps := range starts {
		for p := range ps {
			remove[topic] = append(remove[topic], p)
		}
	}
	r.cl.ResumeFetchPartitions(remove)
	r.cl.AddConsumePartitions(starts)
	defer r.cl.RemoveConsumePartitions(remove)
	for len(left) > 0 {
		fetches := r.cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("reading %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		var failed error
		fetches.EachRecord(func(rec *kgo.Record) {
			tp := topicPartition{rec.Topic, rec.Partition}
			s, ok := left[tp]
			if !ok || failed != nil {
				return
			}
			if rec.Offset < s.to && !rec.Attrs.IsControl() {
				failed = visit(rec)
			}
			if rec.Offset+1 >= s.to {
				delete(left, tp)
				r.cl.PauseFetchPartitions(map[string][]int32{tp.topic: {tp.partition}})
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// marks are where the log of a partition starts, and its high watermark: what is appended, be it
// committed yet or not.
type marks struct{ start, high int64 }

func readMarks(ctx context.Context, adm *kadm.Client, topics ...string) (map[topicPartition]marks, error) {
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing start offsets of %v: %w", topics, err)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing end offsets of %v: %w", topics, err)
	}
	m := map[topicPartition]marks{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		m[topicPartition{end.Topic, end.Partition}] = marks{start.Offset, end.Offset}
	})
	if len(m) == 0 {
		return nil, errors.New("listing offsets: no such topics; run: provision apply")
	}
	return m, nil
}
