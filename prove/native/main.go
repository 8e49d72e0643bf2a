// Command native is one run of the proof of the write side on real services: three Kafka brokers, a
// registry and Redis as processes of this machine, and Ledgerline's ingest as several more. Clients of its
// own send commands by Kafka and by HTTP, workers and brokers are killed, frozen and restarted meanwhile,
// and everything that was sent, seen and broken is written down in the form of package history.
//
//	go run ./native --dir FOLDER --seed N
//	go run ./native --dir FOLDER --aggregates N    measures memory instead, without faults
//
// A run has a quiet part, in which no broker is at fault and takeovers are timed, then one of faults, then
// everything is to be decided within minutes, and the log is dumped by a plain client. It judges nothing
// but that: the checker reads the folder. Exit 1 means that the run did not come to its end; the folder
// then holds what there was, the brokers' and the processes' logs too.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// config is what a run is asked for.
type config struct {
	dir        string
	seed       uint64
	partitions int
	processes  int
	workers    int
	faults     time.Duration
	restarted  int
	gone       int
	scalings   int
	clients    int
	calm       time.Duration
	flags      string
	aggregates int
}

func flags() config {
	var c config
	flag.StringVar(&c.dir, "dir", "", "folder of the run, which must not exist (required)")
	flag.Uint64Var(&c.seed, "seed", 0, "what chance begins with (default: a random one)")
	flag.IntVar(&c.partitions, "partitions", 36, "partitions of each topic")
	flag.IntVar(&c.processes, "processes", 3, "ingest processes")
	flag.IntVar(&c.workers, "workers", 0, "workers in each (default: 1 or 2, by chance)")
	flag.IntVar(&c.clients, "clients", 6, "clients, half of them by Kafka, half by HTTP")
	flag.DurationVar(&c.faults, "faults", 65*time.Second, "how long there are faults")
	flag.IntVar(&c.restarted, "restarted", 3, "processes to kill and restart at once in the quiet part")
	flag.IntVar(&c.gone, "gone", 2, "processes to kill there that stay away")
	flag.IntVar(&c.scalings, "scalings", 1, "processes to end in good order there, and start again")
	flag.DurationVar(&c.calm, "calm", time.Second, "how long a command may wait at most before the next worker is killed in the quiet part")
	flag.StringVar(&c.flags, "ingest-flags", "", "more flags for ingest, with spaces between")
	flag.IntVar(&c.aggregates, "aggregates", 0, "measure the memory of one worker that decides commands of so many aggregates, and nothing else")
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
	if c.dir == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "native: --dir is required, and flags are all that is taken")
		os.Exit(2)
	}
	found, err := c.run(ctx)
	if text, jsonErr := json.Marshal(found); found != nil && jsonErr == nil {
		fmt.Println(string(text))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "native: seed %d, folder %s: %v\n", c.seed, c.dir, err)
		os.Exit(1)
	}
}

// run makes the folder and runs; it returns what is to be printed, nil for nothing.
func (c config) run(ctx context.Context) (any, error) {
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		return nil, fmt.Errorf("naming the run's folder: %w", err)
	}
	c.dir = dir
	if _, err := os.Stat(dir); err == nil {
		return nil, fmt.Errorf("%s exists: a run has a folder of its own", dir)
	}
	if c.aggregates > 0 {
		return c.memory(ctx)
	}
	r, err := start(ctx, c)
	if r != nil {
		defer r.close()
	}
	if err != nil {
		return nil, err
	}
	err = r.all(ctx)
	return r.summary(), err
}
