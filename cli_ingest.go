package ledgerline

import (
	"context"
	"fmt"
	"time"
)

type ingestCLI struct {
	versionFlag
	Serve       ingestServe     `cmd:"" help:"Decide commands, from HTTP and from Kafka, until interrupted."`
	Send        ingestSend      `cmd:"" help:"Send commands from a file of JSON lines and wait for what becomes of them."`
	Floor       ingestFloor     `cmd:"" help:"Show the time below which command ids are refused; raise or reset it."`
	Healthcheck healthcheckVerb `cmd:"" help:"Exit 0 if the process at the admin address is ready."`
}

// RunIngest is the ingest binary: it returns the exit code.
func RunIngest(ctx context.Context, app App, p Process) int {
	return runCLI(ctx, "ingest", "Decides commands and appends their events.", &ingestCLI{}, app, p)
}

type ingestServe struct {
	connectFlags
	listenFlags
	Instance                 string        `env:"LEDGERLINE_INSTANCE" help:"Tells this process from its siblings, over restarts (default: the host's name)."`
	Workers                  int           `env:"LEDGERLINE_WORKERS" default:"1" help:"Write loops side by side (default ${default})."`
	KeepSlot                 bool          `env:"LEDGERLINE_KEEP_SLOT" help:"Keep the partitions at the end, for a restart within seconds."`
	SessionTimeout           time.Duration `env:"LEDGERLINE_SESSION_TIMEOUT" default:"6s" help:"How long a worker may be silent before its partitions go to others, see docs/guides/takeover.md (default ${default})."`
	TransactionTimeout       time.Duration `env:"LEDGERLINE_TRANSACTION_TIMEOUT" default:"10s" help:"How long what a dead worker left undone may hold up its partitions (default ${default})."`
	Snapshots                bool          `env:"LEDGERLINE_SNAPSHOTS" default:"true" negatable:"" help:"Keep the states of aggregates in Redis, so that a start reads only what follows and memory is bounded; --no-snapshots has everything read and held (default ${default})."`
	SnapshotEvents           int64         `env:"LEDGERLINE_SNAPSHOT_EVENTS" default:"10000" help:"Events of a partition after which its changed states are written (default ${default})."`
	SnapshotInterval         time.Duration `env:"LEDGERLINE_SNAPSHOT_INTERVAL" default:"10s" help:"Time after which they are written if there are any (default ${default})."`
	StateMemory              byteSize      `env:"LEDGERLINE_STATE_MEMORY" default:"32MiB" placeholder:"SIZE" help:"Memory for the states of aggregates with snapshots (default ${default})."`
	DedupeMemory             byteSize      `env:"LEDGERLINE_DEDUPE_MEMORY" default:"256MiB" placeholder:"SIZE" help:"Memory of the process for command ids, shared equally by workers and partitions. Fuller, older ids are refused; eight batches a partition fit in any case (default ${default})."`
	Queries                  bool          `env:"LEDGERLINE_QUERIES" help:"Answer queries, too, from Redis: one address for everything."`
	AllowTransactionVersion1 bool          `name:"allow-transaction-version-1" env:"LEDGERLINE_ALLOW_TRANSACTION_VERSION_1" help:"Accept brokers on which a late request of one transaction may end up in the next: nothing is proven there."`
}

// Run serves.
func (v ingestServe) Run(ctx context.Context, app App, p Process) error {
	for flag, n := range map[string]int64{"snapshot-events": v.SnapshotEvents, "snapshot-interval": int64(v.SnapshotInterval)} {
		if n < 1 {
			return misuse{fmt.Errorf("--%s: want more than 0", flag)}
		}
	}
	conn, reg, stop, err := v.observed(ctx, app, p, "ingest")
	if err != nil {
		return err
	}
	defer stop()
	i, err := NewIngest(ctx, app, IngestConfig{
		Connection: conn, Instance: v.Instance, Workers: v.Workers, KeepSlot: v.KeepSlot,
		SessionTimeout: v.SessionTimeout, TransactionTimeout: v.TransactionTimeout,
		AllowTransactionVersion1: v.AllowTransactionVersion1, Queries: v.Queries,
		NoSnapshots: !v.Snapshots, SnapshotEvents: v.SnapshotEvents, SnapshotInterval: v.SnapshotInterval, StateMemory: int64(v.StateMemory),
		DedupeMemory: int64(v.DedupeMemory),
	})
	if err != nil {
		return startError(err)
	}
	defer i.Close()
	conn.Log.InfoContext(ctx, "ingest serves", "http", "http://"+v.HTTPAddr, "admin", "http://"+v.AdminAddr)
	return serveAll(ctx, v.listenFlags, reg, i)
}
