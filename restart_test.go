package ledgerline_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/processing/embedded"
)

// stopping is how long a binary may take to end after Ctrl-C.
const stopping = 5 * time.Second

// served is a binary that serves, in a goroutine.
type served struct {
	t           *testing.T
	name        string
	http, admin string
	interrupt   context.CancelFunc
	ended       chan ended
	told        *api // the admin address, once it was asked
}

// ask asks the admin address.
func (s *served) ask(path string) answer {
	s.t.Helper()
	if s.told == nil {
		s.told = newAPI(s.t, "http://"+s.admin)
	}
	return s.told.get(path)
}

// serve starts a binary and waits until it is ready.
func serve(t *testing.T, name string, main program, conn ledgerline.Connection, more ...string) *served {
	t.Helper()
	s := begin(t, name, main, conn, more...)
	await(t, name+" ready", func() error {
		select {
		case e := <-s.ended:
			s.ended <- e
			t.Fatalf("%s ended: exit %d: %s", name, e.code, e.stderr)
		default:
		}
		if p := healthcheck(main, s.admin); p.code != ledgerline.ExitOK {
			return fmt.Errorf("healthcheck: %s", p.stderr)
		}
		return nil
	})
	return s
}

// begin starts a binary.
func begin(t *testing.T, name string, main program, conn ledgerline.Connection, more ...string) *served {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.Background())
	s := &served{t: t, name: name, http: freeAddr(t), admin: freeAddr(t), interrupt: interrupt, ended: make(chan ended, 1)}
	args := append([]string{"serve", "--http-addr", s.http, "--admin-addr", s.admin, "--log-level", "warn"}, connectArgs(conn, more...)...)
	go func() { s.ended <- runWith(ctx, main, nil, args...) }()
	t.Cleanup(func() { s.stop() })
	return s
}

func healthcheck(main program, admin string) ended {
	return runWith(context.Background(), main, nil, "healthcheck", "--admin-addr", admin)
}

// stop is Ctrl-C. It may be called again.
func (s *served) stop() {
	s.t.Helper()
	began := time.Now()
	s.interrupt()
	e := <-s.ended
	s.ended <- e
	if took := time.Since(began); took > stopping {
		s.t.Errorf("%s took %s to stop", s.name, took)
	}
	if e.code != ledgerline.ExitOK {
		s.t.Errorf("%s: exit %d: %s", s.name, e.code, e.stderr)
	}
}

// startEmbedded starts services that keep what they hold in dir.
func startEmbedded(t *testing.T, dir string) (*embedded.Services, ledgerline.Connection) {
	t.Helper()
	s, err := embedded.Start(embedded.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the services: %v", err)
		}
	})
	return s, ledgerline.Connection{Brokers: s.Brokers, RegistryURL: s.RegistryURL, RedisURL: s.RedisURL}
}

// TestRestartKeepsWhatWasAnswered stops each binary while requests are under way, and starts it again.
// What was answered is there; what was not is sent again under its key; nothing is decided twice.
func TestRestartKeepsWhatWasAnswered(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, t.TempDir())
	if p := run(t, ledgerline.RunProvision, conn, "apply", "--partitions", "4"); p.code != ledgerline.ExitOK {
		t.Fatalf("provision: %s%s", p.stdout, p.stderr)
	}
	processor := serve(t, "processor", ledgerline.RunProcessor, conn)
	queries := newAPI(t, "http://"+processor.http)
	log := newPlain(t, conn)

	answered, unanswered := map[string]string{}, map[string]bool{} // order id → position
	const customers = 4
	for round := range 3 {
		ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
		commands := newAPI(t, "http://"+ingest.http)
		for id := range unanswered {
			a := commands.post("/v1/orders/"+id+"/place-order", placing("c-"+id[len(id)-1:], 10), "Idempotency-Key", "key-"+id)
			if a.Status != http.StatusCreated {
				t.Errorf("round %d: %s sent again: %d %s", round, id, a.Status, a.Body)
			}
			answered[id] = a.position()
		}
		clear(unanswered)
		var mu sync.Mutex
		var clients sync.WaitGroup
		const enough = 30
		got := 0
		stop := make(chan struct{})
		for n := range customers {
			clients.Go(func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("o-%d-%d-%d", round, i, n)
					a, err := commands.try(http.MethodPost, "/v1/orders/"+id+"/place-order", placing(fmt.Sprintf("c-%d", n), 10), "Idempotency-Key", "key-"+id)
					mu.Lock()
					if err == nil && a.Status == http.StatusCreated {
						answered[id] = a.position()
						if got++; got == enough {
							close(stop)
						}
					} else {
						unanswered[id] = true
					}
					mu.Unlock()
					if err != nil || a.Status != http.StatusCreated {
						return
					}
				}
			})
		}
		<-stop
		ingest.stop()
		clients.Wait()
		if len(unanswered) != customers {
			t.Errorf("round %d: %d clients were cut off, want all", round, len(unanswered))
		}
		if p := healthcheck(ledgerline.RunIngest, ingest.admin); p.code != ledgerline.ExitFailed {
			t.Errorf("healthcheck of what has ended: exit %d", p.code)
		}
	}

	checkAnswered := func(when string) {
		t.Helper()
		for id, position := range answered {
			a := queries.get("/v1/orders/"+id, "Ledgerline-Position", position)
			if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("ETag"), `"1-`) {
				t.Errorf("%s: order %s: %d %s", when, id, a.Status, a.Body)
			}
		}
	}
	checkAnswered("with the processor of before")
	processor.stop()
	processor = serve(t, "processor", ledgerline.RunProcessor, conn)
	queries = newAPI(t, "http://"+processor.http)
	checkAnswered("after the processor's restart")

	// What the last round was not answered may be decided or not, but not twice.
	decided := len(answered)
	events := log.events()
	for id := range unanswered {
		decided += len(events[id])
	}
	checkOnce(t, log, decided)
}

// checkOnce holds the log to one decision on each command and one event of each order.
func checkOnce(t *testing.T, p *plain, orders int) {
	t.Helper()
	events := p.events()
	for id, types := range events {
		if len(types) != 1 {
			t.Errorf("order %s has events %v, want one", id, types)
		}
	}
	decisions := p.decisions()
	for command, n := range decisions {
		if n != 1 {
			t.Errorf("there are %d decisions on %s, want one", n, command)
		}
	}
	if len(events) != orders || len(decisions) != orders {
		t.Errorf("the log has %d orders and %d decisions, want %d of each", len(events), len(decisions), orders)
	}
}

// TestAdminAddress asks what a binary tells of itself.
func TestAdminAddress(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	if p := run(t, ledgerline.RunProvision, conn, "apply"); p.code != ledgerline.ExitOK {
		t.Fatalf("provision: %s%s", p.stdout, p.stderr)
	}
	ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	processor := serve(t, "processor", ledgerline.RunProcessor, conn)
	for _, s := range []*served{ingest, processor} {
		c := newAPI(t, "http://"+s.admin)
		for path, want := range map[string]string{"/livez": "ok\n", "/readyz": "ok\n", "/metrics": "go_goroutines", "/debug/pprof/": "goroutine"} {
			if a := c.get(path); a.Status != http.StatusOK || !strings.Contains(string(a.Body), want) {
				t.Errorf("%s %s: %d %s", s.name, path, a.Status, a.Body)
			}
		}
	}
	// Two processes of one name: the one that comes later takes the slot, the other ends and says why.
	other := serve(t, "other ingest", ledgerline.RunIngest, conn, "--instance", "one")
	select {
	case e := <-ingest.ended:
		ingest.ended <- ended{} // so that stop finds it ended
		if e.code != ledgerline.ExitFailed || !strings.Contains(e.stderr, "--instance") {
			t.Errorf("exit %d: %s", e.code, e.stderr)
		}
	case <-time.After(patience):
		t.Error("the first process of two of one name goes on")
	}
	// An address that is taken.
	p := runWith(t.Context(), ledgerline.RunProcessor, nil, append([]string{"serve", "--http-addr", other.http, "--admin-addr", "127.0.0.1:0"}, connectArgs(conn)...)...)
	if p.code != ledgerline.ExitMisuse || !strings.Contains(p.stderr, "--http-addr") {
		t.Errorf("an address that is taken: exit %d: %s", p.code, p.stderr)
	}
}
