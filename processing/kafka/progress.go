package kafka

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ledgerline/ledgerline/processing"
)

var (
	ownedDesc = prometheus.NewDesc("ledgerline_partitions_owned",
		"Partitions that the process owns: of commands, recovered by a worker; of events, followed by a processor.", []string{"topic"}, nil)
	commandsLagDesc = prometheus.NewDesc("ledgerline_commands_lag_records",
		"Offsets between the high watermark of a partition that the process owns and the next command to decide. A transaction's marker counts as one.", []string{"topic", "partition"}, nil)
	commandsAgeDesc = prometheus.NewDesc("ledgerline_commands_lag_seconds",
		"Upper bound of how long the oldest undecided command of an owned partition has waited; 0 if there is none.", []string{"topic", "partition"}, nil)
	stableLagDesc = prometheus.NewDesc("ledgerline_last_stable_offset_lag_records",
		"Offsets between the last stable offset and the high watermark: what an open transaction hides from read_committed readers.", []string{"topic", "partition"}, nil)
	idsDesc = prometheus.NewDesc("ledgerline_command_ids",
		"Command ids that are remembered of an owned partition.", []string{"topic", "partition"}, nil)
	idsBytesDesc = prometheus.NewDesc("ledgerline_command_ids_bytes",
		"Memory that the command ids of an owned partition take.", []string{"topic", "partition"}, nil)
	idsFloorDesc = prometheus.NewDesc("ledgerline_command_ids_floor_age_seconds",
		"How old a command id with a time may be: older ones are refused. A day, less if the floor was raised, below 0 if it lies ahead of the clock.", []string{"topic", "partition"}, nil)
	idsFullDesc = prometheus.NewDesc("ledgerline_command_ids_full",
		"1 if commands of an owned partition wait because the memory of command ids is full of those of the last minute, else 0.", []string{"topic", "partition"}, nil)
)

// ends is how far a partition reached at the last look.
type ends struct{ high, stable int64 }

// owned is a partition as its owner sees it.
type owned struct {
	owner any // nil once the owner's session has ended
	// next is the next command to decide, -1 of events.
	next int64
	// since is a time before which no undecided command was appended.
	since time.Time
	// ids is what is remembered of command ids, nil of events; full says that commands wait for it.
	ids  *processing.CommandIDs
	full bool
}

// progress knows where partitions end and how far their owners are, and tells both when it is
// gathered: so a lag goes on growing while its owner is stuck.
type progress struct {
	mu    sync.Mutex
	ends  map[topicPartition]ends
	owned map[topicPartition]*owned
	// topics are those of which a process may own partitions: none is 0, not nothing.
	topics map[string]bool
}

func newProgress() *progress {
	return &progress{ends: map[topicPartition]ends{}, owned: map[topicPartition]*owned{}, topics: map[string]bool{}}
}

func (p *progress) expect(topics ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, topic := range topics {
		p.topics[topic] = true
	}
}

// own notes that owner has a partition. What a session before it left undecided waits since then.
func (p *progress) own(owner any, tp topicPartition, next int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.owned[tp]
	if o == nil {
		o = &owned{since: time.Now()}
		p.owned[tp] = o
	}
	o.owner, o.next = owner, next
}

// release forgets a partition that somebody else has now.
func (p *progress) release(owner any, tp topicPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.owned[tp]; o != nil && o.owner == owner {
		delete(p.owned, tp)
	}
}

// end says that owner owns nothing any more, and that it may be the next to own it again.
func (p *progress) end(owner any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.owned {
		if o.owner == owner {
			o.owner = nil
		}
	}
}

// decided moves a partition on; at is when the last command decided was appended.
func (p *progress) decided(owner any, tp topicPartition, next int64, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.owned[tp]; o != nil && o.owner == owner {
		o.next, o.since = next, at
	}
}

// remember notes what is remembered of command ids.
func (p *progress) remember(owner any, tp topicPartition, ids processing.CommandIDs, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.owned[tp]; o != nil && o.owner == owner {
		o.ids, o.full = &ids, full
	}
}

// idle says that owner was just offered nothing: where nothing is hidden by an open transaction, there
// is nothing, whatever the offsets say, for a marker is no command. Nothing is offered of what is held.
func (p *progress) idle(owner any, held func(topicPartition) bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for tp, o := range p.owned {
		if e := p.ends[tp]; o.owner == owner && e.stable >= e.high && !held(tp) {
			o.since = now
		}
	}
}

// look notes where partitions end.
func (p *progress) look(found map[topicPartition]ends) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for tp, e := range found {
		p.ends[tp] = e
	}
}

// Describe implements prometheus.Collector.
func (p *progress) Describe(to chan<- *prometheus.Desc) {
	to <- ownedDesc
	to <- commandsLagDesc
	to <- commandsAgeDesc
	to <- stableLagDesc
	to <- idsDesc
	to <- idsBytesDesc
	to <- idsFloorDesc
	to <- idsFullDesc
}

// Collect implements prometheus.Collector.
func (p *progress) Collect(to chan<- prometheus.Metric) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for tp, e := range p.ends {
		gauge(stableLagDesc, float64(max(e.high-e.stable, 0)), tp.topic, strconv.Itoa(int(tp.partition)))
	}
	count := map[string]int{}
	for topic := range p.topics {
		count[topic] = 0
	}
	for tp, o := range p.owned {
		if o.owner == nil {
			continue
		}
		count[tp.topic]++
		if o.ids != nil {
			partition, full := strconv.Itoa(int(tp.partition)), 0.0
			if o.full {
				full = 1
			}
			gauge(idsDesc, float64(o.ids.Held), tp.topic, partition)
			gauge(idsBytesDesc, float64(o.ids.Bytes), tp.topic, partition)
			gauge(idsFloorDesc, min(now.Sub(o.ids.Floor), processing.KeepCommandIDs).Seconds(), tp.topic, partition)
			gauge(idsFullDesc, full, tp.topic, partition)
		}
		e, looked := p.ends[tp]
		if o.next < 0 || !looked {
			continue
		}
		behind, age := max(e.high-o.next, 0), time.Duration(0)
		if behind > 0 {
			age = max(now.Sub(o.since), 0)
		}
		partition := strconv.Itoa(int(tp.partition))
		gauge(commandsLagDesc, float64(behind), tp.topic, partition)
		gauge(commandsAgeDesc, age.Seconds(), tp.topic, partition)
	}
	for topic, n := range count {
		gauge(ownedDesc, float64(n), topic)
	}
}
