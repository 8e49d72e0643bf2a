package ledgerline

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestProbe has a service that answers, then does not, then hangs, then answers again.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var looks atomic.Int64
		var look atomic.Value // of func(context.Context) error
		down := errors.New("down")
		look.Store(func(context.Context) error { return nil })
		p := newProbe("Kafka")
		if p.why() == nil {
			t.Error("it is ready before the first look")
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.run(ctx, func(ctx context.Context) error {
				looks.Add(1)
				return look.Load().(func(context.Context) error)(ctx)
			})
		}()
		// after lets time pass and asks as often as somebody who asks all the time.
		after := func(d time.Duration, least, most int64) error {
			t.Helper()
			before := looks.Load()
			for end := time.Now().Add(d); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
				_ = p.why()
			}
			synctest.Wait()
			if n := looks.Load() - before; n < least || n > most {
				t.Errorf("%d looks in %s, want %d to %d", n, d, least, most)
			}
			return p.why()
		}
		if err := after(time.Minute, 29, 31); err != nil {
			t.Errorf("a service that answers: %v", err)
		}
		look.Store(func(context.Context) error { return down })
		if err := after(lookEvery+lookTimeout, 1, 10); !errors.Is(err, down) {
			t.Errorf("a service that is down: %v", err)
		}
		_ = after(time.Minute, 29, 36)
		look.Store(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if err := after(time.Minute, 14, 16); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a service that hangs: %v", err)
		}
		look.Store(func(context.Context) error { return nil })
		if err := after(lookEvery+lookTimeout, 1, 3); err != nil {
			t.Errorf("a service that answers again: %v", err)
		}
		cancel()
		<-done
	})
}

func TestReasons(t *testing.T) {
	var why reasons
	if why.err() != nil {
		t.Error("no reason is one")
	}
	down := errors.New("a is\n\tdown")
	why.add(nil)
	why.add(down)
	why.add(errors.New("b is down"))
	why.add(errors.New("b is down"))
	if err := why.err(); err.Error() != "a is down\nb is down" || !errors.Is(err, down) {
		t.Errorf("got %q", err)
	}
}
