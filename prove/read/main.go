// Command read is one run of the proof of the read side on real services: a Kafka broker, a registry and
// Redis as processes of this machine, Ledgerline's ingest, two processors and rebuild jobs. Redis is broken
// on purpose in one way, the mode; processors and rebuild jobs are killed. Meanwhile a load of commands
// goes on, and readers query with the positions of what they have just written.
//
//	go run ./read --dir FOLDER --seed N --mode MODE
//
// The modes:
//
//	flushall   FLUSHALL, which drops no connection
//	kill-aof   kill -9, with an append-only file that is synced every second
//	kill-rdb   kill -9, with a save point of seconds before: what was written since is lost
//	replica    a replica that lacks the last writes is promoted, and the master killed
//	cluster    of three masters with a replica each, slots with a part of what belongs together are moved to another
//	           master key by key, masters fail over, and masters come back with nothing, in turn
//
// With --memory it measures what rebuild jobs need instead, while nothing else happens.
//
// The last time is when no command comes any more. Once all are decided and the read models have caught up,
// the log of events and what lies in Redis are written down with everything that was done and seen, in the
// form of package history. It judges nothing: the checker reads the folder. Exit 1 means that the run did
// not come to its end; the folder then holds what there was.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
)

// config is what a run is asked for.
type config struct {
	dir        string
	seed       uint64
	mode       string
	partitions int
	preload    int
	rate       int
	rounds     int
	readers    int
	memory     int
}

func flags() config {
	var c config
	flag.StringVar(&c.dir, "dir", "", "folder of the run, which must not exist (required)")
	flag.Uint64Var(&c.seed, "seed", 0, "what chance begins with (default: a random one)")
	flag.StringVar(&c.mode, "mode", "flushall", "how Redis is broken: flushall, kill-aof, kill-rdb, replica or cluster")
	flag.IntVar(&c.partitions, "partitions", 6, "partitions of each topic")
	flag.IntVar(&c.preload, "preload", 20000, "commands that are there before anything breaks")
	flag.IntVar(&c.rate, "rate", 200, "commands a second by Kafka")
	flag.IntVar(&c.rounds, "rounds", 4, "how often Redis is broken under load, with rebuilds after every other time")
	flag.IntVar(&c.readers, "readers", 3, "readers that query what they have written")
	flag.IntVar(&c.memory, "memory", 0, "measure the memory of rebuild jobs instead: of so many commands and tallies, then of ten times as many")
	flag.Parse()
	if c.seed == 0 {
		c.seed = rand.Uint64()>>1 | 1
	}
	return c
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := flags()
	if c.dir == "" || flag.NArg() > 0 || len(modes[c.mode].strikes) == 0 {
		fmt.Fprintf(os.Stderr, "read: --dir is required, --mode is one of %v, and flags are all that is taken\n", slices.Sorted(maps.Keys(modes)))
		os.Exit(2)
	}
	if err := c.run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "read: mode %s, seed %d, folder %s: %v\n", c.mode, c.seed, c.dir, err)
		os.Exit(1)
	}
}

func (c config) run(ctx context.Context) error {
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		return fmt.Errorf("naming the run's folder: %w", err)
	}
	c.dir = dir
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s exists: a run has a folder of its own", dir)
	}
	r, err := start(ctx, c)
	if r != nil {
		defer r.close()
	}
	if err != nil {
		return err
	}
	if c.memory > 0 {
		return r.measureMemory(ctx)
	}
	return r.all(ctx)
}
