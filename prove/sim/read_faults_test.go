package sim

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ledgerline/ledgerline/prove/history"
)

// readFaults are all kinds of faults of the read side; nil is what happens by itself in a run's life.
var readFaults = map[string]func(ctx context.Context, w *readWorld, name string){
	"redis-flushed":         flush,
	"redis-rewound":         rewind,
	"redis-away":            takeRedisAway,
	"redis-scripts-flushed": flushScripts,
	"redis-script-stopped":  stopScript,
	"redis-request-lost":    loseRequest,
	"redis-answer-lost":     loseAnswer,
	"redis-slow":            slowRedis,
	"processor-joined":      joinReading,
	"processor-left":        leaveReading,
	"processor-killed":      killReading,
	"processor-paused":      pauseReading,
	"processor-cut-off":     cutOff,
	"leaders-moved":         moveReadLeaders,
	"coordinators-moved":    moveReadCoordinators,
	"lost-fetch":            loseFetch,
	"refused-fetch":         refuse(kmsg.Fetch, kerr.NotLeaderForPartition, kerr.UnknownLeaderEpoch, kerr.FencedLeaderEpoch),
	"refused-listoffsets":   refuse(kmsg.ListOffsets, kerr.NotLeaderForPartition, kerr.LeaderNotAvailable),
	"refused-heartbeat":     refuse(kmsg.Heartbeat, kerr.NotCoordinator, kerr.RebalanceInProgress, kerr.UnknownMemberID, kerr.IllegalGeneration),
	"aborted-transaction":   nil, // see writer.append
	"rebuild-killed":        nil, // see readWorld.build
}

func readKinds() []string { return slices.Sorted(maps.Keys(readFaults)) }

// inflict does one fault after the other until ctx ends.
func (w *readWorld) inflict(ctx context.Context) {
	names := slices.DeleteFunc(readKinds(), func(name string) bool { return readFaults[name] == nil })
	for pauseCtx(ctx, w.between(300*time.Millisecond, 2500*time.Millisecond)) {
		name := names[w.intN(len(names))]
		readFaults[name](ctx, w, name)
	}
}

func flush(_ context.Context, w *readWorld, name string) {
	if w.intN(3) > 0 {
		return // after each of them, both models are built anew
	}
	w.lose(name, nil, true)
}

// rewind has Redis hold what it held before, as after a restart or a failover; half of the time no connection
// tells of it, as behind a proxy.
func rewind(_ context.Context, w *readWorld, name string) {
	if held := w.redis.past(w.intN); held != nil {
		w.lose(name, held, w.intN(2) == 0)
	}
}

// lose has Redis hold what is given, and writes down whose checkpoints fell.
func (w *readWorld) lose(name string, held image, quietly bool) {
	before, err := w.redis.image()
	if err != nil {
		return // it is away
	}
	w.fault(name, "all")
	if !quietly {
		w.redis.replace(held)
	} else if err := w.redis.restore(held); err != nil {
		w.t.Errorf("restoring Redis: %v", err)
	}
	for _, m := range models {
		had, _ := before.generations(m)
		has, _ := held.generations(m)
		for id, g := range had {
			if has[id].ID == "" {
				continue
			}
			r := history.Rewind{At: w.at(), Model: m, Generation: id}
			at := held.checkpoints(m, g)
			for key, offset := range before.checkpoints(m, g) {
				if at[key] < offset {
					r.Fell++
					r.By += offset - at[key]
				}
			}
			if r.Fell > 0 {
				w.hist.Rewind(r)
			}
		}
	}
}

func takeRedisAway(ctx context.Context, w *readWorld, name string) {
	w.fault(name, "all")
	w.redis.setAway(true)
	pauseCtx(ctx, w.between(100*time.Millisecond, 8*time.Second))
	w.redis.setAway(false)
}

func flushScripts(ctx context.Context, w *readWorld, name string) {
	cl := w.redis.client()
	defer func() { _ = cl.Close() }()
	if cl.ScriptFlush(ctx).Err() == nil {
		w.fault(name, "all")
	}
}

// stopScript has a script that writes fail in its middle.
func stopScript(_ context.Context, w *readWorld, name string) {
	w.redis.failAfter(w.intN(4), func() { w.fault(name, "a script") })
}

func loseRequest(_ context.Context, w *readWorld, name string) {
	p := w.any()
	p.arm(redisStrike{act: func() bool { w.fault(name, p.name); return true }})
}

func loseAnswer(_ context.Context, w *readWorld, name string) {
	p := w.any()
	p.arm(redisStrike{after: true, act: func() bool { w.fault(name, p.name); return true }})
}

func slowRedis(_ context.Context, w *readWorld, name string) {
	p, d := w.any(), w.between(200*time.Millisecond, 9*time.Second)
	p.arm(redisStrike{after: w.intN(2) == 0, act: func() bool {
		w.fault(name, p.name)
		pause(d)
		return false
	}})
}

func joinReading(_ context.Context, w *readWorld, name string) {
	if len(w.running()) < 5 {
		w.fault(name, w.launch(1+w.intN(2)).name)
	}
}

func leaveReading(_ context.Context, w *readWorld, name string) {
	p := w.any()
	w.fault(name, p.name)
	p.cancel()
}

func killReading(_ context.Context, w *readWorld, name string) {
	p := w.any()
	w.fault(name, p.name)
	p.kill()
	if w.intN(2) == 0 {
		w.launch(p.code)
	}
}

// pauseReading freezes a processor, half of the time for longer than its session.
func pauseReading(_ context.Context, w *readWorld, name string) {
	p, d := w.any(), w.between(500*time.Millisecond, 15*time.Second)
	w.fault(name, p.name)
	p.freeze()
	w.goes.Go(func() {
		pause(d)
		p.thaw()
	})
}

// cutOff takes Kafka away from a processor that has Redis, so that others own what it still writes.
func cutOff(_ context.Context, w *readWorld, name string) {
	p, d := w.any(), w.between(time.Second, 20*time.Second)
	w.fault(name, p.name)
	p.brokers.sever()
	w.goes.Go(func() {
		pause(d)
		if !p.redis.isCut() {
			p.brokers.mend()
		}
	})
}

func moveReadLeaders(_ context.Context, w *readWorld, name string) {
	w.cluster.ShufflePartitionLeaders()
	w.fault(name, "all")
}

func moveReadCoordinators(_ context.Context, w *readWorld, name string) {
	w.cluster.RehashCoordinators()
	w.fault(name, "all")
}

func loseFetch(_ context.Context, w *readWorld, name string) {
	p := w.any()
	p.brokers.arm(&strike{key: kmsg.Fetch, after: true, act: func(*process, kmsg.Response) error {
		w.fault(name, p.name)
		return errStruck
	}})
}

// refuse has the brokers refuse a kind of request up to three times.
func refuse(key kmsg.Key, errs ...*kerr.Error) func(context.Context, *readWorld, string) {
	return func(_ context.Context, w *readWorld, name string) {
		w.install(name, kfake.Fault{Keys: []kmsg.Key{key}, Err: errs[w.intN(len(errs))], Count: 1 + w.intN(3)})
	}
}
