package ledgerline

import (
	"context"
	"fmt"

	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

type processorCLI struct {
	versionFlag
	Serve       processorServe  `cmd:"" help:"Fold events into read models and answer queries, until interrupted."`
	Key         processorKey    `cmd:"" help:"Print the redis-cli line that shows a document."`
	Healthcheck healthcheckVerb `cmd:"" help:"Exit 0 if the process at the admin address is ready."`
}

// RunProcessor is the processor binary: it returns the exit code.
func RunProcessor(ctx context.Context, app App, p Process) int {
	return runCLI(ctx, "processor", "Folds events into read models in Redis and answers queries.", &processorCLI{}, app, p)
}

type processorServe struct {
	connectFlags
	listenFlags
}

// Run serves.
func (v processorServe) Run(ctx context.Context, app App, p Process) error {
	conn, reg, stop, err := v.observed(ctx, app, p, "processor")
	if err != nil {
		return err
	}
	defer stop()
	s, err := NewProcessor(ctx, app, ProcessorConfig{Connection: conn})
	if err != nil {
		return startError(err)
	}
	defer s.Close()
	conn.Log.InfoContext(ctx, "processor serves", "http", "http://"+v.HTTPAddr, "admin", "http://"+v.AdminAddr)
	return serveAll(ctx, v.listenFlags, reg, s)
}

type processorKey struct {
	connectFlags
	Model string `arg:"" help:"Name of the read model, as order-status."`
	ID    string `arg:"" help:"Id of the document."`
}

// Run prints the line.
func (v processorKey) Run(ctx context.Context, app App, p Process) error {
	m, err := app.ReadModel(v.Model)
	if err != nil {
		return misuse{err}
	}
	conn := v.connection(p)
	r, err := NewRebuild(ctx, app, conn)
	if err != nil {
		return startError(err)
	}
	defer r.Close()
	c, err := r.store.Catalog(ctx, m.Name)
	if err != nil {
		return err
	}
	g, ok := c.ActiveGeneration()
	if !ok {
		return fmt.Errorf("%s has no active generation; run: rebuild run %s --promote", m.Name, m.Name)
	}
	b := readstore.Bucket{Model: m.Name, Generation: g.ID}
	if m.KeyedAsEvents {
		b.Number = int(kafka.PartitionOf(v.ID, int32(g.Buckets)))
		fmt.Fprintf(p.Stdout, "%s HGET '%s' '%s'\n", conn.redisCLI(), redisstore.BucketKey(r.link.redisPrefix(), b, "docs"), v.ID)
		return nil
	}
	b.Number = readstore.BucketOf(v.ID, g.Buckets)
	fmt.Fprintf(p.Stdout, "%s HSCAN '%s' 0 MATCH '%s/*' COUNT 1000000\n", conn.redisCLI(), redisstore.BucketKey(r.link.redisPrefix(), b, "sums"), v.ID)
	return nil
}
