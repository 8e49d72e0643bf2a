package sim

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// slotCount is how many slots there are at most.
const slotCount = 4

// join starts a worker in a slot that has none.
func join(_ context.Context, w *world, name string) {
	for i := range slotCount {
		if p := w.current(slotName(i)); p == nil || p.over() {
			w.fault(name, w.launch(slotName(i)).String())
			return
		}
	}
}

// leave ends a worker as SIGTERM does. It may come back later.
func leave(_ context.Context, w *world, name string) {
	p := w.any()
	w.fault(name, p.String())
	p.term()
	w.comeBack(p)
}

func killAny(_ context.Context, w *world, name string) {
	p := w.any()
	w.fault(name, p.String())
	p.kill()
	w.comeBack(p)
}

// replace starts a worker in a slot whose worker is well.
func replace(_ context.Context, w *world, name string) {
	p := w.any()
	w.fault(name, p.String())
	w.launch(p.slot)
}

// comeBack starts a slot's next process at once, later or never.
func (w *world) comeBack(p *process) {
	var after time.Duration
	switch w.intN(3) {
	case 0:
		after = w.between(0, 300*time.Millisecond)
	case 1:
		after = w.between(2*time.Second, 12*time.Second)
	default:
		after = w.between(time.Minute, 5*time.Minute) // the run is over by then, if somebody else does the work
	}
	w.goes.Go(func() {
		pause(after)
		w.relaunch(p)
	})
}

// relaunch starts a process in the slot of p, if nobody did and the time has not changed.
func (w *world) relaunch(p *process) {
	w.mu.Lock()
	wanted := w.era == p.era && w.slots[p.slot] == p
	w.mu.Unlock()
	if wanted {
		w.launch(p.slot)
	}
}

// bounce ends a process and starts the slot's next, whose first requests the strikes wait for.
func (w *world) bounce(strikes ...*strike) *process {
	p := w.any()
	if w.intN(2) == 0 {
		p.kill()
	} else {
		p.term()
	}
	return w.launch(p.slot, strikes...)
}

// crash kills a process before a request leaves it, or once the brokers have acted on it.
func crash(key kmsg.Key, after bool) func(context.Context, *world, string) {
	return func(_ context.Context, w *world, name string) {
		request{key: key}.on(w, name, after, func(p *process, _ kmsg.Response) error {
			p.kill()
			w.comeBack(p)
			return errStruck
		})
	}
}

// pauseAt freezes a process before a request leaves it, or before it hears the answer.
func pauseAt(key kmsg.Key, after bool) func(context.Context, *world, string) {
	return func(_ context.Context, w *world, name string) {
		d, replaced := w.freezeFor(), w.intN(3) == 0
		request{key: key}.on(w, name, after, func(p *process, _ kmsg.Response) error {
			w.freeze(p, d, replaced)
			return nil
		})
	}
}

func pauseAny(_ context.Context, w *world, name string) {
	p := w.any()
	w.fault(name, p.String())
	w.freeze(p, w.freezeFor(), w.intN(3) == 0)
}

// freezeFor is longer than the session, and shorter or longer than a transaction may take.
func (w *world) freezeFor() time.Duration { return w.between(6500*time.Millisecond, 14*time.Second) }

// freeze lets a process stand still, perhaps while another takes its slot.
func (w *world) freeze(p *process, d time.Duration, replaced bool) {
	p.net.freeze()
	w.goes.Go(func() {
		if replaced {
			pause(d / 3)
			w.relaunch(p)
			d -= d / 3
		}
		pause(d)
		p.net.thaw()
	})
}

// zombie cuts a process off, lets another one have its slot, and mends the network.
func zombie(_ context.Context, w *world, name string) {
	p := w.any()
	w.fault(name, p.String())
	p.net.sever()
	before, after := w.between(100*time.Millisecond, 8*time.Second), w.between(time.Second, 8*time.Second)
	w.goes.Go(func() {
		pause(before)
		w.relaunch(p)
		pause(after)
		p.net.mend()
	})
}

// openTransaction kills a worker whose transaction is open and holds no offsets, and has its partitions
// move twice before the brokers abort it: what the first of the two appends lies behind the open
// transaction, committed and yet hidden from read_committed readers, when the second recovers.
func openTransaction(ctx context.Context, w *world, name string) {
	for i := range 3 {
		if p := w.current(slotName(i)); p == nil || p.over() || p.net.isCut() {
			w.launch(slotName(i))
		}
	}
	if !pauseCtx(ctx, 3*time.Second) {
		return
	}
	died := make(chan struct{})
	dead := w.any()
	dead.net.arm(&strike{key: kmsg.Produce, after: true, act: func(*process, kmsg.Response) error {
		dead.kill()
		close(died)
		return errStruck
	}})
	stop := w.pump()
	defer stop()
	select {
	case <-died:
	case <-ctx.Done():
		return
	case <-time.After(20 * time.Second):
		return
	}
	// The session of 6 s ends; others decide the dead worker's commands; then one of them leaves.
	if !pauseCtx(ctx, 7500*time.Millisecond) {
		return
	}
	second := w.any()
	second.term()
	w.fault(name, dead.String()+", then "+second.String())
	pauseCtx(ctx, 4*time.Second)
	w.comeBack(dead)
	w.comeBack(second)
}
