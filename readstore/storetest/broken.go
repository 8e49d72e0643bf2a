package storetest

import (
	"errors"
	"testing"

	"github.com/ledgerline/ledgerline/readstore"
)

func breaks(t *testing.T, s readstore.Store, poison func(*testing.T, readstore.Store, readstore.Bucket)) {
	mustApply(t, s, write(0, 1, document("o-1", "{}"), sum("c-1", "total", highest, "l"), entry("c-1", "o-1", "Paid")))
	sound := bucket
	sound.Number++
	mustApply(t, s, readstore.Write{Bucket: sound, Advances: []readstore.Advance{advance(left, 0, 1)}})
	poison(t, s, bucket)

	fatal := write(1, 2, document("o-2", "{}"), sum("c-1", "total", 1, "l"))
	fatal.Advances = append(fatal.Advances, advance(right, 0, 5))
	isBroken := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, readstore.ErrBroken) {
			t.Errorf("%s returned %v, not ErrBroken", what, err)
		}
	}
	mustBreak := func(what string, w readstore.Write) {
		t.Helper()
		r := apply(t, s, w)[0]
		if r.Applied {
			t.Fatalf("%s was applied", what)
		}
		isBroken(what, r.Err)
	}
	mustBreak("the write itself", fatal)
	mustBreak("the same write again", fatal)
	mustBreak("an empty write from before", write(1, 3))
	mustBreak("an empty write from after", write(2, 3))
	mustBreak("a write of a source that was not in it", readstore.Write{
		Bucket: bucket, Advances: []readstore.Advance{advance(readstore.Source{Aggregate: "payment", Partition: 0}, 0, 1)},
	})
	_, _, err := s.Load(t.Context(), bucket, []string{"o-1"})
	isBroken("Load", err)
	_, _, err = s.Parked(t.Context(), bucket)
	isBroken("Parked", err)
	_, _, err = s.Sums(t.Context(), bucket, "c-1")
	isBroken("Sums", err)
	_, _, err = s.Entries(t.Context(), bucket, "c-1", "", 1)
	isBroken("Entries", err)
	_, _, err = s.Ranked(t.Context(), bucket, "l", nil, 1)
	isBroken("Ranked", err)
	_, err = s.Inspect(t.Context(), bucket)
	isBroken("Inspect", err)
	mustHold(t, s, sound, readstore.Content{Checkpoints: readstore.Checkpoints{left: at(1)}})

	// Dropping is how one gets rid of it; ids are new then, but nothing may be left under the old one.
	if err := s.Drop(t.Context(), readstore.Generation{ID: bucket.Generation, Model: bucket.Model, Buckets: 16}); err != nil {
		t.Fatal(err)
	}
	mustHold(t, s, bucket, readstore.Content{})
}
