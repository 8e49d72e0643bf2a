package sim

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ledgerline/ledgerline/prove/history"
)

const (
	partitions = 6
	group      = "prove.ingest"
)

var topics = []string{commandsTopic, eventsTopic, outcomesTopic, lettersTopic}

// world is one run: brokers, processes and clients.
type world struct {
	*lab
	// old says that brokers and clients speak transactions of version 1.
	old       bool
	answers   *answers
	snapshots *snapshots
	ids       *sentCommands

	// What follows is guarded by the lab's mu.
	slots     map[string]*process // the newest of each slot
	processes []*process
	// era counts the times in which nothing of the time before goes on: who was to come back in one that
	// is over does not.
	era int
}

// run is one run, from the first broker to the dump of the log.
func run(t *testing.T, seed uint64, hist *history.Writer, logFile string) {
	l, f := newLab(t, seed, hist, logFile)
	defer func() { _ = f.Close() }()
	w := &world{lab: l, slots: map[string]*process{}, ids: &sentCommands{}, snapshots: newSnapshots()}
	var opts []kfake.Opt
	if w.old = w.intN(4) == 0; w.old {
		opts = append(opts, kfake.MaxVersions(kversion.V3_7_0()))
	}
	w.startBrokers(partitions, topics, opts...)
	w.answers = newAnswers(w)
	w.live()
	w.settle()
	w.stopAll()
	end := hist.Close
	if err := w.dump(topics); err != nil {
		t.Error(err)
		end = hist.Abandon
	}
	w.goes.Wait()
	pause(time.Minute) // for sessions whose end took so long that they were left behind
	w.answers.close()
	w.cluster.Close()
	if err := end(); err != nil {
		t.Error(err)
	}
}

// live is the run's life: a time of faults, perhaps a day without any worker, and another time of faults.
func (w *world) live() {
	for i := range 1 + w.intN(3) {
		w.launch(slotName(i))
	}
	faults := func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.inflict(ctx)
		}()
		return func() { cancel(); <-done }
	}
	stop := faults()
	w.clients(30)
	stop()
	if w.intN(3) == 0 {
		w.settle() // an id without a time that waited for a day would be decided again
		w.sleepADay()
	} else {
		w.replaceAll()
	}
	stop = faults()
	w.clients(12)
	stop()
}

// settle ends all faults and waits until every command is decided, for as long as a run can be expected
// to need: what is not decided then, the checker will find.
func (w *world) settle() {
	w.mu.Lock()
	w.era++
	processes := w.processes
	w.mu.Unlock()
	for _, p := range processes {
		p.net.disarm()
		p.net.thaw()
	}
	w.registry.tellAll()
	adm := kadm.NewClient(w.plain())
	defer adm.Close()
	quiet, h := 0, &helper{w: w, adm: adm, gone: map[string]int{}}
	for range 300 {
		for i := range 2 {
			if p := w.current(slotName(i)); p == nil || p.over() || p.net.isCut() {
				w.launch(slotName(i))
			}
		}
		pause(time.Second)
		if w.isSettled(adm) {
			quiet++
		} else {
			quiet = 0
		}
		if quiet == 3 {
			return
		}
		h.help()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	groups, err := adm.DescribeGroups(ctx, group)
	offsets, _ := adm.FetchOffsets(ctx, group)
	w.log.Error("commands are not decided", "group", groups, "offsets", offsets, "err", err)
}

// helper helps the embedded broker's group out of what no Kafka gets into. A member whose connection is gone
// when its JoinGroup or SyncGroup is answered has no session that could end, and each join begins the
// rebalance timeout of 20 s anew, which others ask for every 30 s.
type helper struct {
	w   *world
	adm *kadm.Client
	// joining counts the seconds of a rebalance, gone those for which a member has been without a process.
	joining int
	gone    map[string]int
}

// help is called about every second. It expels a member, or stops all processes so that the timeout ends the
// rebalance, after far longer than any timeout is.
func (h *helper) help() {
	const tooLong = 40
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	groups, err := h.adm.DescribeGroups(ctx, group)
	if err != nil {
		return
	}
	if h.joining++; groups[group].State != "PreparingRebalance" {
		h.joining = 0
	}
	if h.joining > tooLong {
		h.joining = 0
		h.w.stopAll()
		h.w.fault("embedded-group-stuck", group)
		pause(25 * time.Second)
		return
	}
	for _, m := range groups[group].Members {
		slot := *m.InstanceID
		if h.gone[slot]++; h.w.has(slot) {
			h.gone[slot] = 0
		}
		if h.gone[slot] > tooLong {
			h.w.fault("embedded-member-stuck", slot)
			_, _ = h.adm.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs(slot)) // else in the next second
		}
	}
}

// has reports whether any process of a slot runs, be it the newest or not.
func (w *world) has(slot string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.processes, func(p *process) bool { return p.slot == slot && !p.over() && !p.net.isCut() })
}

func (w *world) isSettled(adm *kadm.Client) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ends, err := adm.ListEndOffsets(ctx, commandsTopic, outcomesTopic)
	if err != nil {
		return false
	}
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return false
	}
	last, ok := w.answers.reached(ends)
	for p := range int32(partitions) {
		at, found := committed.Lookup(commandsTopic, p)
		if last[p] >= 0 && (!found || at.At <= last[p]) {
			return false
		}
	}
	return ok
}
