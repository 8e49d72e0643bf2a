package sim

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// request is a kind of request of the write loop.
type request struct {
	key kmsg.Key
	// first says that it comes at the beginning of a session alone, so one must begin for it to be struck.
	first bool
	// old says that it is of transactions of version 1.
	old bool
	// refusals are what a broker may say to it that goes away by itself.
	refusals []*kerr.Error
	topic    string // refused for this topic alone, "" for whatever it is about
}

var requests = []request{
	{key: kmsg.Produce, topic: eventsTopic, refusals: []*kerr.Error{kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.ConcurrentTransactions, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend}},
	{key: kmsg.TxnOffsetCommit, refusals: []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.ConcurrentTransactions, kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.RequestTimedOut}},
	{key: kmsg.EndTxn, refusals: []*kerr.Error{kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.UnknownServerError, kerr.InvalidTxnState}},
	{key: kmsg.InitProducerID, first: true, refusals: []*kerr.Error{kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator}},
	{key: kmsg.OffsetFetch, first: true, refusals: []*kerr.Error{kerr.UnstableOffsetCommit, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator}},
	{key: kmsg.ListOffsets, first: true, topic: eventsTopic, refusals: []*kerr.Error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownServerError}},
	{key: kmsg.Fetch, topic: commandsTopic, refusals: []*kerr.Error{kerr.NotLeaderForPartition, kerr.UnknownLeaderEpoch, kerr.FencedLeaderEpoch}},
	{key: kmsg.JoinGroup, first: true, refusals: []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.UnknownMemberID}},
	{key: kmsg.SyncGroup, first: true, refusals: []*kerr.Error{kerr.NotCoordinator, kerr.RebalanceInProgress, kerr.CoordinatorLoadInProgress}},
	{key: kmsg.Heartbeat, refusals: []*kerr.Error{kerr.NotCoordinator, kerr.RebalanceInProgress, kerr.UnknownMemberID, kerr.IllegalGeneration}},
	{key: kmsg.AddPartitionsToTxn, old: true, topic: eventsTopic, refusals: []*kerr.Error{kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress}},
	{key: kmsg.AddOffsetsToTxn, old: true, refusals: []*kerr.Error{kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress}},
}

// kind is a kind of fault: try does it, or has it strike later.
type kind struct {
	old bool // of transactions of version 1
	// try is nil for what happens by itself in a client's or a run's life.
	try func(ctx context.Context, w *world, name string)
}

var all = func() map[string]kind {
	kinds := map[string]kind{
		"failed-produce":       {try: failProduce},
		"offset-out-of-range":  {try: outOfRange},
		"denied-endtxn":        {try: denyEnd},
		"leaders-moved":        {try: moveLeaders},
		"coordinators-moved":   {try: moveCoordinators},
		"worker-joined":        {try: join},
		"worker-left":          {try: leave},
		"worker-killed":        {try: killAny},
		"worker-replaced":      {try: replace},
		"paused":               {try: pauseAny},
		"zombie":               {try: zombie},
		"open-transaction":     {try: openTransaction},
		"snapshots-wiped":      {try: wipeSnapshots},
		"snapshots-rewound":    {try: rewindSnapshots},
		"snapshots-away":       {try: takeSnapshotsAway},
		"schema-untold":        {try: withholdSchema},
		"snapshot-answer-lost": {}, // see snapshotClient.answered
		"client-answer-lost":   {}, // see client.do
		"day-without-workers":  {}, // see world.live
		"command-in-wrong-log": {}, // see client.do
	}
	for _, r := range requests {
		name := strings.ToLower(r.key.Name())
		kinds["refused-"+name] = kind{old: r.old, try: r.refuse}
		kinds["lost-"+name] = kind{old: r.old, try: r.lose}
		kinds["slow-"+name] = kind{old: r.old, try: r.slow}
	}
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
		name := strings.ToLower(key.Name())
		for when, after := range map[string]bool{"before": false, "after": true} {
			kinds["crash-"+when+"-"+name] = kind{try: crash(key, after)}
			kinds["paused-"+when+"-"+name] = kind{try: pauseAt(key, after)}
		}
	}
	return kinds
}()

// kinds names all kinds of faults.
func kinds() []string { return slices.Sorted(maps.Keys(all)) }

// inflict does one fault after the other until ctx ends.
func (w *world) inflict(ctx context.Context) {
	var names []string
	for _, name := range kinds() {
		if all[name].try == nil {
			continue
		}
		if w.old || !all[name].old {
			names = append(names, name)
		}
		if all[name].old && w.old {
			names = append(names, name, name, name) // few runs are of that kind
		}
	}
	for pauseCtx(ctx, w.between(300*time.Millisecond, 2500*time.Millisecond)) {
		name := names[w.intN(len(names))]
		all[name].try(ctx, w, name)
	}
}

// on arms a strike for one of the requests of a process that runs, or of one that is begun for it. act is
// called with the process when it strikes.
func (r request) on(w *world, name string, after bool, act func(p *process, answer kmsg.Response) error) {
	s := &strike{key: r.key, after: after, act: func(p *process, answer kmsg.Response) error {
		w.fault(name, p.String())
		return act(p, answer)
	}}
	if r.first {
		w.bounce(s)
		return
	}
	w.any().net.arm(s)
}

func (r request) lose(_ context.Context, w *world, name string) {
	r.on(w, name, true, func(*process, kmsg.Response) error { return errStruck })
}

func (r request) slow(_ context.Context, w *world, name string) {
	d := w.between(200*time.Millisecond, 4*time.Second)
	r.on(w, name, w.intN(2) == 0, func(*process, kmsg.Response) error { pause(d); return nil })
}

func (r request) refuse(_ context.Context, w *world, name string) {
	f := kfake.Fault{Keys: []kmsg.Key{r.key}, Err: r.refusals[w.intN(len(r.refusals))], Topic: r.topic, Count: 1 + w.intN(3)}
	w.install(name, f)
	if r.first {
		w.bounce()
	}
}

// install has the brokers refuse something, and notes each time.
func (l *lab) install(name string, f kfake.Fault) {
	target := f.Err.Message
	var last atomic.Pointer[kmsg.Request]
	f.When = func(q kmsg.Request) bool {
		if seen := last.Swap(&q); seen == nil || *seen != q { // it is asked for every partition
			l.fault(name, target)
		}
		return true
	}
	h := l.cluster.Fault(f)
	l.goes.Go(func() {
		pause(20 * time.Second)
		h.Remove()
	})
}

// withholdSchema has the registry be silent about a schema, mostly a command's, and a process begin that needs it.
// Half of the time it refuses, half of the time it does not answer at all. What is written is needed by a
// recovery.
func withholdSchema(_ context.Context, w *world, name string) {
	names := append(slices.Sorted(maps.Keys(w.bindings)), "Add", "Add", "Take", "Take")
	schema := w.bindings[names[w.intN(len(names))]]
	u := untold{name: name, until: time.Now().Add(w.between(time.Second, 12*time.Second)), slow: w.intN(2) == 0}
	w.registry.withhold(w.registry.ids[schema.Text()], u)
	w.bounce()
}

func failProduce(_ context.Context, w *world, name string) {
	errs := []*kerr.Error{kerr.MessageTooLarge, kerr.InvalidRecord, kerr.TransactionAbortable}
	topics := []string{eventsTopic, outcomesTopic}
	w.install(name, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: errs[w.intN(len(errs))], Topic: topics[w.intN(2)]})
}

// outOfRange has the brokers say that a committed offset is not in the log. Half of the time they say so to
// a process that has read nothing yet, and that dies after its next transaction: a client that has begun at
// the start of the log without a word has committed an offset of long ago by then.
func outOfRange(_ context.Context, w *world, name string) {
	w.install(name, kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.OffsetOutOfRange, Topic: commandsTopic})
	if w.intN(2) == 0 {
		w.bounce(&strike{key: kmsg.EndTxn, after: true, act: func(p *process, _ kmsg.Response) error {
			p.kill()
			w.comeBack(p)
			return errStruck
		}})
	}
}

// denyEnd has the brokers end a transaction, and answer that they do not know what became of it.
func denyEnd(_ context.Context, w *world, name string) {
	request{key: kmsg.EndTxn}.on(w, name, true, func(_ *process, answer kmsg.Response) error {
		if a := answer.(*kmsg.EndTxnResponse); a.ErrorCode == 0 {
			a.ErrorCode = kerr.UnknownServerError.Code
		}
		return nil
	})
}

func moveLeaders(_ context.Context, w *world, name string) {
	if w.intN(2) == 0 {
		w.cluster.ShufflePartitionLeaders()
		w.fault(name, "all")
		return
	}
	for _, topic := range topics {
		p := int32(w.intN(partitions))
		if err := w.cluster.MoveTopicPartition(topic, p, int32(w.intN(brokers))); err != nil {
			w.t.Errorf("moving a leader: %v", err)
		}
	}
	w.fault(name, "one of each topic")
}

func moveCoordinators(_ context.Context, w *world, name string) {
	w.cluster.RehashCoordinators()
	w.fault(name, "all")
}
