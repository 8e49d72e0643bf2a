package storetest

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/ledgerline/ledgerline/readstore"
)

// changeAsOne writes until everybody has read often: every answer must be of one moment.
func changeAsOne(t *testing.T, s readstore.Store) {
	const often = 100
	ctx := t.Context()
	mustApply(t, s, write(0, 1, document("o-1", "1"), sum("c-1", "n", 1, "l"), entry("c-1", "n", "1")))
	reads := map[string]func() (string, readstore.Checkpoints, error){
		"Load": func() (string, readstore.Checkpoints, error) {
			documents, c, err := s.Load(ctx, bucket, []string{"o-1"})
			return documents["o-1"], c, err
		},
		"Sums": func() (string, readstore.Checkpoints, error) {
			sums, c, err := s.Sums(ctx, bucket, "c-1")
			return strconv.FormatInt(sums["n"], 10), c, err
		},
		"Entries": func() (string, readstore.Checkpoints, error) {
			page, c, err := s.Entries(ctx, bucket, "c-1", "", 1)
			return fmt.Sprint(append(page, readstore.Entry{})[0].Value), c, err
		},
		"Ranked": func() (string, readstore.Checkpoints, error) {
			page, c, err := s.Ranked(ctx, bucket, "l", nil, 1)
			return strconv.FormatInt(append(page, readstore.Rank{})[0].Sum, 10), c, err
		},
		"Inspect": func() (string, readstore.Checkpoints, error) {
			content, err := s.Inspect(ctx, bucket)
			if n := content.Documents["o-1"]; n != content.Entries["c-1/n"] {
				return "a mix", content.Checkpoints, err
			}
			return content.Documents["o-1"], content.Checkpoints, err
		},
	}
	var wg sync.WaitGroup
	for name, read := range reads {
		wg.Go(func() {
			for range often {
				got, checkpoints, err := read()
				if want := strconv.FormatInt(checkpoints[left].Offset, 10); err != nil || got != want {
					t.Errorf("%s read %s with a checkpoint at %s: %v", name, got, want, err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	writes := int64(1)
	for ; !isClosed(done) && !t.Failed(); writes++ {
		text := strconv.FormatInt(writes+1, 10)
		mustApplyOrStop(t, s, write(writes, writes+1, document("o-1", text), sum("c-1", "n", 1, "l"), entry("c-1", "n", text)))
	}
	<-done
	t.Logf("%d writes while each reader read %d times", writes, often)
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// mustApplyOrStop is mustApply for a test whose goroutines must end.
func mustApplyOrStop(t *testing.T, s readstore.Store, w readstore.Write) {
	results, err := s.Apply(t.Context(), []readstore.Write{w})
	if err != nil || !results[0].Applied {
		t.Errorf("writing: %+v %v", results, err)
	}
}

// oneWriterWins lets several writers advance one bucket from the same checkpoint, again and again.
func oneWriterWins(t *testing.T, s readstore.Store) {
	const rounds, writers = 40, 4
	for round := range int64(rounds) {
		results := make([]readstore.Result, writers)
		to := make([]readstore.Checkpoint, writers)
		var wg sync.WaitGroup
		for i := range writers {
			w := write(round, round+1, sum("c-1", "rounds", 1, ""), document("winner", strconv.Itoa(i)))
			w.Advances[0].To.Change = strconv.Itoa(i)
			to[i] = w.Advances[0].To
			if round > 0 {
				w.Advances[0].From.Change = "agreed"
			}
			wg.Go(func() {
				r, err := s.Apply(t.Context(), []readstore.Write{w})
				if err != nil {
					t.Errorf("writing: %v", err)
					return
				}
				results[i] = r[0]
			})
		}
		wg.Wait()
		winner := -1
		for i, r := range results {
			if r.Applied && winner >= 0 {
				t.Fatalf("round %d: writers %d and %d both won", round, winner, i)
			}
			if r.Applied {
				winner = i
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won: %+v", round, results)
		}
		for i, r := range results {
			if i != winner && (r.Err != nil || r.Stored[left] != to[winner]) {
				t.Fatalf("round %d: loser was told %+v, the winner wrote %v", round, r, to[winner])
			}
		}
		agreed := to[winner]
		agreed.Change = "agreed"
		mustApply(t, s, readstore.Write{Bucket: bucket, Advances: []readstore.Advance{{Source: left, From: to[winner], To: agreed}}})
		if got := inspect(t, s, bucket); got.Sums["c-1/rounds"] != round+1 || got.Documents["winner"] != strconv.Itoa(winner) {
			t.Fatalf("round %d: writer %d won, but the bucket holds %+v", round, winner, got)
		}
	}
}
