package kafka

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
	"github.com/ledgerline/ledgerline/schemas"
)

const (
	// measuredEnv holds a measuredConfig: this process is then a worker whose memory is measured.
	measuredEnv = "LEDGERLINE_MEASURED_WORKER"
	// aggregatesEnv is how many aggregates TestMemory makes: with LEDGERLINE_AGGREGATES=1000000 it takes
	// some minutes and holds the worker to its promise.
	aggregatesEnv = "LEDGERLINE_AGGREGATES"
	maxRSS        = 400 // MB
)

type measuredConfig struct{ Brokers, Registry, Redis string }

// measured is what the worker's process says of itself, a line each time.
type measured struct {
	Ready     bool    `json:"ready"`
	Decided   float64 `json:"decided"`
	Recovered float64 `json:"recovered_events"`
	Found     float64 `json:"states_loaded"`
	Saved     float64 `json:"states_saved"`
	Changed   float64 `json:"changed_bytes"`
	Cached    float64 `json:"cached_bytes"`
	// RSS is the resident memory, Peak the most there was, Heap what is live and what waits for collection.
	RSS  int `json:"rss_mb"`
	Peak int `json:"rss_peak_mb"`
	Heap int `json:"heap_mb"`
}

// runMeasured is a process that is one worker and nothing else, until it is interrupted.
func runMeasured() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := measure(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func measure(ctx context.Context) error {
	var c measuredConfig
	if err := json.Unmarshal([]byte(os.Getenv(measuredEnv)), &c); err != nil {
		return err
	}
	orders := []*processing.Aggregate{order.Decider.Erase()}
	registry, err := NewRegistry(RegistryConfig{URL: c.Registry})
	if err != nil {
		return err
	}
	bindings, err := processing.Bindings(schemas.FS, orders)
	if err != nil {
		return err
	}
	codec, err := schemas.NewCodec(registry, bindings...)
	if err != nil {
		return err
	}
	client, err := redisstore.NewClient(redisstore.ClientConfig{URL: c.Redis})
	if err != nil {
		return err
	}
	store, err := redisstore.New(redisstore.Config{Client: client})
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	w, err := NewWorker(WorkerConfig{
		Client: ClientConfig{Brokers: strings.Split(c.Brokers, ",")}, Aggregates: orders, Codec: codec, Group: testGroup, Slot: "slot-0",
		Snapshots: store, Metrics: NewMetrics(reg),
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
		}
		m := measured{}
		select {
		case <-w.Ready():
			m.Ready = true
		default:
		}
		if err := m.gather(reg); err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(m); err != nil {
			return err
		}
	}
}

func (m *measured) gather(reg *prometheus.Registry) error {
	families, err := reg.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			value := s.GetCounter().GetValue() + s.GetGauge().GetValue()
			var label string
			for _, l := range s.GetLabel() {
				label = l.GetValue() // the last by name
			}
			switch f.GetName() + " " + label {
			case "ledgerline_commands_total " + resultAccepted:
				m.Decided = value
			case "ledgerline_recovered_events_total ":
				m.Recovered = value
			case "ledgerline_states_loaded_total " + resultFound:
				m.Found = value
			case "ledgerline_snapshot_states_total ":
				m.Saved = value
			case "ledgerline_state_memory_bytes " + kindChanged:
				m.Changed = value
			case "ledgerline_state_memory_bytes " + kindCached:
				m.Cached = value
			}
		}
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.Heap = int(stats.HeapAlloc >> 20)
	status, err := os.ReadFile("/proc/self/status")
	for line := range bytes.Lines(status) {
		if kb, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			m.RSS = megabytes(kb)
		}
		if kb, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			m.Peak = megabytes(kb)
		}
	}
	return err
}

func megabytes(kb []byte) int {
	n, _ := strconv.Atoi(string(bytes.Fields(kb)[0]))
	return n >> 10
}

// TestMemory has one worker, a process of its own, decide two commands of each of many aggregates, the
// second in another order, and a third of some after a restart.
func TestMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	n := 2000
	if text := os.Getenv(aggregatesEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	f := newFixture(t, 1)
	c := measuredConfig{Brokers: strings.Join(f.client.Brokers, ","), Registry: sharedRegistry, Redis: anyRedis(t)}
	w := f.measuredWorker(c)
	began := time.Now()
	f.sendAll(place, n, rand.Perm(n))
	first := w.until(func(m measured) bool { return m.Decided == float64(n) })
	f.sendAll(pay, n, rand.Perm(n))
	w.until(func(m measured) bool { return m.Decided == float64(2*n) })
	took := time.Since(began)
	second := w.until(func(m measured) bool { return m.Changed == 0 })
	w.stop()
	restarted := time.Now()
	w = f.measuredWorker(c)
	ready := w.until(func(m measured) bool { return m.Ready })
	back := time.Since(restarted)
	f.sendAll(ship, n, rand.Perm(n)[:n/10])
	third := w.until(func(m measured) bool { return m.Decided == float64(n/10) })
	w.stop()
	t.Logf("%d aggregates, %.0f commands/s", n, float64(2*n)/took.Seconds())
	for what, m := range map[string]measured{"placed": first, "paid": second, "restarted": ready, "some shipped": third} {
		text, _ := json.Marshal(m)
		t.Logf("%s: %s", what, text)
		if m.Peak > maxRSS {
			t.Errorf("%s: %d MB resident, want at most %d", what, m.Peak, maxRSS)
		}
	}
	t.Logf("ready %s after the restart", back)
	if ready.Recovered != 0 || third.Found == 0 {
		t.Errorf("%v events read back, %v states loaded", ready.Recovered, third.Found)
	}
}

// anyRedis returns the URL of a Redis that the test has for itself: a real one, if there is one.
func anyRedis(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "redis://" + miniredis.RunT(t).Addr()
	}
	socket := t.TempDir() + "/redis.sock"
	server := exec.CommandContext(t.Context(), path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Wait() })
	t.Cleanup(func() { _ = server.Process.Kill() })
	eventually(t, "Redis listens", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return "unix://" + socket
}

// sendAll sends a command to each of some orders.
func (f *fixture) sendAll(body any, n int, which []int) {
	f.t.Helper()
	one := f.command("x", "x", body)
	for _, i := range which {
		r := raw(fmt.Sprintf("order-%08d-of-%08d", i, n), one.Value, "ce_id", newID(f.t), "content-type", "application/avro")
		f.cl.Produce(f.t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				f.t.Error(err)
			}
		})
	}
	if err := f.cl.Flush(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// measuredWorker is a running process.
type measuredWorker struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	last  measured
}

func (f *fixture) measuredWorker(c measuredConfig) *measuredWorker {
	f.t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		f.t.Fatal(err)
	}
	w := &measuredWorker{t: f.t, cmd: exec.CommandContext(f.t.Context(), os.Args[0])}
	w.cmd.Env = append(os.Environ(), measuredEnv+"="+string(text))
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	w.lines = bufio.NewScanner(out)
	return w
}

// until reads on until the worker says so.
func (w *measuredWorker) until(cond func(measured) bool) measured {
	w.t.Helper()
	for w.lines.Scan() {
		if err := json.Unmarshal(w.lines.Bytes(), &w.last); err != nil {
			w.t.Fatal(err)
		}
		if cond(w.last) {
			return w.last
		}
	}
	w.t.Fatalf("the worker ended: %v, %+v", w.lines.Err(), w.last)
	return measured{}
}

func (w *measuredWorker) stop() {
	w.t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	for w.lines.Scan() { // what it still says
	}
	if err := w.cmd.Wait(); err != nil {
		w.t.Error(err)
	}
}
