// Package topics tells what lies in Kafka, as plain clients see it: what is decided, where logs end, and
// every record. It imports nothing of the product.
package topics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/prove/history"
)

// Admin calls do with a client for administrators.
func Admin(s *stack.Stack, do func(*kadm.Client) error) error {
	cl, err := s.Kafka()
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(kadm.NewClient(cl))
}

// Ends returns where each partition of a topic ends.
func Ends(ctx context.Context, s *stack.Stack, topic string) (map[int32]int64, error) {
	found := map[int32]int64{}
	err := Admin(s, func(a *kadm.Client) error {
		ends, err := a.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		ends.Each(func(end kadm.ListedOffset) { found[end.Partition] = end.Offset })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking where %s ends: %w", topic, err)
	}
	return found, nil
}

// Decided returns nil once every record of a topic is behind its partition's committed offset.
func Decided(ctx context.Context, s *stack.Stack, topic, group string) error {
	ends, err := Ends(ctx, s, topic)
	if err != nil {
		return err
	}
	return Admin(s, func(a *kadm.Client) error {
		committed, err := a.FetchOffsets(kadm.RequireStable(ctx), group)
		if err == nil {
			err = committed.Error()
		}
		if err != nil {
			return err
		}
		var wrong error
		for p, end := range ends {
			if at, _ := committed.Lookup(topic, p); at.At < end {
				wrong = errors.Join(wrong, fmt.Errorf("partition %d is decided up to %d of %d", p, at.At, end))
			}
		}
		return wrong
	})
}

// Dump hands every committed record of topics to take.
func Dump(ctx context.Context, s *stack.Stack, take func(history.Record), topics ...string) error {
	left := map[string]map[int32]int64{} // ends of the logs that are not read to their end
	from := map[string]map[int32]kgo.Offset{}
	for _, topic := range topics {
		ends, err := Ends(ctx, s, topic)
		if err != nil {
			return fmt.Errorf("dumping the log: %w", err)
		}
		for p, end := range ends {
			if end == 0 {
				continue
			}
			if left[topic] == nil {
				left[topic], from[topic] = map[int32]int64{}, map[int32]kgo.Offset{}
			}
			left[topic][p], from[topic][p] = end, kgo.NewOffset().At(0)
		}
	}
	// The last offset may be a transaction's marker: those are read, too.
	cl, err := s.Kafka(kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
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
				take(asHistory(record))
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
