package sim

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/prove/history"
)

// process is a worker of the product with a network and a clock of its own.
type process struct {
	w      *world
	slot   string
	number int
	era    int
	net    *network
	cancel context.CancelFunc
	done   chan struct{}
}

// launch starts a process in a slot, with strikes that wait for its first requests.
func (w *world) launch(slot string, strikes ...*strike) *process {
	p := &process{w: w, slot: slot, net: newNetwork(w.net.DialContext), done: make(chan struct{})}
	p.net.owner, p.net.heard, p.net.strikes = p, p.heard, strikes
	skew := w.between(-15*time.Second, 15*time.Second)
	w.mu.Lock()
	p.number, p.era = len(w.processes)+1, w.era
	w.processes = append(w.processes, p)
	w.slots[slot] = p
	w.mu.Unlock()
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	cfg := kafka.WorkerConfig{
		Client:     kafka.ClientConfig{Brokers: w.cluster.ListenAddrs(), Dial: p.net.dial},
		Aggregates: w.aggregates, Codec: w.newCodec(), Group: group, Slot: slot,
		KeepSlot: w.intN(4) == 0, MaxBatch: 1 + w.intN(12),
		Now:       func() time.Time { return p.net.now().Add(skew) },
		Committed: p.committed,
		Log:       w.log.With("process", p.number, "slot", slot),
	}
	if w.intN(4) > 0 {
		cfg.Snapshots, cfg.SnapshotInterval = &snapshotClient{p: p, s: w.snapshots}, w.between(20*time.Millisecond, 4*time.Second)
		cfg.StateMemory = int64(1 + w.intN(3000)) // most states are not at hand
	}
	worker, err := kafka.NewWorker(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.goes.Go(func() {
		defer close(p.done)
		err := worker.Run(ctx)
		var fenced *kafka.FencedError
		if errors.As(err, &fenced) {
			p.hold(history.Ended, "")
			w.goes.Go(p.succeed)
		}
		w.log.Info("process ended", "process", p.number, "slot", p.slot, "err", err)
	})
	return p
}

// succeed starts the slot's next process after one was fenced, as whoever supervises it does.
func (p *process) succeed() {
	pause(p.w.between(200*time.Millisecond, 2*time.Second))
	if !p.net.isCut() {
		p.w.relaunch(p)
	}
}

func (w *world) current(slot string) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.slots[slot]
}

// running returns the newest processes of slots that run, in any order.
func (w *world) running() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []*process
	for i := range len(w.slots) + 5 {
		if p := w.slots[slotName(i)]; p != nil && !p.over() && !p.net.isCut() {
			found = append(found, p)
		}
	}
	return found
}

// any returns a running process; it starts one if there is none.
func (w *world) any() *process {
	found := w.running()
	if len(found) == 0 {
		return w.launch(slotName(0))
	}
	return found[w.intN(len(found))]
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) String() string { return p.slot + " process " + strconv.Itoa(p.number) }

// kill ends the process as kill -9 does: it says nothing more to anybody.
func (p *process) kill() {
	p.net.sever()
	p.cancel()
}

// term ends it as SIGTERM does.
func (p *process) term() { p.cancel() }

// committed passes the process's answers on to clients that are connected to it.
func (p *process) committed(o processing.Outcome) {
	if p.net.gate() == nil {
		p.w.answers.push(o)
	}
}

func (n *network) isCut() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut
}

func (p *process) hold(what, by string) {
	p.w.hist.Hold(history.Hold{At: p.w.at(), Slot: p.slot, Process: p.number, What: what, By: by})
}

// heard notes what the brokers say about the slot.
func (p *process) heard(answer kmsg.Response) {
	by := kmsg.NameForKey(answer.Key())
	var codes []int16
	switch a := answer.(type) {
	case *kmsg.InitProducerIDResponse:
		if a.ErrorCode == 0 {
			p.hold(history.Took, by)
		}
		codes = append(codes, a.ErrorCode)
	case *kmsg.ProduceResponse:
		for _, t := range a.Topics {
			for _, part := range t.Partitions {
				codes = append(codes, part.ErrorCode)
			}
		}
	case *kmsg.TxnOffsetCommitResponse:
		for _, t := range a.Topics {
			for _, part := range t.Partitions {
				codes = append(codes, part.ErrorCode)
			}
		}
	case *kmsg.AddPartitionsToTxnResponse:
		for _, t := range a.Topics {
			for _, part := range t.Partitions {
				codes = append(codes, part.ErrorCode)
			}
		}
	case *kmsg.AddOffsetsToTxnResponse:
		codes = append(codes, a.ErrorCode)
	case *kmsg.EndTxnResponse:
		codes = append(codes, a.ErrorCode)
	case *kmsg.HeartbeatResponse:
		codes = append(codes, a.ErrorCode)
	case *kmsg.JoinGroupResponse:
		codes = append(codes, a.ErrorCode)
	case *kmsg.SyncGroupResponse:
		codes = append(codes, a.ErrorCode)
	}
	for _, code := range codes {
		if code == kerr.ProducerFenced.Code || code == kerr.FencedInstanceID.Code {
			p.hold(history.Fenced, by)
			return
		}
	}
}

// stopAll ends all processes that run, and waits for them.
func (w *world) stopAll() {
	w.mu.Lock()
	w.era++
	processes := w.processes
	w.mu.Unlock()
	for _, p := range processes {
		p.net.thaw()
		p.term()
	}
	for _, p := range processes {
		<-p.done
	}
}

// replaceAll ends every process, each in one way or another, and starts others in some of the slots.
func (w *world) replaceAll() {
	for _, p := range w.running() {
		if w.intN(2) == 0 {
			p.term()
		} else {
			p.kill()
		}
		<-p.done
	}
	for i := range 1 + w.intN(3) {
		w.launch(slotName(i))
	}
}

// sleepADay lets a bit more than a day go by without any worker, longer than ids are remembered.
func (w *world) sleepADay() {
	w.stopAll()
	w.answers.close()
	w.fault("day-without-workers", "all")
	pause(24*time.Hour + w.between(-30*time.Minute, 2*time.Hour))
	w.answers.open()
	for i := range 1 + w.intN(3) {
		w.launch(slotName(i))
	}
}
