package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// shutdownTimeout bounds how long a server waits for the requests that it has taken.
const shutdownTimeout = 10 * time.Second

// serve answers on addr until ctx ends, then finishes what it has taken.
func serve(ctx context.Context, addr string, h http.Handler) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return misuse{fmt.Errorf("listening on %s: %w; set --http-addr or --admin-addr to a free address", addr, err)}
	}
	return Serve(ctx, listener, h)
}

// Serve answers on listener until ctx ends, then finishes the requests that it has taken, for up to
// 10 s, and returns nil.
func Serve(ctx context.Context, listener net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	done := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		done <- server.Shutdown(sctx)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
	}
	if err := <-done; err != nil {
		_ = server.Close() // some request outlasted the bound
	}
	return nil
}

// admin is the handler of the admin address. A process that must be restarted ends by itself, so one
// that answers here is alive: /livez says no more than that.
func admin(reg *prometheus.Registry, ready func() error) http.Handler {
	tellReady(reg, ready)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", metricsHandler(reg))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	return mux
}

// service is a part of an App that serves: [Ingest] or [Processor].
type service interface {
	Register(mux *http.ServeMux)
	Ready() error
	Run(ctx context.Context) error
}

// serveAll serves the API and the admin address while s runs. On the end of ctx the API stops first, so
// that what it has taken is still worked on, then s and the admin address.
func serveAll(ctx context.Context, f listenFlags, reg *prometheus.Registry, s service) error {
	api := http.NewServeMux()
	s.Register(api)
	group, gctx := errgroup.WithContext(context.WithoutCancel(ctx))
	gctx, stopWork := context.WithCancel(gctx)
	defer stopWork()
	apiCtx, stopAPI := context.WithCancel(gctx)
	defer stopAPI()
	defer context.AfterFunc(ctx, stopAPI)()
	group.Go(func() error {
		defer stopWork()
		return serve(apiCtx, f.HTTPAddr, api)
	})
	group.Go(func() error { return serve(gctx, f.AdminAddr, admin(reg, s.Ready)) })
	group.Go(func() error {
		defer stopAPI()
		return s.Run(gctx)
	})
	return group.Wait()
}

// healthcheckVerb asks a running process whether it is ready, for images without a shell.
type healthcheckVerb struct {
	AdminAddr string `name:"admin-addr" env:"LEDGERLINE_ADMIN_ADDR" default:"127.0.0.1:9091" placeholder:"HOST:PORT" help:"Admin address of the process (default ${default})."`
}

// Run exits 0 if the process is ready.
func (v healthcheckVerb) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.AdminAddr+"/readyz", nil)
	if err != nil {
		return misuse{err}
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", v.AdminAddr, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(answer.Body, 1000)) // what there is of it
		return fmt.Errorf("%s is not ready: %s", v.AdminAddr, strings.ReplaceAll(strings.TrimSpace(string(reason)), "\n", "; "))
	}
	return nil
}
