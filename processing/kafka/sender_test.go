package kafka

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
)

func (f *fixture) sender(change ...func(*SenderConfig)) *Sender {
	f.t.Helper()
	cfg := SenderConfig{Client: f.client, Aggregates: []*processing.Aggregate{f.orders}, Codec: f.newCodec(), Source: "sender"}
	for _, c := range change {
		c(&cfg)
	}
	s, err := NewSender(f.t.Context(), cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func (f *fixture) request(id, key string, body any) processing.Request {
	f.t.Helper()
	for _, typ := range f.orders.Commands {
		if typ.Go == reflect.TypeOf(body) {
			return processing.Request{Aggregate: f.orders, AggregateID: key, Type: typ, Data: body, ID: id}
		}
	}
	f.t.Fatalf("%T is no command", body)
	return processing.Request{}
}

func TestSenderGetsOutcomes(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	s := f.sender()
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	one := int64(1)
	q := f.request(newID(t), "o-1", place)
	q.CorrelationID, q.TraceParent = "corr", "trace"
	got, err := s.Send(ctx, q)
	if err != nil || got.Status != processing.Accepted || got.CommandID != q.ID || got.Version != 1 || len(got.Events) != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if p, ok := got.Position(); !ok || p != (processing.Position{Aggregate: "order", Partition: PartitionOf("o-1", testPartitions), Offset: got.CommandOffset}) {
		t.Errorf("position %v, %t", p, ok)
	}
	stored, err := s.Decision(ctx, "order", "o-1", q.ID, time.Time{})
	if err != nil || stored.Version != 1 || !stored.Decision {
		t.Errorf("decision: got %+v, %v", stored, err)
	}
	again, err := s.Send(ctx, q)
	if err != nil || again.Decision || again.Version != 1 || again.CommandOffset != got.CommandOffset {
		t.Errorf("sent again: got %+v, %v", again, err)
	}
	if stored, err = s.Decision(ctx, "order", "o-1", q.ID, time.Time{}); err != nil || !stored.Decision {
		t.Errorf("a repeat replaced the decision: %+v, %v", stored, err)
	}
	reused, err := s.Send(ctx, f.request(q.ID, "o-1", ship))
	if err != nil || reused.Status != processing.Failed || reused.Code != processing.CodeKeyReused {
		t.Errorf("other body: got %+v, %v", reused, err)
	}
	refused, err := s.Send(ctx, f.request(newID(t), "o-1", ship))
	if err != nil || refused.Status != processing.Refused || refused.Code != order.ErrOrderNotPaid.Code {
		t.Errorf("refused: got %+v, %v", refused, err)
	}
	expecting := f.request(newID(t), "o-1", pay)
	expecting.Expected = &one
	if paid, err := s.Send(ctx, expecting); err != nil || paid.Version != 2 {
		t.Errorf("expecting version 1: got %+v, %v", paid, err)
	}
	if _, err := s.Decision(ctx, "order", "o-1", uuid.NewString(), time.Time{}); !errors.Is(err, processing.ErrUndecided) {
		t.Errorf("unknown id: got %v", err)
	}
	o := f.observe()
	o.check(nil, w)
	for _, r := range o.records["order.commands"] {
		if header(r, "ce_id") == q.ID && header(r, "ce_type") == "ledgerline.order.PlaceOrder" {
			wantHeaders(t, r, map[string]string{
				"ce_specversion": "1.0", "ce_id": q.ID, "ce_type": "ledgerline.order.PlaceOrder", "ce_source": "sender", "ce_subject": "o-1",
				"ce_time": "*", "content-type": "application/avro", "ce_correlationid": "corr", "traceparent": "trace",
			})
		}
	}
}

// Whoever asks is told, of commands that others took and decided, and after all of them have ended.
func TestDecisionOfOthers(t *testing.T) {
	f := newFixture(t, 1)
	w := f.worker("slot-0").waitReady()
	o := f.observe()
	timed, timeless, bad := f.command("o-1", newID(t), place), f.command("o-1", uuid.NewString(), pay), raw("o-1", []byte("not a command"), "ce_id", newID(t))
	f.send(timed, timeless, bad)
	for range 3 {
		f.send(f.flow("more-", 10)...) // so that there is something to pass over
	}
	o.outcomes(93)
	o.check(nil, w)
	w.stop()
	s := f.sender()
	defer s.Close()
	now := time.Now()
	for _, row := range []struct {
		name, id string
		since    time.Time
		want     processing.Status // "" if it cannot be known
	}{
		{"by the time in its id", idOf(t, timed), time.Time{}, processing.Accepted},
		{"by the last hour", idOf(t, timeless), time.Time{}, processing.Accepted},
		{"by when it was sent", idOf(t, timeless), now, processing.Accepted},
		{"in upper case", strings.ToUpper(idOf(t, timed)), now, processing.Accepted},
		{"one that failed", idOf(t, bad), now, processing.Failed},
		{"one that was sent before", idOf(t, timed), now.Add(10 * time.Minute), ""},
		{"one that nobody sent", newID(t), time.Time{}, ""},
	} {
		got, err := s.Decision(t.Context(), "order", "o-1", row.id, row.since)
		switch {
		case row.want == "" && !errors.Is(err, processing.ErrUndecided):
			t.Errorf("%s: got %+v, %v", row.name, got, err)
		case row.want != "" && (err != nil || got.Status != row.want || got.AggregateID != "o-1"):
			t.Errorf("%s: got %+v, %v", row.name, got, err)
		}
	}
	if got, err := s.Decision(t.Context(), "order", "o-2", idOf(t, timed), now); !errors.Is(err, processing.ErrUndecided) {
		t.Errorf("of another aggregate: got %+v, %v", got, err)
	}
}

func TestSenderWithoutAWorker(t *testing.T) {
	f := newFixture(t, 1)
	s := f.sender(func(c *SenderConfig) { c.MaxWaiting = 2 })
	q := f.request(newID(t), "o-1", place)
	wait, err := s.Start(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(t.Context(), q); !errors.Is(err, processing.ErrInProgress) {
		t.Errorf("same id: got %v, want ErrInProgress", err)
	}
	other := f.request(newID(t), "o-2", place)
	waitOther, err := s.Start(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(t.Context(), f.request(newID(t), "o-3", place)); !errors.Is(err, processing.ErrBacklogFull) {
		t.Errorf("third: got %v, want ErrBacklogFull", err)
	}
	o := f.observe("order.commands")
	o.until("both commands", func() bool { return len(o.records["order.commands"]) == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := wait(ctx); !errors.Is(err, processing.ErrUndecided) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrUndecided at the deadline", err)
	}
	if _, err := s.Decision(t.Context(), "order", "o-1", q.ID, time.Time{}); !errors.Is(err, processing.ErrUndecided) {
		t.Errorf("decision: got %v, want ErrUndecided", err)
	}
	// A worker starts: what was sent before is decided, and can be asked for.
	w := f.worker("slot-0").waitReady()
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := waitOther(ctx); err != nil || got.Status != processing.Accepted {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := s.Send(ctx, q); err != nil || got.Status != processing.Accepted || got.Version != 1 {
		t.Errorf("sent again: got %+v, %v", got, err)
	}
	if got, err := s.Decision(ctx, "order", "o-1", q.ID, time.Time{}); err != nil || got.Status != processing.Accepted || !got.Decision {
		t.Errorf("decision: got %+v, %v", got, err)
	}
	w.stop()

	last, err := s.Start(t.Context(), f.request(newID(t), "o-1", pay))
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := last(context.Background())
		answered <- err
	}()
	o.until("all commands", func() bool { return len(o.records["order.commands"]) == 4 })
	s.Close()
	if err := <-answered; !errors.Is(err, processing.ErrUndecided) && !errors.Is(err, processing.ErrUnconfirmed) {
		t.Errorf("closed: got %v", err)
	}
}

// Two processes send other bodies under one id: each gets the answer to what it sent itself.
func TestSenderGetsTheAnswerToItsOwnCommand(t *testing.T) {
	f := newFixture(t, 1)
	first, second := f.sender(), f.sender()
	defer first.Close()
	defer second.Close()
	id := newID(t)
	waitFirst, err := first.Start(t.Context(), f.request(id, "o-1", place))
	if err != nil {
		t.Fatal(err)
	}
	o := f.observe("order.commands")
	o.until("the first", func() bool { return len(o.records["order.commands"]) == 1 })
	waitSecond, err := second.Start(t.Context(), f.request(id, "o-1", order.CancelOrder{Reason: "r"}))
	if err != nil {
		t.Fatal(err)
	}
	o.until("the second", func() bool { return len(o.records["order.commands"]) == 2 })
	w := f.worker("slot-0").waitReady()
	defer w.stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := waitFirst(ctx); err != nil || got.Status != processing.Accepted {
		t.Errorf("first: got %s %s, %v", got.Status, got.Code, err)
	}
	if got, err := waitSecond(ctx); err != nil || got.Code != processing.CodeKeyReused {
		t.Errorf("second: got %s %s, %v; want %s", got.Status, got.Code, err, processing.CodeKeyReused)
	}
}

func TestSenderUnconfirmed(t *testing.T) {
	f := newFixture(t, 1)
	s := f.sender()
	defer s.Close()
	refused := f.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "order.commands", Err: kerr.InvalidRecord})
	if _, err := s.Send(t.Context(), f.request(newID(t), "o-1", place)); !errors.Is(err, processing.ErrUnconfirmed) {
		t.Errorf("got %v, want ErrUnconfirmed", err)
	}
	if refused.Hits() != 1 {
		t.Errorf("the fault struck %d times", refused.Hits())
	}
	// An id whose sending failed can be used again.
	w := f.worker("slot-0").waitReady()
	defer w.stop()
	if got, err := s.Send(t.Context(), f.request(newID(t), "o-1", place)); err != nil || got.Status != processing.Accepted {
		t.Errorf("got %+v, %v", got, err)
	}
}
