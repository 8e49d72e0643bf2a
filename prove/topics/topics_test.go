package topics_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/prove/topics"
)

func TestDumpAndDecided(t *testing.T) {
	s, err := stack.Start(t.Context(), stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cl, err := s.Kafka(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	if _, err := admin.CreateTopic(t.Context(), 3, 1, nil, "a"); err != nil {
		t.Fatal(err)
	}
	for p := range int32(2) { // the third partition has none
		record := &kgo.Record{Topic: "a", Partition: p, Value: fmt.Append(nil, p), Headers: []kgo.RecordHeader{{Key: "k", Value: []byte("v")}}}
		if err := cl.ProduceSync(t.Context(), record, &kgo.Record{Topic: "a", Partition: p}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]history.Record{}
	err = topics.Dump(t.Context(), s, func(r history.Record) { found[fmt.Sprintf("%d@%d", r.Partition, r.Offset)] = r }, "a")
	if one := found["1@0"]; err != nil || len(found) != 4 || string(one.Value) != "1" || len(one.Headers) != 1 || one.Headers[0] != [2]string{"k", "v"} {
		t.Errorf("%v: %v", err, found)
	}
	commit := func(offset int64) {
		t.Helper()
		var at kadm.Offsets
		at.AddOffset("a", 0, 2, -1)
		at.AddOffset("a", 1, offset, -1)
		at.AddOffset("a", 2, 0, -1)
		if err := admin.CommitAllOffsets(t.Context(), "g", at); err != nil {
			t.Fatal(err)
		}
	}
	commit(1)
	if err := topics.Decided(t.Context(), s, "a", "g"); err == nil {
		t.Error("all is decided, although partition 1 lacks one")
	}
	commit(2)
	if err := topics.Decided(t.Context(), s, "a", "g"); err != nil {
		t.Error(err)
	}
}
