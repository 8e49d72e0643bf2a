package ledgerline

import (
	"context"
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newRegistry returns the metrics of a process: its own, not those of every library that it links.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	module, revision := buildInfo()
	promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{
		Name: "ledgerline_build_info", Help: "1, with the version, revision and Go version that the binary was built from.",
	}, []string{"version", "revision", "goversion"}).WithLabelValues(module, revision, runtime.Version()).Set(1)
	return reg
}

// observed returns the connection of a binary that serves, with metrics and spans of its own, and how to
// end these.
func (f connectFlags) observed(ctx context.Context, app App, p Process, binary string) (Connection, *prometheus.Registry, func(), error) {
	conn, reg := f.connection(p), newRegistry()
	tracing, stop, err := startTracing(ctx, app.Name+"."+binary, conn.Log)
	conn.Metrics, conn.Tracing = reg, tracing
	return conn, reg, stop, err
}

// tellReady adds whether the process is ready.
func tellReady(reg prometheus.Registerer, ready func() error) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ledgerline_ready", Help: "1 if /readyz answers ok, else 0; it says why.",
	}, func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	})
}

func metricsHandler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg})
}

// buildInfo returns the main module's version and the revision that it was built from, "unknown" where
// the build did not say.
func buildInfo() (module, revision string) {
	module, revision = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return module, revision
	}
	if info.Main.Version != "" {
		module = info.Main.Version
	}
	if buildVersion != "" {
		module = buildVersion
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return module, revision
}
