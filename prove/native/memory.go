package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/prove/process"
)

// memory measures one ingest process with one worker that decides commands of many aggregates: two of each,
// in two orders, and after a restart a third one of one in ten, which is accepted only if the state is right.
// What it needs is read from outside: resident memory of the kernel, the live heap of the Go runtime after
// a collection, aggregates and command ids from the log.
type memory struct {
	r       *run
	counter *counter
	slot    [2]int // ports of HTTP and administration
	process *process.Process
	found   history.Memory
}

func (c config) memory(ctx context.Context) (found any, err error) {
	r := &run{cfg: c, began: time.Now()}
	r.cfg.workers = 1
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the run's folder: %w", err)
	}
	if err := process.Build(ctx, c.dir, "ingest", "provision"); err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if r.stack, err = stack.Start(ctx, stack.Config{Provider: stack.Native, Dir: filepath.Join(c.dir, "stack"), Log: log}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stack.Close(), os.RemoveAll(filepath.Join(c.dir, "stack"))) }()
	if err := process.Provision(ctx, c.dir, c.partitions, r.connect()); err != nil {
		return nil, err
	}
	ports, release, err := stack.ReservePorts(2)
	if err != nil {
		return nil, err
	}
	defer release()
	k, err := newKafka(ctx, r, true)
	if err != nil {
		return nil, err
	}
	defer k.cl.Close()
	m := &memory{r: r, slot: [2]int(ports)}
	if m.counter, err = newCounter(r); err != nil {
		return nil, err
	}
	defer m.counter.cl.Close()
	defer func() {
		if m.process != nil {
			m.process.End()
		}
	}()
	if err := m.all(ctx, k); err != nil {
		return nil, err
	}
	return m.found, nil
}

// all is the course of the measurement.
func (m *memory) all(ctx context.Context, k *byKafka) error {
	n := m.r.cfg.aggregates
	if err := m.begin(ctx); err != nil {
		return err
	}
	for version := range int64(2) {
		if err := m.decide(ctx, k, n, version+1, command{kind: "Add", amount: version + 1, parts: 1}); err != nil {
			return err
		}
	}
	if err := m.end(ctx); err != nil {
		return err
	}
	m.found.IDs = len(m.counter.ids) // of which the next life knows at its start
	if err := m.begin(ctx); err != nil {
		return err
	}
	if err := m.decide(ctx, k, n/10, 3, command{kind: "Take", amount: 3}); err != nil {
		return err
	}
	m.found.Aggregates = len(m.counter.aggregates)
	return m.end(ctx)
}

// begin starts the process and measures what it has on its heap before it decides anything.
func (m *memory) begin(ctx context.Context) error {
	var err error
	if m.process, err = m.r.launch(filepath.Join(m.r.cfg.dir, "ingest.log"), "w1", m.slot[0], m.slot[1]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for began := time.Now(); ; {
		if _, err = m.get(ctx, "/readyz"); err == nil {
			m.r.say("ready after %s", time.Since(began).Round(time.Millisecond))
			break
		}
		if !m.process.Alive() || !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("ingest is not ready: %w: %s", err, m.process.LastLine())
		}
	}
	for range 3 { // what pools hold goes with the second
		if _, err := m.get(ctx, "/debug/pprof/heap?gc=1"); err != nil {
			return err
		}
	}
	text, err := m.get(ctx, "/metrics")
	if err != nil {
		return err
	}
	heap, err := process.Figure(strings.NewReader(text), "go_memstats_heap_alloc_bytes ")
	if err != nil {
		return err
	}
	m.found.Lives = append(m.found.Lives, history.Life{HeapAtStart: int64(heap)})
	m.r.say("%.1f MB on the heap", heap/1e6)
	return nil
}

// end ends the process in good order, after a look at the most memory that it had.
func (m *memory) end(ctx context.Context) error {
	peak, err := process.PeakRSS(m.process.Cmd.Process.Pid)
	if err != nil {
		return err
	}
	m.found.Lives[len(m.found.Lives)-1].PeakRSS = peak
	m.r.say("%d MB resident at most", peak>>20)
	m.process.Signal(syscall.SIGTERM)
	if !m.process.Within(time.Minute) {
		return errors.New("ingest did not end within a minute of SIGTERM")
	}
	if code := m.process.Cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("ingest ended with %d: %s", code, m.process.LastLine())
	}
	return ctx.Err()
}

// decide sends a command to each of some aggregates, in an order of chance, and waits until all are accepted.
func (m *memory) decide(ctx context.Context, k *byKafka, n int, version int64, c command) error {
	ctx, cancel := context.WithTimeout(ctx, patience+time.Duration(n)*time.Millisecond)
	defer cancel()
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- m.counter.read(ctx, n, version) }()
	for _, i := range rand.Perm(m.r.cfg.aggregates)[:n] {
		c.tally, c.id = fmt.Sprintf("tally-%08d", i), uuid.Must(uuid.NewV7()).String()
		k.cl.Produce(ctx, k.record(c), func(_ *kgo.Record, err error) {
			if err != nil { // the counter waits in vain for what is not sent
				m.r.say("sending a command: %v", err)
				cancel()
			}
		})
	}
	err := <-ended
	m.r.say("%d commands, %.0f/s", n, float64(n)/time.Since(began).Seconds())
	return err
}

// counter reads events and outcomes and counts what there is in them.
type counter struct {
	cl              *kgo.Client
	aggregates, ids map[string]struct{}
	accepted        int
}

func newCounter(r *run) (*counter, error) {
	cl, err := r.stack.Kafka(kgo.ConsumeTopics("tally.events", outcomesTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("making the counter: %w", err)
	}
	return &counter{cl: cl, aggregates: map[string]struct{}{}, ids: map[string]struct{}{}}, nil
}

// read goes on until so many commands are accepted, each with its aggregate at this version.
func (c *counter) read(ctx context.Context, n int, version int64) error {
	var wrong error
	for target := c.accepted + n; c.accepted < target && wrong == nil; {
		fetches := c.cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d commands are not decided: %w", target-c.accepted, n, ctx.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Topic != outcomesTopic {
				c.aggregates[string(r.Key)] = struct{}{}
				return
			}
			o, err := readOutcome(r)
			if err == nil && (o.result != history.Accepted || o.version != version) {
				err = fmt.Errorf("%s %s, version %d, want accepted, version %d", o.result, o.code, o.version, version)
			}
			if err != nil && wrong == nil {
				wrong = fmt.Errorf("outcome %s/%d@%d: %w", r.Topic, r.Partition, r.Offset, err)
			}
			c.ids[o.commandID] = struct{}{}
			c.accepted++
		})
	}
	return wrong
}

func (m *memory) get(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+process.Local(m.slot[1])+path, nil)
	if err != nil {
		return "", fmt.Errorf("asking ingest for %s: %w", path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking ingest for %s: %w", path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err != nil {
		return "", fmt.Errorf("asking ingest for %s: %w", path, err)
	}
	return string(text), nil
}
