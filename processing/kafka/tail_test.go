package kafka

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

func (f *fixture) log() *Log {
	f.t.Helper()
	l, err := NewLog(f.logConfig())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(l.Close)
	return l
}

func TestLogIdentityAndMarks(t *testing.T) {
	f := newFixture(t, 1)
	_, ends := f.decided("o-", 8)
	l := f.log()
	id, err := l.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := f.adm.Metadata(t.Context(), "order.events")
	if err != nil {
		t.Fatal(err)
	}
	if id.ClusterID != metadata.Cluster || id.Partitions["order"] != testPartitions || len(id.TopicIDs) != 1 || len(id.TopicIDs["order"]) != 22 {
		t.Errorf("got %+v, cluster is %s", id, metadata.Cluster)
	}
	// An open transaction lies below the end.
	open := f.kgo(kgo.TransactionalID("open"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := open.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := open.ProduceSync(t.Context(), &kgo.Record{Topic: "order.events", Partition: 1, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ends[readstore.Source{Aggregate: "order", Partition: 1}]++
	marks, err := l.Marks(t.Context(), []string{"order"})
	if err != nil || len(marks) != testPartitions {
		t.Fatalf("got %v, %v", marks, err)
	}
	for s, m := range marks {
		if m != (processing.Mark{Start: 0, End: ends[s]}) {
			t.Errorf("%s: got %+v, want end %d", s, m, ends[s])
		}
	}
	if err := open.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Marks(t.Context(), []string{"nothing"}); err == nil {
		t.Error("marks of a topic that does not exist")
	}
}

var errEnough = errors.New("enough")

func TestLogReadsAndRewinds(t *testing.T) {
	f := newFixture(t, 1)
	n, ends := f.decided("o-", 8)
	l := f.log()
	from := map[readstore.Source]int64{}
	for s := range ends {
		from[s] = 0
	}
	source := readstore.Source{Aggregate: "order", Partition: PartitionOf("o-0", testPartitions)}
	position, seen := map[readstore.Source]int64{}, map[readstore.Source][]processing.Event{}
	rewound := false
	err := l.Read(t.Context(), from, func(in processing.Fetched) (map[readstore.Source]int64, error) {
		for s, at := range in.From {
			if at != position[s] {
				t.Errorf("%s: begins at %d, want %d", s, at, position[s])
			}
			position[s] = in.Upto[s]
		}
		for _, e := range in.Events {
			s := readstore.Source{Aggregate: e.Aggregate, Partition: e.Partition}
			if e.Offset < in.From[s] || e.Offset >= in.Upto[s] {
				t.Errorf("event at %d outside of %d to %d", e.Offset, in.From[s], in.Upto[s])
			}
			seen[s] = append(seen[s], e)
		}
		total := 0
		for _, events := range seen {
			total += len(events)
		}
		if !maps.Equal(position, nonZero(ends)) {
			return nil, nil
		}
		if total != n {
			t.Errorf("%d events at the end, want %d", total, n)
		}
		if !rewound {
			rewound = true
			position[source], seen[source] = 0, nil
			return map[readstore.Source]int64{source: 0}, nil
		}
		return nil, errEnough
	})
	if !errors.Is(err, errEnough) || !rewound {
		t.Fatalf("got %v", err)
	}
	var all []processing.Event
	for _, events := range seen {
		all = append(all, events...)
	}
	wholeAndInOrder(t, all, 8)
	for _, e := range all {
		if e.ID == "" || e.CommandID == "" || !e.Last || e.Aggregate != "order" || e.Type == "" || e.Data == nil || e.Time.IsZero() {
			t.Errorf("got %+v", e)
		}
	}
}

func TestLogReadEnds(t *testing.T) {
	f := newFixture(t, 1)
	f.decided("o-", 4)
	l := f.log()
	source := readstore.Source{Aggregate: "order", Partition: PartitionOf("o-0", testPartitions)}
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := l.Read(ctx, map[readstore.Source]int64{source: 0}, func(in processing.Fetched) (map[readstore.Source]int64, error) {
		if calls++; calls == 1 {
			cancel()
		}
		return nil, nil
	})
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("cancelled: got %v after %d calls", err, calls)
	}
	// Below the start of the log, and beyond its end, nothing is made up.
	if err := l.Read(t.Context(), map[readstore.Source]int64{source: 1000}, func(processing.Fetched) (map[readstore.Source]int64, error) { return nil, errEnough }); err == nil || errors.Is(err, errEnough) {
		t.Errorf("beyond the end: got %v, want the broker's refusal", err)
	}
	broken := &kgo.Record{Topic: "order.events", Partition: source.Partition, Key: []byte("o-0"), Value: []byte("no event")}
	if err := f.manual.ProduceSync(t.Context(), broken).FirstErr(); err != nil {
		t.Fatal(err)
	}
	err = l.Read(t.Context(), map[readstore.Source]int64{source: 0}, func(in processing.Fetched) (map[readstore.Source]int64, error) {
		for _, e := range in.Events {
			if e.Undecodable != nil && e.Offset == broken.Offset {
				return nil, errEnough
			}
		}
		return nil, nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("broken event: got %v", err)
	}
}
