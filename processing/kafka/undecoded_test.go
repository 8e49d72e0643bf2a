package kafka

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/schemas"
)

// gate stands before the registry and answers for one schema id in its own way, until it is opened.
type gate struct {
	url    string
	opened chan struct{}
	open   func()
}

type answering = func(g *gate, w http.ResponseWriter, r *http.Request) (pass bool)

// silent answers nothing, away that there is no registry, unlisted after all patience that there is no such
// schema.
func silent(g *gate, _ http.ResponseWriter, r *http.Request) bool {
	select {
	case <-g.opened:
		return true
	case <-r.Context().Done():
		return false
	}
}

func away(_ *gate, w http.ResponseWriter, _ *http.Request) bool {
	w.WriteHeader(http.StatusServiceUnavailable)
	return false
}

func unlisted(_ *gate, w http.ResponseWriter, r *http.Request) bool {
	select {
	case <-time.After(lookupPatience * 3 / 2):
	case <-r.Context().Done():
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte(`{"error_code":40403,"message":"Schema not found"}`))
	return false
}

func (f *fixture) gate(id int, answer answering) *gate {
	f.t.Helper()
	target, err := url.Parse(sharedRegistry)
	if err != nil {
		f.t.Fatal(err)
	}
	g := &gate{opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	proxy, transport := httputil.NewSingleHostReverseProxy(target), &http.Transport{}
	proxy.Transport = transport
	f.t.Cleanup(transport.CloseIdleConnections)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/schemas/ids/"+strconv.Itoa(id) {
			select {
			case <-g.opened:
			default:
				if !answer(g, w, r) {
					return
				}
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	f.t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// schemaID is the id of the newest version of a type.
func (f *fixture) schemaID(topic, name string) int {
	f.t.Helper()
	texts, err := loadOrderSchemas()
	if err != nil {
		f.t.Fatal(err)
	}
	id, err := f.registry.SchemaID(f.t.Context(), schemas.Subject(topic, texts[name].FullName()), texts[name].Text())
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// behind has a worker ask the registry through a gate.
func (f *fixture) behind(g *gate) func(*WorkerConfig) {
	through := *f
	through.registry = openRegistry(f.t, g.url)
	return func(c *WorkerConfig) { c.Codec = through.newCodec() }
}

const unknownID = 65535

func framed(key string) *kgo.Record { return raw(key, []byte("\x00\x00\x00\xff\xffbody")) }

// A command whose schema nobody tells holds what comes after it in its partition, and nothing else.
func TestUnknownSchemaHoldsItsPartition(t *testing.T) {
	for name, answer := range map[string]answering{"silent": silent, "away": away} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			g := f.gate(f.schemaID("order.commands", "ReceivePayment"), answer)
			held := orderIn(0, "held-")
			sent := []*kgo.Record{f.command(held, newID(t), place), f.command(held, newID(t), pay), f.command(held, newID(t), ship)}
			f.send(sent...) // one batch
			w := f.worker("slot-0", f.behind(g)).waitReady()
			o := f.observe()
			for i := range 30 {
				r := f.command(orderIn(1+int32(i)%3, "o-"+strconv.Itoa(i)+"-"), newID(t), place)
				f.send(r)
				sent = append(sent, r)
			}
			if got := accepted(o.outcomes(31)); got != 31 {
				t.Errorf("%d accepted meanwhile, want 31", got)
			}
			eventually(t, "the group is at the second command", func() bool {
				fetched, err := f.adm.FetchOffsets(t.Context(), testGroup)
				at, ok := fetched.Lookup("order.commands", 0)
				return err == nil && ok && at.At == 1
			})
			if name == "away" {
				w.awaitTrouble("order.commands/0@1", "schema registry does not answer")
				w.log.wait(t, "commands wait for the schema registry", "order.commands/0@1")
			}
			more := f.command(orderIn(1, "more-"), newID(t), place)
			f.send(more)
			if n := len(o.outcomes(32)); n != 32 {
				t.Errorf("%d outcomes, want 32: the held partition went on", n)
			}
			g.open()
			if got := accepted(o.outcomes(34)); got != 34 {
				t.Errorf("%d of 34 accepted", got)
			}
			w.awaitTrouble()
			o.check(append(sent, more), w)
		})
	}
}

// That there is no such schema makes a dead letter, also if it is said late.
func TestUnlistedSchemaIsADeadLetter(t *testing.T) {
	f := newFixture(t, 1)
	id := orderIn(0, "o-")
	f.send(framed(id), f.command(id, newID(t), place))
	w := f.worker("slot-0", f.behind(f.gate(unknownID, unlisted)))
	o := f.observe()
	o.until("a dead letter", func() bool { return len(o.records["order.dead-letters"]) == 1 })
	outcomes := o.outcomes(2)
	if got := accepted(outcomes); got != 1 || len(outcomes) != 2 {
		t.Errorf("%d of %d accepted, want the second of 2", got, len(outcomes))
	}
	w.stop()
}

// An event that was read back and needs a schema holds its partition alone.
func TestUnknownSchemaHoldsARecovery(t *testing.T) {
	f := newFixture(t, 1)
	first := f.worker("slot-0").waitReady()
	held := orderIn(0, "held-")
	sent := []*kgo.Record{f.command(held, newID(t), place), f.command(held, newID(t), pay)}
	f.send(sent...)
	o := f.observe()
	o.outcomes(2)
	first.stop()

	g := f.gate(f.schemaID("order.events", "PaymentReceived"), away)
	w := f.worker("slot-0", f.behind(g)).waitReady()
	sent = append(sent, f.command(held, newID(t), ship), f.command(orderIn(1, "o-"), newID(t), place))
	f.send(sent[2:]...)
	if n := len(o.outcomes(3)); n != 3 {
		t.Errorf("%d outcomes, want 3", n)
	}
	w.awaitTrouble("order.events/0@", "schema registry does not answer")
	g.open()
	if got := accepted(o.outcomes(4)); got != 4 {
		t.Errorf("%d of 4 accepted", got)
	}
	o.check(sent, w)
}

// What is written can be read by a codec that the registry told of nothing else.
func TestWrittenSchemasAreKnown(t *testing.T) {
	f := newFixture(t, 1)
	g := f.gate(f.schemaID("order.commands", "PlaceOrder"), away)
	var cfg WorkerConfig
	f.behind(g)(&cfg)
	value, err := cfg.Codec.Encode(t.Context(), "order.commands", place)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Codec.Decode(t.Context(), value, time.Time{}); err != nil {
		t.Error(err)
	}
}

// consumeBehind has a consumer ask the registry through a gate.
func (f *fixture) consumeBehind(g *gate, s *shelf) (*keeper, func()) {
	f.registry = openRegistry(f.t, g.url)
	return f.consume(s)
}

func TestConsumerHoldsAPartitionForItsSchema(t *testing.T) {
	for name, answer := range map[string]answering{"silent": silent, "away": away} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			w := f.worker("slot-0").waitReady()
			var sent []*kgo.Record
			for i, body := range []any{place, pay, ship} {
				sent = append(sent, f.command(orderIn(0, "held-"), newID(t), body), f.command(orderIn(int32(i)+1, "o-"), newID(t), place))
			}
			f.send(sent...)
			f.observe().outcomes(6)
			w.stop()
			g := f.gate(f.schemaID("order.events", "PaymentReceived"), answer)
			s := newShelf()
			k, stop := f.consumeBehind(g, s)
			s.until(t, "what need not wait", func() bool { return len(s.events) == 4 })
			if name == "away" {
				s.until(t, "trouble", func() bool { return len(k.trouble) > 0 })
			}
			g.open()
			s.until(t, "all events", func() bool { return len(s.events) == 6 })
			if name == "away" {
				s.until(t, "the end of trouble", func() bool { return k.trouble[len(k.trouble)-1] == nil })
				if !errors.Is(k.trouble[0], errUnready) || !strings.Contains(k.trouble[0].Error(), "order.events/0@") {
					t.Errorf("trouble: %v", k.trouble[0])
				}
			}
			stop()
			versions := map[string]int64{}
			for _, e := range s.events {
				if versions[e.AggregateID]++; e.Version != versions[e.AggregateID] {
					t.Errorf("%s: version %d, want %d", e.AggregateID, e.Version, versions[e.AggregateID])
				}
			}
			if s.double > 0 {
				t.Errorf("%d runs did not begin where the one before ended", s.double)
			}
		})
	}
}

// That there is no such schema is said late, and still the event is not waited for any more.
func TestConsumerIsToldLateOfNoSchema(t *testing.T) {
	f := newFixture(t, 1)
	n, _ := f.decided("o-", 4)
	broken := framed("o-0")
	broken.Topic, broken.Partition = "order.events", PartitionOf("o-0", testPartitions)
	broken.Headers = []kgo.RecordHeader{{Key: headerTime, Value: []byte("2026-01-01T00:00:00Z")}}
	if err := f.manual.ProduceSync(t.Context(), broken).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s := newShelf()
	_, stop := f.consumeBehind(f.gate(unknownID, unlisted), s)
	s.until(t, "all events", func() bool { return len(s.events) == n+1 })
	stop()
	for _, e := range s.events {
		if bad := e.Offset == broken.Offset && e.Partition == broken.Partition; (e.Undecodable != nil) != bad {
			t.Errorf("got %+v", e)
		}
	}
}
