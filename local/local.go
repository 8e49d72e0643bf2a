// Package local runs a whole Ledgerline in one process: an embedded broker, registry and Redis, an
// App's ingest and processor on them, and its API on one address. It is for trying things out and for
// tests, of ours and of those who bring their own App; it keeps nothing unless told to, and proves
// nothing about real services.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/processing/embedded"
	"github.com/ledgerline/ledgerline/processing/kafka"
)

// Config configures a [Local].
type Config struct {
	App ledgerline.App
	// Services are the ports preferred and the folder kept. Defaults to free ports and none.
	Services embedded.Config
	// Listener is where the API is served; Start owns it from then on. Defaults to a free port on
	// 127.0.0.1.
	Listener net.Listener
	// Log takes what happens. Defaults to nothing.
	Log *slog.Logger
	// Tracing is as in [ledgerline.Connection].
	Tracing trace.TracerProvider
}

// Local is a running Ledgerline.
type Local struct {
	// Connection is how other processes reach the services.
	Connection ledgerline.Connection
	// URL is the API's, like http://127.0.0.1:8080.
	URL string

	services  *embedded.Services
	listener  net.Listener
	ingest    *ledgerline.Ingest
	processor *ledgerline.Processor
	cancel    context.CancelFunc
	group     *errgroup.Group
}

const readyTimeout = 30 * time.Second

// Start starts everything and returns once commands are decided and read models answer.
func Start(ctx context.Context, cfg Config) (*Local, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Listener == nil {
		var err error
		if cfg.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("listening for the API: %w", err)
		}
	}
	services, err := embedded.Start(cfg.Services)
	if err != nil {
		return nil, errors.Join(err, cfg.Listener.Close())
	}
	l := &Local{services: services, listener: cfg.Listener, URL: "http://" + cfg.Listener.Addr().String(), Connection: ledgerline.Connection{
		Brokers: services.Brokers, RegistryURL: services.RegistryURL, RedisURL: services.RedisURL, Log: cfg.Log, Tracing: cfg.Tracing,
	}}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	l.group, run = errgroup.WithContext(run)
	if err := l.start(ctx, run, cfg.App); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Local) start(ctx, run context.Context, app ledgerline.App) error {
	if err := Provision(ctx, app, l.Connection); err != nil {
		return err
	}
	var err error
	if l.ingest, err = ledgerline.NewIngest(ctx, app, ledgerline.IngestConfig{Connection: l.Connection, Instance: "local"}); err != nil {
		return err
	}
	if l.processor, err = ledgerline.NewProcessor(ctx, app, ledgerline.ProcessorConfig{Connection: l.Connection}); err != nil {
		return err
	}
	mux := http.NewServeMux()
	l.ingest.Register(mux)
	l.processor.Register(mux)
	l.group.Go(func() error { return ledgerline.Serve(run, l.listener, mux) })
	l.group.Go(func() error { return l.ingest.Run(run) })
	l.group.Go(func() error { return l.processor.Run(run) })
	return l.awaitReady(ctx, run)
}

// Provision makes the topics and schemas that app needs.
func Provision(ctx context.Context, app ledgerline.App, conn ledgerline.Connection) error {
	p, err := ledgerline.NewProvision(app, ledgerline.ProvisionConfig{Connection: conn})
	if err != nil {
		return err
	}
	defer p.Close()
	changes, err := p.Plan(ctx)
	if err != nil {
		return err
	}
	return p.Apply(ctx, changes)
}

func (l *Local) awaitReady(ctx, run context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := errors.Join(l.ingest.Ready(), l.processor.Ready())
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready in %s: %w", readyTimeout, err)
		case <-run.Done():
			return errors.Join(err, l.group.Wait())
		case <-tick.C:
		}
	}
}

// Wait blocks until some part of it ends on its own, and returns why.
func (l *Local) Wait() error { return l.group.Wait() }

// Flags returns the flags that point the other binaries at these services.
func (l *Local) Flags() string {
	return fmt.Sprintf("--brokers %s --registry-url %s --redis-url %s", strings.Join(l.Connection.Brokers, ","), l.Connection.RegistryURL, l.Connection.RedisURL)
}

// Close ends everything in good order: requests and transactions under way are finished.
func (l *Local) Close() error {
	l.cancel()
	err := l.group.Wait()
	_ = l.listener.Close() // for a start that failed; otherwise it is closed already
	if l.processor != nil {
		l.processor.Close()
	}
	if l.ingest != nil {
		l.ingest.Close()
	}
	return errors.Join(err, l.services.Close())
}

// Sender returns the way in for commands, for [ledgerline.SendAll].
func (l *Local) Sender() *kafka.Sender { return l.ingest.Sender() }
