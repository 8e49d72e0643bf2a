package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/prove/history"
)

// dump writes down every committed record of every topic, as a plain client reads it.
func (r *run) dump(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deciding)
	defer cancel()
	left := map[string]map[int32]int64{} // ends of the logs that are not read to their end
	from := map[string]map[int32]kgo.Offset{}
	err := r.admin(func(a *kadm.Client) error {
		ends, err := a.ListEndOffsets(ctx, topics...)
		if err == nil {
			err = ends.Error()
		}
		ends.Each(func(end kadm.ListedOffset) {
			if end.Offset == 0 || err != nil {
				return
			}
			if left[end.Topic] == nil {
				left[end.Topic], from[end.Topic] = map[int32]int64{}, map[int32]kgo.Offset{}
			}
			left[end.Topic][end.Partition], from[end.Topic][end.Partition] = end.Offset, kgo.NewOffset().At(0)
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("dumping the log: %w", err)
	}
	// The last offset may be a transaction's marker: those are read, too.
	cl, err := r.stack.Kafka(kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		return fmt.Errorf("dumping the log: %w", err)
	}
	defer cl.Close()
	for n := count(left); n > 0; n = count(left) {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("dumping the log: %d partitions are not read to their end, of which some may have an open transaction: %v: %w", n, left, ctx.Err())
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if !record.Attrs.IsControl() {
				r.out.Record(asHistory(record))
			}
			if record.Offset+1 >= left[record.Topic][record.Partition] {
				delete(left[record.Topic], record.Partition)
			}
		})
	}
	return nil
}

func count(left map[string]map[int32]int64) (n int) {
	for _, partitions := range left {
		n += len(partitions)
	}
	return n
}

func asHistory(record *kgo.Record) history.Record {
	h := history.Record{
		Topic: record.Topic, Partition: record.Partition, Offset: record.Offset, Timestamp: record.Timestamp.UnixMilli(), Key: record.Key, Value: record.Value,
		Headers: [][2]string{},
	}
	for _, one := range record.Headers {
		h.Headers = append(h.Headers, [2]string{one.Key, string(one.Value)})
	}
	return h
}
