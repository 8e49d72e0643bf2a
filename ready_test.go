package ledgerline_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/processing/embedded"
)

// noticed is how long it may take until /readyz knows that a service has gone, on a busy machine.
const noticed = 15 * time.Second

// proxy stands before a service and can be cut off: then connections are closed as soon as they are made.
type proxy struct {
	listener net.Listener
	to       string
	done     sync.WaitGroup

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, to: to, conns: map[net.Conn]bool{}}
	p.done.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			p.done.Go(func() { p.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut(true)
		p.done.Wait()
	})
	return p
}

func (p *proxy) pass(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	p.mu.Lock()
	if p.down {
		p.mu.Unlock()
		return
	}
	p.conns[c], p.conns[up] = true, true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
		delete(p.conns, up)
	}()
	p.done.Go(func() {
		_, _ = io.Copy(up, c)
		_ = up.Close()
	})
	_, _ = io.Copy(c, up)
}

func (p *proxy) cut(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

// readyz returns what a binary answers there: one reason a line, none if it is ready.
func (s *served) readyz() []string {
	a := s.ask("/readyz")
	if a.Status == http.StatusOK {
		return nil
	}
	return lines(string(a.Body))
}

// says waits until a binary says that it is not ready for that reason, or, for "", that it is.
func (s *served) says(reason string) {
	s.t.Helper()
	began := time.Now()
	await(s.t, s.name+": "+reason, func() error {
		why := s.readyz()
		if reason == "" && len(why) > 0 || reason != "" && !strings.Contains(strings.Join(why, "\n"), reason) {
			return fmt.Errorf("it says %q", why)
		}
		return nil
	})
	if took := time.Since(began); reason != "" && took > noticed {
		s.t.Errorf("%s took %s to say %q", s.name, took, reason)
	}
	if a := s.ask("/livez"); a.Status != http.StatusOK {
		s.t.Errorf("%s: /livez: %d", s.name, a.Status)
	}
	if got := s.scrape().series("ledgerline_ready")[""]; reason != "" && got != 0 {
		s.t.Errorf("%s: ledgerline_ready is %v", s.name, got)
	}
}

// TestReadyz takes away each service in turn: those who need it say so, and are ready again afterwards.
func TestReadyz(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broker, conn := startEmbedded(t, dir)
	_, behind := startEmbedded(t, "")
	address := func(raw string) string {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return u.Host
	}
	redis, registry := newProxy(t, address(behind.RedisURL)), newProxy(t, address(behind.RegistryURL))
	conn.RedisURL, conn.RegistryURL = "redis://"+redis.listener.Addr().String(), "http://"+registry.listener.Addr().String()
	provision(t, conn, 2)
	ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	processor := serve(t, "processor", ledgerline.RunProcessor, conn)

	redis.cut(true)
	processor.says("redis does not answer")
	ingest.says("") // it needs none
	redis.cut(false)
	processor.says("")

	// A registry is needed only for a schema that is not known yet.
	commands := newAPI(t, "http://"+ingest.http)
	commands.post("/v1/orders/o-0/place-order", placing("ada", 10))
	registry.cut(true)
	if a := commands.post("/v1/orders/o-1/place-order", placing("ada", 10)); a.Status != http.StatusCreated {
		t.Errorf("a command while the registry is down: %d %s", a.Status, a.Body)
	}
	ingest.says("")
	p := newPlain(t, conn)
	p.append(&kgo.Record{Topic: "order.commands", Key: []byte("o-2"), Value: []byte("\x00\x00\x00\xff\xffunknown")})
	ingest.says("schema registry does not answer")
	registry.cut(false)
	ingest.says("")

	_, port, _ := net.SplitHostPort(conn.Brokers[0])
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*served{ingest, processor} {
		s.says("the brokers [" + conn.Brokers[0] + "] do not answer")
		if h := healthcheck(map[*served]program{ingest: ledgerline.RunIngest, processor: ledgerline.RunProcessor}[s], s.admin); h.code != ledgerline.ExitFailed || len(lines(h.stderr)) != 1 {
			t.Errorf("%s: healthcheck: exit %d: %s", s.name, h.code, h.stderr)
		}
	}
	var again *embedded.Services
	await(t, "a broker at the old address", func() error {
		if again, err = embedded.Start(embedded.Config{DataDir: dir, KafkaPort: number}); err != nil {
			return err
		}
		if again.Brokers[0] != conn.Brokers[0] {
			return errors.Join(fmt.Errorf("it is at %s", again.Brokers[0]), again.Close())
		}
		return nil
	})
	t.Cleanup(func() {
		ingest.stop()
		processor.stop()
		if err := again.Close(); err != nil {
			t.Errorf("closing the broker: %v", err)
		}
	})
	ingest.says("")
	processor.says("")
	if a := commands.post("/v1/orders/o-3/place-order", placing("ada", 10)); a.Status != http.StatusCreated {
		t.Errorf("a command after all: %d %s", a.Status, a.Body)
	}
	for _, s := range []*served{ingest, processor} {
		s.stop()
		e := <-s.ended
		s.ended <- e
		if n := strings.Count(e.stderr, "unable to open connection"); n == 0 || n > 4 {
			t.Errorf("%s said %d times that the broker is down:\n%s", s.name, n, e.stderr)
		}
	}
}
