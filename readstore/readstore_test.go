package readstore_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/readstore"
)

// TestBucketOf holds the public contract. The wanted numbers were made by other tools:
// printf %s ID | sha1sum | cut -c1-4, modulo buckets.
func TestBucketOf(t *testing.T) {
	for _, want := range []struct {
		id             string
		sixteen, dozen int
	}{{"c-1", 8, 4}, {"o-1", 13, 5}, {"12346", 14, 10}, {"", 9, 5}, {"17850", 7, 11}, {"zoë", 15, 3}} {
		if got := readstore.BucketOf(want.id, 16); got != want.sixteen {
			t.Errorf("%q is in bucket %d of 16, want %d", want.id, got, want.sixteen)
		}
		if got := readstore.BucketOf(want.id, 12); got != want.dozen {
			t.Errorf("%q is in bucket %d of 12, want %d", want.id, got, want.dozen)
		}
		if got := readstore.BucketOf(want.id, 1); got != 0 {
			t.Errorf("%q is in bucket %d of 1", want.id, got)
		}
	}
}

func TestBucketOfIsInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		buckets := rapid.IntRange(1, 1000).Draw(t, "buckets")
		if got := readstore.BucketOf(rapid.String().Draw(t, "id"), buckets); got < 0 || got >= buckets {
			t.Fatalf("bucket %d of %d", got, buckets)
		}
	})
}

func TestBucketText(t *testing.T) {
	b := readstore.Bucket{Model: "order-status", Generation: "20261123-7f3a", Number: 11}
	if got := b.String(); got != "order-status.20261123-7f3a.11" {
		t.Errorf("bucket is %s", got)
	}
}

func TestSourceRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := readstore.Source{
			Aggregate: rapid.StringMatching(`[a-z][a-z0-9-]{0,20}`).Draw(t, "aggregate"),
			Partition: rapid.Int32Min(0).Draw(t, "partition"),
		}
		got, err := readstore.ParseSource(want.String())
		if err != nil || got != want {
			t.Fatalf("%q was read as %v, %v", want.String(), got, err)
		}
	})
	for _, text := range []string{"", "order", "/3", "order/", "order/-1", "order/x", "order/3/4", "order/2147483648"} {
		if got, err := readstore.ParseSource(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestCheckpointRoundTrip(t *testing.T) {
	word := rapid.StringMatching(`[A-Za-z0-9_.-]{1,30}`)
	rapid.Check(t, func(t *rapid.T) {
		want := readstore.Checkpoint{
			Generation: word.Draw(t, "generation"), CodeVersion: rapid.Int().Draw(t, "code version"),
			TopicID: word.Draw(t, "topic"), Offset: rapid.Int64().Draw(t, "offset"),
			Command: rapid.Int64().Draw(t, "command"), Change: word.Draw(t, "change"),
		}
		got, err := readstore.ParseCheckpoint(want.String())
		if err != nil || got != want {
			t.Fatalf("%q was read as %v, %v", want.String(), got, err)
		}
		if _, err := readstore.ParseCheckpoint(readstore.BrokenPrefix + want.String()); !errors.Is(err, readstore.ErrBroken) {
			t.Fatalf("a broken checkpoint was read with %v", err)
		}
	})
	if text := (readstore.Checkpoint{}).String(); text != "" {
		t.Errorf("the zero checkpoint is written as %q", text)
	}
	if got, err := readstore.ParseCheckpoint(""); err != nil || got != (readstore.Checkpoint{}) {
		t.Errorf("nothing was read as %v, %v", got, err)
	}
	for _, text := range []string{"g", "g 1 t 2 3", "g 1 t 2 3 c d", "g x t 2 3 c", "g 1 t x 3 c", "g 1 t 2 x c"} {
		if got, err := readstore.ParseCheckpoint(text); err == nil || errors.Is(err, readstore.ErrBroken) {
			t.Errorf("%q was read as %v, %v", text, got, err)
		}
	}
}

func TestActiveGeneration(t *testing.T) {
	g := readstore.Generation{ID: "g1"}
	c := readstore.Catalog{Active: "g1", Generations: map[string]readstore.Generation{"g1": g}}
	if got, ok := c.ActiveGeneration(); !ok || got.ID != "g1" {
		t.Errorf("active generation is %v, %v", got, ok)
	}
	for name, c := range map[string]readstore.Catalog{
		"none":    {Generations: c.Generations},
		"unknown": {Active: "g2", Generations: c.Generations},
		"empty":   {},
	} {
		if got, ok := c.ActiveGeneration(); ok {
			t.Errorf("%s: active generation is %v", name, got)
		}
	}
}
