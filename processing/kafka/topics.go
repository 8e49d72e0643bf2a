package kafka

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The kinds of topic that an aggregate has; a topic's name ends in a dot and its kind.
const (
	commandsKind    = "commands"
	eventsKind      = "events"
	outcomesKind    = "outcomes"
	deadLettersKind = "dead-letters"
)

// DefaultPartitions is how many partitions the topics of commands, events and outcomes are created
// with, unless said otherwise. It can never be changed: keys would move to other partitions.
const DefaultPartitions = 12

const (
	// maxReplication is the replication factor of new topics where there are brokers enough.
	maxReplication = 3
	// commandsRetention is how long commands and outcomes can be read again. What was decided from
	// them is in events.
	commandsRetention = 7 * 24 * time.Hour
	// maxRecordBatch leaves room above the write loop's own limit of 1 MiB a command: a dead letter
	// holds the command and its headers, a decision's events are larger than the command.
	maxRecordBatch = 2 << 20
	minInsync      = "min.insync.replicas"
)

// Topics names topics. The prefix is put before each name as it is, "staging." for example.
type Topics struct{ Prefix string }

// Commands returns the name of the topic that holds the aggregate's commands.
func (t Topics) Commands(aggregate string) string { return t.name(aggregate, commandsKind) }

// Events returns the name of the topic that holds the aggregate's events.
func (t Topics) Events(aggregate string) string { return t.name(aggregate, eventsKind) }

// Outcomes returns the name of the topic that holds what became of the aggregate's commands.
func (t Topics) Outcomes(aggregate string) string { return t.name(aggregate, outcomesKind) }

// DeadLetters returns the name of the topic that holds the records of the commands topic that nobody
// can decode.
func (t Topics) DeadLetters(aggregate string) string { return t.name(aggregate, deadLettersKind) }

func (t Topics) name(aggregate, kind string) string { return t.Prefix + aggregate + "." + kind }

// Parse returns whose topic it is and of what kind: commands, events, outcomes or dead-letters. Both
// are "" for a topic that is not one of t's.
func (t Topics) Parse(topic string) (aggregate, kind string) {
	rest, ours := strings.CutPrefix(topic, t.Prefix)
	aggregate, kind = splitTopic(rest)
	if !ours || aggregate == "" {
		return "", ""
	}
	return aggregate, kind
}

// splitTopic returns "" for a name that ends in no kind.
func splitTopic(topic string) (owner, kind string) {
	dot := strings.LastIndexByte(topic, '.')
	if dot < 0 {
		return "", ""
	}
	switch owner, kind = topic[:dot], topic[dot+1:]; kind {
	case commandsKind, eventsKind, outcomesKind, deadLettersKind:
		return owner, kind
	}
	return "", ""
}

// Topic says what a topic should be.
type Topic struct {
	Name string
	// Partitions is how many it has. Defaults to what it or another of the aggregate's topics of
	// commands, events and outcomes has, else DefaultPartitions.
	Partitions int32
	// ReplicationFactor defaults to what the topic has; a new one gets 3, or as many as there are
	// brokers.
	ReplicationFactor int16
	// Configs are the settings that matter, by their Kafka names; all others are the operator's.
	// min.insync.replicas defaults to 2 if the topic has 3 replicas or more, else to 1.
	Configs map[string]string
}

// Of returns the four topics of an aggregate as they should be, with that many partitions; 0 is as in
// [Topic]. The topic of dead letters has one partition whatever the others have: it is written
// rarely, is read by people, and shows them in the order in which they arrived.
func (t Topics) Of(aggregate string, partitions int32) []Topic {
	kept := func(name string, partitions int32, retention time.Duration) Topic {
		ms := int64(-1)
		if retention > 0 {
			ms = retention.Milliseconds()
		}
		return Topic{Name: name, Partitions: partitions, Configs: map[string]string{
			// Said although they are Kafka's defaults: a broker may have others, and would then
			// compact or cut off a log that must stay whole.
			"cleanup.policy":                 "delete",
			"retention.bytes":                "-1",
			"retention.ms":                   strconv.FormatInt(ms, 10),
			"max.message.bytes":              strconv.Itoa(maxRecordBatch),
			"unclean.leader.election.enable": "false",
		}}
	}
	return []Topic{
		kept(t.Commands(aggregate), partitions, commandsRetention),
		kept(t.Events(aggregate), partitions, 0),
		kept(t.Outcomes(aggregate), partitions, commandsRetention),
		kept(t.DeadLetters(aggregate), 1, 0),
	}
}

// Cluster is what a process must know of the cluster that it works on.
type Cluster struct {
	ID string
	// TransactionVersion is the cluster's feature level transaction.version, 0 if it has none. From 2
	// up, a transaction cannot be mixed up with the one before it.
	TransactionVersion int16
	// Topics has every topic asked for, by name.
	Topics map[string]TopicInfo
}

// TopicInfo is what a process must know of a topic.
type TopicInfo struct {
	// ID is unique for ever: a recreated topic has another. It is written as Kafka's own tools do.
	ID         string
	Partitions int32
}

// Describe checks at the start of a process that the topics are as they should be and returns what
// they are. It returns a *MismatchError if they are not; any other error means that the brokers
// could not say. It needs the right to describe the topics and their settings.
func Describe(ctx context.Context, cfg ClientConfig, topics []Topic) (Cluster, error) {
	client, ctx, end, err := newStartClient(ctx, cfg)
	if err != nil {
		return Cluster{}, err
	}
	defer end()
	state, err := readCluster(ctx, client, topics)
	if err != nil {
		return Cluster{}, cause(ctx, err)
	}
	if changes := state.changes(topics); len(changes) > 0 {
		return Cluster{}, &MismatchError{Changes: changes}
	}
	cluster := Cluster{ID: state.id, Topics: map[string]TopicInfo{}}
	for name, t := range state.topics {
		cluster.Topics[name] = TopicInfo{ID: t.id, Partitions: t.partitions}
	}
	cluster.TransactionVersion, err = transactionVersion(ctx, client)
	return cluster, err
}

func transactionVersion(ctx context.Context, client *kgo.Client) (int16, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "ledgerline", "1"
	answer, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the feature transaction.version: %w", err)
	}
	for _, feature := range answer.FinalizedFeatures {
		if feature.Name == "transaction.version" {
			return feature.MaxVersionLevel, nil
		}
	}
	return 0, nil
}

// topicID is the form in which a topic's id is kept.
func topicID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// clusterState is what a cluster is: of the topics asked for, those that exist.
type clusterState struct {
	id      string
	brokers int
	topics  map[string]topicState
}

type topicState struct {
	id         string
	partitions int32
	led        int32 // partitions with a leader
	replicas   int16
	configs    map[string]string
}

// readTopics reads everything but the settings. It does not go through the client's cache.
func readTopics(ctx context.Context, client *kgo.Client, topics []Topic) (clusterState, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // nil would mean all
	for _, t := range topics {
		asked := kmsg.NewMetadataRequestTopic()
		asked.Topic = &t.Name
		req.Topics = append(req.Topics, asked)
	}
	answer, err := req.RequestWith(ctx, client)
	if err != nil {
		return clusterState{}, fmt.Errorf("reading the topics of the cluster: %w", err)
	}
	state := clusterState{brokers: len(answer.Brokers), topics: map[string]topicState{}}
	if answer.ClusterID != nil {
		state.id = *answer.ClusterID
	}
	for _, t := range answer.Topics {
		err := kerr.ErrorForCode(t.ErrorCode)
		if t.Topic == nil || errors.Is(err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if err != nil {
			return clusterState{}, fmt.Errorf("reading topic %s: %w", *t.Topic, err)
		}
		found := topicState{id: topicID(t.TopicID), partitions: int32(len(t.Partitions))}
		for _, partition := range t.Partitions {
			if partition.Leader >= 0 {
				found.led++
			}
			found.replicas = max(found.replicas, int16(len(partition.Replicas)))
		}
		state.topics[*t.Topic] = found
	}
	return state, nil
}

func readCluster(ctx context.Context, client *kgo.Client, topics []Topic) (clusterState, error) {
	state, err := readTopics(ctx, client, topics)
	if err != nil {
		return state, err
	}
	names := slices.Sorted(maps.Keys(state.topics))
	described, err := kadm.NewClient(client).DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return state, fmt.Errorf("reading the settings of topics: %w", err)
	}
	for _, d := range described {
		if d.Err != nil {
			return state, fmt.Errorf("reading the settings of topic %s: %w", d.Name, d.Err)
		}
		t := state.topics[d.Name]
		t.configs = map[string]string{}
		for _, c := range d.Configs {
			t.configs[c.Key] = c.MaybeValue()
		}
		state.topics[d.Name] = t
	}
	return state, nil
}

// resolve fills in what the topics leave open, see [Topic].
func (s clusterState) resolve(topics []Topic) []Topic {
	counts := map[string]int32{}
	for _, t := range topics {
		if found, exists := s.topics[t.Name]; exists && counts[equals(t.Name)] == 0 {
			counts[equals(t.Name)] = found.partitions
		}
	}
	resolved := slices.Clone(topics)
	for i := range resolved {
		t := &resolved[i]
		found := s.topics[t.Name]
		t.Partitions = cmp.Or(t.Partitions, counts[equals(t.Name)], DefaultPartitions)
		t.ReplicationFactor = cmp.Or(t.ReplicationFactor, found.replicas, int16(min(maxReplication, s.brokers)))
		t.Configs = maps.Clone(t.Configs)
		if t.Configs == nil {
			t.Configs = map[string]string{}
		}
		if t.Configs[minInsync] == "" {
			// By the replicas that there are: a topic with fewer of them than that takes no record.
			insync := 1
			if cmp.Or(found.replicas, t.ReplicationFactor) >= maxReplication {
				insync = 2
			}
			t.Configs[minInsync] = strconv.Itoa(insync)
		}
	}
	return resolved
}

// equals names the topics that must have as many partitions as this one.
func equals(topic string) string {
	owner, kind := splitTopic(topic)
	if kind == "" || kind == deadLettersKind {
		return topic
	}
	return owner + ".*"
}

// changes returns what differs, topic by topic, the settings of one in the order of their names.
func (s clusterState) changes(topics []Topic) []Change {
	var changes []Change
	for _, t := range s.resolve(topics) {
		found, exists := s.topics[t.Name]
		if !exists {
			want := fmt.Sprintf("%d partitions, replication factor %d", t.Partitions, t.ReplicationFactor)
			for _, name := range slices.Sorted(maps.Keys(t.Configs)) {
				want += fmt.Sprintf(", %s=%s", name, t.Configs[name])
			}
			changes = append(changes, Change{Kind: CreateTopic, Name: t.Name, Was: "missing", Want: want, topic: t})
			continue
		}
		if found.partitions != t.Partitions {
			changes = append(changes, Change{
				Kind: WrongPartitions, Name: t.Name, Setting: "number of partitions",
				Was: strconv.Itoa(int(found.partitions)), Want: strconv.Itoa(int(t.Partitions)),
				Hint: fmt.Sprintf("it cannot be changed, keys would move: set --partitions %d, or choose another --prefix", found.partitions),
			})
		}
		if found.replicas != t.ReplicationFactor {
			changes = append(changes, Change{
				Kind: WrongReplication, Name: t.Name, Setting: "replication factor",
				Was: strconv.Itoa(int(found.replicas)), Want: strconv.Itoa(int(t.ReplicationFactor)),
				Hint: "replicas are moved with: kafka-reassign-partitions.sh",
			})
		}
		for _, name := range slices.Sorted(maps.Keys(t.Configs)) {
			if was, want := found.configs[name], t.Configs[name]; was != want {
				changes = append(changes, Change{Kind: AlterConfig, Name: t.Name, Setting: name, Was: cmp.Or(was, "not set"), Want: want})
			}
		}
	}
	return changes
}
