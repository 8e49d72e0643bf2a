package suite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

// traffic is clients that place orders while something happens. Whoever gets no answer asks again with the
// same key, as a client should.
type traffic struct {
	u      *suite
	stop   context.CancelFunc
	group  errgroup.Group
	counts [4]atomic.Int64

	mu sync.Mutex
	// placed is what was answered with 201; slowest is the longest that a client waited for that.
	placed  map[string]placed
	slowest time.Duration
}

// traffic starts clients, whose orders and customers are called after name.
func (u *suite) traffic(t *testing.T, name string) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &traffic{u: u, stop: stop, placed: map[string]placed{}}
	for n := range w.counts {
		w.group.Go(func() error {
			for i := 0; ctx.Err() == nil; i++ {
				if err := w.place(t.Context(), u.id("%s-%d-%d", name, n, i), u.id("%s-customer-%d", name, n), int64(1+i)); err != nil {
					return err
				}
				w.counts[n].Add(1)
			}
			return nil
		})
	}
	t.Cleanup(func() {
		stop()
		_ = w.group.Wait() // told by finish
	})
	w.flows(t)
	return w
}

// place has one order placed, however often it must be sent.
func (w *traffic) place(ctx context.Context, id, who string, pence int64) error {
	began := time.Now()
	return awaitErr(ctx, "order "+id, func() error {
		a, err := try(ctx, http.MethodPost, w.u.system.Commands()+"/v1/orders/"+id+"/place-order", placing(who, pence), "Idempotency-Key", id)
		switch {
		case err != nil:
			return err
		case a.Status == http.StatusCreated:
			w.mu.Lock()
			defer w.mu.Unlock()
			w.placed[id] = placed{who, pence, a.position()}
			w.slowest = max(w.slowest, time.Since(began))
			return nil
		default:
			return fmt.Errorf("%s", a)
		}
	})
}

// flows returns once every client has had some more answers.
func (w *traffic) flows(t *testing.T) {
	t.Helper()
	const enough = 5
	for n := range w.counts {
		before := w.counts[n].Load()
		await(t, "answers to all clients", func() error {
			if now := w.counts[n].Load(); now < before+enough {
				return fmt.Errorf("client %d has had %d", n, now-before)
			}
			return nil
		})
	}
}

// finish stops the clients, and looks whether the read models show what they were answered.
func (w *traffic) finish(t *testing.T) {
	t.Helper()
	w.stop()
	if err := w.group.Wait(); err != nil {
		t.Fatal(err)
	}
	spent, last := map[string]int64{}, map[string]string{}
	for id, p := range w.placed {
		w.u.placed[id] = p
		spent[p.customer] += p.pence
		last[id] = p.position
	}
	for id, position := range last {
		await(t, "order "+id, func() error {
			a, err := try(t.Context(), http.MethodGet, w.u.system.Queries()+"/v1/orders/"+id, "", "Ledgerline-Position", position)
			if err == nil && (a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("ETag"), `"1-`)) {
				err = fmt.Errorf("%s", a)
			}
			return err
		})
	}
	for who, pence := range spent {
		await(t, "what "+who+" spent", func() error { return w.u.sees(t.Context(), who, "", pence) })
	}
	t.Logf("%d orders placed, the slowest in %s", len(w.placed), w.slowest.Round(time.Millisecond))
}

// ends has a binary restart or die while commands come in.
func ends(binary string, a stack.Action) func(*testing.T, *suite) {
	return func(t *testing.T, u *suite) {
		w := u.traffic(t, binary+"-"+string(a))
		if a == stack.Kill {
			mayDo(t, u.system.Do(t.Context(), stack.Kill, binary))
		}
		mayDo(t, u.system.Do(t.Context(), stack.Restart, binary))
		w.flows(t)
		w.finish(t)
	}
}

// mayDo skips the test if its provider cannot do what it needs.
func mayDo(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serviceEnds has a service restart or die while commands come in. What is embedded cannot be killed, and
// restarts.
func serviceEnds(v stack.Service, a stack.Action) func(*testing.T, *suite) {
	return func(t *testing.T, u *suite) {
		w := u.traffic(t, string(v)+"-"+string(a))
		u.disturb(t, v, a)
		w.flows(t)
		w.finish(t)
	}
}

func (u *suite) disturb(t *testing.T, v stack.Service, a stack.Action) {
	t.Helper()
	if a == stack.Kill && u.stack.Provider != stack.Embedded {
		mayDo(t, u.stack.Kill(t.Context(), v))
	}
	mayDo(t, u.stack.Restart(t.Context(), v))
}

// brokersEnd has every broker restart or die in its turn.
func brokersEnd(a stack.Action) func(*testing.T, *suite) {
	return func(t *testing.T, u *suite) {
		w := u.traffic(t, "brokers-"+string(a))
		for n := range u.stack.Brokers {
			u.disturb(t, stack.Broker(n+1), a)
			w.flows(t)
		}
		w.finish(t)
	}
}

// redisIsWiped empties Redis while commands come in: the read models come back out of the log.
func redisIsWiped(t *testing.T, u *suite) {
	w := u.traffic(t, "wiped")
	client, err := u.stack.Redis()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.flows(t)
	w.finish(t)
	for _, model := range models {
		await(t, "a generation of "+model, func() error { return u.isActive(t, model) })
	}
	u.verified(t)
}

// isActive returns an error unless a read model has an active generation.
func (u *suite) isActive(t *testing.T, model string) error {
	t.Helper()
	if out := u.must(t, "rebuild", "status", model); !strings.Contains(out, " active ") {
		return fmt.Errorf("its generations are %s", out)
	}
	return nil
}

// models are the read models.
var models = []string{"account-balance", "order-status", "customer-orders", "payment-status", "history"}

// verified has every read model compared with the log.
func (u *suite) verified(t *testing.T) {
	t.Helper()
	for _, model := range models {
		if out := u.must(t, "rebuild", "verify", model); !strings.Contains(out, " 0 differences") {
			t.Errorf("verify %s: %s", model, out)
		}
	}
}
