package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

// Floor is the time below which the command ids of a partition are refused, as it is committed.
type Floor struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Floor is that time; a worker adds that it is a day ago or later.
	Floor time.Time `json:"floor"`
	// LastDecision is the time of the last decision. Time does not go back behind it.
	LastDecision time.Time `json:"last_decision"`
	// Next is the offset of the first command that is not decided.
	Next int64 `json:"next"`

	metadata processing.Metadata
}

// FloorsConfig is what [Floors] need.
type FloorsConfig struct {
	Client ClientConfig
	Topics Topics
	// Aggregates whose commands are meant, Group the consumer group of their workers. Both required.
	Aggregates []*processing.Aggregate
	Group      string
}

// Floors reads and changes the floors that a group has committed.
type Floors struct {
	cfg FloorsConfig
	cl  *kgo.Client
	adm *kadm.Client
}

// NewFloors returns Floors and connects to nothing yet.
func NewFloors(cfg FloorsConfig) (*Floors, error) {
	if err := cfg.Client.check(); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(clientOptions(cfg.Client)...)
	if err != nil {
		return nil, fmt.Errorf("making a client for group %s: %w", cfg.Group, err)
	}
	return &Floors{cfg: cfg, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close closes the connections.
func (f *Floors) Close() { f.cl.Close() }

// List returns the floors of all partitions that have one, in order of topic and partition.
func (f *Floors) List(ctx context.Context) ([]Floor, error) {
	var topics []string
	for _, a := range f.cfg.Aggregates {
		topics = append(topics, f.cfg.Topics.Commands(a.Name))
	}
	fetched, err := f.adm.FetchOffsetsForTopics(kadm.RequireStable(ctx), f.cfg.Group, topics...)
	if err == nil {
		err = fetched.Error()
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return []Floor{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetching committed offsets of group %s: %w", f.cfg.Group, err)
	}
	floors := []Floor{}
	for _, o := range fetched.Offsets().Sorted() {
		if o.At < 0 || !slices.Contains(topics, o.Topic) {
			continue
		}
		if err := unfinished(f.cfg.Topics, o.Metadata); err != nil {
			return nil, err
		}
		m, err := processing.ParseMetadata(o.Metadata)
		if err != nil {
			return nil, fmt.Errorf("group %s has an offset of %s/%d that no worker committed: %w", f.cfg.Group, o.Topic, o.Partition, err)
		}
		floors = append(floors, Floor{Topic: o.Topic, Partition: o.Partition, Floor: m.Floor.UTC(), LastDecision: m.At, Next: o.At, metadata: m})
	}
	slices.SortStableFunc(floors, func(a, b Floor) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return floors, nil
}

// Raise raises all floors that are lower to a time. Every id of before it is refused from then on, be it
// decided or not. It refuses while the group has members.
func (f *Floors) Raise(ctx context.Context, to time.Time) ([]Floor, error) {
	return f.change(ctx, func(one *Floor, _ marks) {
		if one.metadata.Floor.Before(to) {
			one.metadata.Floor = to
		}
	})
}

// Reset sets all floors to a time, and has the next worker read all outcomes again that are in the log. An id
// between the old floor and the new one whose outcome is not in the log any more may be decided a second
// time. It refuses while the group has members.
func (f *Floors) Reset(ctx context.Context, to time.Time) ([]Floor, error) {
	return f.change(ctx, func(one *Floor, outcomes marks) {
		one.metadata.Floor, one.metadata.LowestOutcome = to, -1
		if outcomes.start < outcomes.high {
			one.metadata.LowestOutcome = outcomes.start
		}
	})
}

// change commits the floors anew, and returns them as they are then.
func (f *Floors) change(ctx context.Context, set func(one *Floor, outcomes marks)) ([]Floor, error) {
	if err := checkIdle(ctx, f.adm, f.cfg.Group); err != nil {
		return nil, err
	}
	floors, err := f.List(ctx)
	if err != nil || len(floors) == 0 {
		return floors, err
	}
	var topics []string
	for _, a := range f.cfg.Aggregates {
		topics = append(topics, f.cfg.Topics.Outcomes(a.Name))
	}
	logs, err := readMarks(ctx, f.adm, topics...)
	if err != nil {
		return nil, err
	}
	offsets := kadm.Offsets{}
	for i := range floors {
		one := &floors[i]
		aggregate, _ := f.cfg.Topics.Parse(one.Topic)
		set(one, logs[topicPartition{f.cfg.Topics.Outcomes(aggregate), one.Partition}])
		offsets.Add(kadm.Offset{Topic: one.Topic, Partition: one.Partition, At: one.Next, LeaderEpoch: -1, Metadata: one.metadata.String()})
	}
	// A worker that has come since makes the brokers refuse this: only members may commit then.
	committed, err := f.adm.CommitOffsets(ctx, f.cfg.Group, offsets)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("committing floors of group %s: %w", f.cfg.Group, err)
	}
	return f.List(ctx)
}

// ErrGroupBusy says that workers are at work, which would commit their own floors.
var ErrGroupBusy = errors.New("the group has members: stop every ingest first, and wait out the session timeout of one that was killed")

// checkIdle returns an error unless the group has no members.
func checkIdle(ctx context.Context, adm *kadm.Client, group string) error {
	groups, err := adm.DescribeGroups(ctx, group)
	if err == nil {
		err = groups.Error()
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("asking for the members of group %s: %w", group, err)
	}
	if n := len(groups[group].Members); n > 0 {
		return fmt.Errorf("group %s: %d: %w", group, n, ErrGroupBusy)
	}
	return nil
}
