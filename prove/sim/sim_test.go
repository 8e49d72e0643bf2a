package sim

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/ledgerline/ledgerline/prove/history"
)

// TestWrite runs as many seeds of the write side as it is told, each in a bubble of its own, and writes their
// histories.
func TestWrite(t *testing.T) { seeds(t, "write", partitions, kinds(), run) }

// TestRead does the same of the read side.
func TestRead(t *testing.T) { seeds(t, "read", readPartitions, readKinds(), runRead) }

func seeds(t *testing.T, side string, partitions int32, kinds []string, run func(t *testing.T, seed uint64, hist *history.Writer, logFile string)) {
	dir := os.Getenv("PROVE_DIR")
	if dir == "" {
		t.Skip("PROVE_DIR is not set: run make prove-" + side)
	}
	if !simulated {
		t.Fatal("built without the tag synctests: run make prove-" + side)
	}
	runs := 100
	if s := os.Getenv("SEEDS"); s != "" {
		var err error
		if runs, err = strconv.Atoi(s); err != nil || runs < 1 {
			t.Fatalf("SEEDS is %q, want a number from 1", s)
		}
	}
	given := os.Getenv("SEED")
	for i := range runs {
		seed := uint64(rand.Uint32())
		name := fmt.Sprintf("sim-%d", seed)
		if given != "" {
			var err error
			if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
				t.Fatalf("SEED is %q, want a number", given)
			}
			name = fmt.Sprintf("sim-%d-%d", seed, i+1)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(dir, name)
			w, err := history.Create(folder, history.Run{Kind: "sim", Seed: seed, Partitions: partitions, Again: again(side, seed), Kinds: kinds})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { run(t, seed, w, filepath.Join(folder, "log.txt")) })
		})
	}
}

// again is the command that runs a seed again, several times: the seed settles what is tried, not in
// which order goroutines run.
func again(side string, seed uint64) string {
	mutant := ""
	if m := os.Getenv("MUTANT"); m != "" {
		mutant = "MUTANT=" + m + " "
	}
	return fmt.Sprintf("%sSEED=%d SEEDS=20 make prove-%s", mutant, seed, side)
}
