package kafka

import (
	"slices"
	"testing"
)

func TestTopicsNameAndParse(t *testing.T) {
	for _, prefix := range []string{"", "staging.", "a.events"} {
		topics := Topics{Prefix: prefix}
		for kind, name := range map[string]func(string) string{
			"commands": topics.Commands, "events": topics.Events, "outcomes": topics.Outcomes, "dead-letters": topics.DeadLetters,
		} {
			topic := name("order")
			if want := prefix + "order." + kind; topic != want {
				t.Errorf("got %s, want %s", topic, want)
			}
			if aggregate, got := topics.Parse(topic); aggregate != "order" || got != kind {
				t.Errorf("%s: got %q, %q", topic, aggregate, got)
			}
		}
	}
	for _, foreign := range []string{"", "order", "order.", "order.states", ".events", "order.events", "staging.events", "staging..events", "production.order.events"} {
		if aggregate, kind := (Topics{Prefix: "staging."}).Parse(foreign); aggregate != "" || kind != "" {
			t.Errorf("%q: got %q, %q, want none", foreign, aggregate, kind)
		}
	}
}

func TestTopicsKeepWhatTheyMust(t *testing.T) {
	const week = "604800000"
	all := Topics{Prefix: "p."}.Of("order", 6)
	want := []struct {
		name       string
		partitions int32
		retention  string
	}{
		{"p.order.commands", 6, week},
		{"p.order.events", 6, "-1"},
		{"p.order.outcomes", 6, week},
		{"p.order.dead-letters", 1, "-1"},
	}
	if len(all) != len(want) {
		t.Fatalf("got %d topics, want %d", len(all), len(want))
	}
	for i, w := range want {
		got := all[i]
		if got.Name != w.name || got.Partitions != w.partitions || got.Configs["retention.ms"] != w.retention {
			t.Errorf("got %+v, want %+v", got, w)
		}
		for name, value := range map[string]string{
			"cleanup.policy": "delete", "retention.bytes": "-1", "max.message.bytes": "2097152", "unclean.leader.election.enable": "false",
		} {
			if got.Configs[name] != value {
				t.Errorf("%s: %s is %q, want %q", got.Name, name, got.Configs[name], value)
			}
		}
	}
}

func TestTopicsAreResolvedByWhatThereIs(t *testing.T) {
	open := Topics{}.Of("order", 0)
	existing := func(partitions int32, replicas int16) map[string]topicState {
		return map[string]topicState{"order.events": {partitions: partitions, replicas: replicas}}
	}
	for _, c := range []struct {
		name        string
		state       clusterState
		partitions  int32
		replication []int16  // of commands and events
		insync      []string // of commands and events
	}{
		{"three brokers, nothing there", clusterState{brokers: 5}, 12, []int16{3, 3}, []string{"2", "2"}},
		{"two brokers, nothing there", clusterState{brokers: 2}, 12, []int16{2, 2}, []string{"1", "1"}},
		{"events with one replica from when there was one broker", clusterState{brokers: 3, topics: existing(6, 1)}, 6, []int16{3, 1}, []string{"2", "1"}},
	} {
		got := c.state.resolve(open)
		for i := range c.replication {
			if got[i].Partitions != c.partitions || got[i].ReplicationFactor != c.replication[i] || got[i].Configs[minInsync] != c.insync[i] {
				t.Errorf("%s: got %+v", c.name, got[i])
			}
		}
	}
	if slices.ContainsFunc(open, func(t Topic) bool { return t.Configs[minInsync] != "" || t.Partitions == 12 }) {
		t.Errorf("resolve changed its argument: %v", open)
	}
}
