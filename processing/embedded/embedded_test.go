package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"go.uber.org/goleak"

	"github.com/ledgerline/ledgerline/processing/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg embedded.Config) *embedded.Services {
	t.Helper()
	s, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func kafkaClient(t *testing.T, s *embedded.Services, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(s.Brokers...), kgo.MetadataMinAge(20*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func registryClient(t *testing.T, s *embedded.Services) *sr.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := sr.NewClient(sr.URLs(s.RegistryURL), sr.HTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func createTopic(t *testing.T, client *kgo.Client, name string, configs map[string]*string) kadm.CreateTopicResponse {
	t.Helper()
	created, err := kadm.NewClient(client).CreateTopic(t.Context(), 2, 1, configs, name)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// consume returns the first n values of the topic that a read_committed reader sees.
func consume(t *testing.T, s *embedded.Services, topic string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client := kafkaClient(t, s, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	var values []string
	for len(values) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("got %q, then %v", values, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func TestKafkaShowsOnlyCommittedTransactions(t *testing.T) {
	s := start(t, embedded.Config{})
	ctx := t.Context()
	client := kafkaClient(t, s, kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	createTopic(t, client, "order.events", nil)
	for _, step := range []struct {
		value string
		end   kgo.TransactionEndTry
	}{{"dropped", kgo.TryAbort}, {"kept", kgo.TryCommit}} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		record := &kgo.Record{Topic: "order.events", Value: []byte(step.value)}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(ctx, step.end); err != nil {
			t.Fatal(err)
		}
	}
	if got := consume(t, s, "order.events", 1); got[0] != "kept" || len(got) != 1 {
		t.Errorf("got %q, want only the committed record", got)
	}
}

func TestKafkaCreatesNoTopicUnasked(t *testing.T) {
	s := start(t, embedded.Config{})
	client := kafkaClient(t, s, kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0), kgo.RecordDeliveryTimeout(time.Second))
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "unasked", Value: []byte("x")}).FirstErr(); err == nil {
		t.Error("produced to a topic that nobody created")
	}
}

// What the start-up checks ask a broker, this one can answer.
func TestKafkaDescribesItself(t *testing.T) {
	s := start(t, embedded.Config{})
	client := kafkaClient(t, s)
	retention := "-1"
	created := createTopic(t, client, "order.events", map[string]*string{"retention.ms": &retention})
	admin := kadm.NewClient(client)
	metadata, err := admin.Metadata(t.Context(), "order.events")
	if err != nil {
		t.Fatal(err)
	}
	if metadata.Cluster != embedded.ClusterID || metadata.Topics["order.events"].ID != created.ID || created.ID == (kadm.TopicID{}) {
		t.Errorf("got cluster %q, topic id %s, created as %s", metadata.Cluster, metadata.Topics["order.events"].ID, created.ID)
	}
	configs, err := admin.DescribeTopicConfigs(t.Context(), "order.events")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range configs[0].Configs {
		got[c.Key] = c.MaybeValue()
	}
	if got["retention.ms"] != "-1" || got["min.insync.replicas"] != "1" {
		t.Errorf("got %v", got)
	}
}

func TestTakenPortsGiveWayToTheNextFree(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	s := start(t, embedded.Config{KafkaPort: port, RegistryPort: port, RedisPort: port})
	var used []int
	for _, address := range []string{"kafka://" + s.Brokers[0], s.RegistryURL, s.RedisURL} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		p, err := strconv.Atoi(u.Port())
		if err != nil {
			t.Fatal(err)
		}
		used = append(used, p)
	}
	if !slices.IsSorted(append([]int{port + 1}, used...)) || used[0] == used[1] || used[1] == used[2] || used[2] >= port+20 {
		t.Errorf("%d is taken; got ports %d, want the next three free ones", port, used)
	}
}

// avro makes a record of strings; a field that ends in "=" has a default.
func avro(fields ...string) sr.Schema {
	texts := make([]string, len(fields))
	for i, f := range fields {
		name, _, hasDefault := strings.Cut(f, "=")
		texts[i] = fmt.Sprintf(`{"name":%q,"type":"string"`, name)
		if hasDefault {
			texts[i] += `,"default":""`
		}
		texts[i] += "}"
	}
	return sr.Schema{Schema: `{"type":"record","name":"OrderPlaced","fields":[` + strings.Join(texts, ",") + "]}"}
}

func TestRegistryRefusesIncompatibleSchemas(t *testing.T) {
	s := start(t, embedded.Config{})
	client, ctx := registryClient(t, s), t.Context()
	const subject = "order.events-ledgerline.order.OrderPlaced"
	register := func(schema sr.Schema) (int, error) { return client.RegisterSchema(ctx, subject, schema, -1, -1) }

	if level := client.Compatibility(ctx)[0]; level.Err != nil || level.Level != sr.CompatBackwardTransitive {
		t.Errorf("got level %v, %v", level.Level, level.Err)
	}
	first, err := register(avro("a"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := register(avro("a", "b="))
	if err != nil || second == first {
		t.Fatalf("got id %d, %v; want another than %d", second, err, first)
	}
	if again, err := register(avro("a")); err != nil || again != first {
		t.Errorf("registered again: got id %d, %v; want %d", again, err, first)
	}
	// b without a default reads the second version, but not the first.
	var refusal *sr.ResponseError
	for _, fields := range [][]string{{"a", "b"}, {"a", "c"}} {
		_, err = register(avro(fields...))
		if !errors.As(err, &refusal) || refusal.StatusCode != http.StatusConflict ||
			refusal.ErrorCode != sr.ErrIncompatibleSchema.Code || !strings.Contains(refusal.Message, fields[1]) {
			t.Errorf("fields %v: got %v, want 409 that names %s", fields, err, fields[1])
		}
	}
	if _, err = register(sr.Schema{Schema: `{"type":`}); !errors.As(err, &refusal) || refusal.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("broken schema: got %v, want 422", err)
	}
	for _, c := range []struct {
		fields  []string
		version int // -1 the latest, -2 all
		want    bool
	}{
		{[]string{"a", "b"}, 1, false},
		{[]string{"a", "b"}, 2, true},
		{[]string{"a", "b"}, -1, true},
		{[]string{"a", "b"}, -2, false},
		{[]string{"a", "b=", "c="}, -2, true},
	} {
		result, err := client.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), subject, c.version, avro(c.fields...))
		if err != nil || result.Is != c.want || (len(result.Messages) == 0) != c.want {
			t.Errorf("fields %v against version %d: got %v, %v, want %t", c.fields, c.version, result, err, c.want)
		}
	}
	if set := client.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatNone}, subject)[0]; set.Err != nil {
		t.Fatal(set.Err)
	}
	if _, err := register(avro("c")); err != nil {
		t.Errorf("at level NONE: %v", err)
	}
	if err := client.Do(ctx, http.MethodPost, "/contexts/x/subjects/"+subject+"/versions", avro("z"), nil); err == nil {
		t.Error("a context is a way past the check")
	}
}

func TestRedisRunsScriptsAndExpiresKeys(t *testing.T) {
	s := start(t, embedded.Config{})
	options, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client, ctx := redis.NewClient(options), t.Context()
	defer func() { _ = client.Close() }()
	sum, err := client.Eval(ctx, `redis.call('HSET', KEYS[1], 'f', ARGV[1]); return redis.call('HINCRBY', KEYS[1], 'f', 2)`, []string{"{b}:docs"}, 40).Int()
	if err != nil || sum != 42 {
		t.Errorf("got %d, %v, want 42", sum, err)
	}
	if err := client.Set(ctx, "short", "x", 5*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		n, err := client.Exists(ctx, "short").Result()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("key with a time to live of 5 ms is still there after 5 s")
		}
	}
}

func TestDataDirKeepsTopicsAndSchemaIDs(t *testing.T) {
	dir := t.TempDir()
	schemas := []sr.Schema{avro("a"), avro("a", "b="), avro("x")}
	subjects := []string{"one", "one", "two"}
	var ids []int
	{
		s := start(t, embedded.Config{DataDir: dir})
		client := kafkaClient(t, s, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		createTopic(t, client, "order.events", nil)
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "order.events", Value: []byte("kept")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		registry := registryClient(t, s)
		for i, schema := range schemas {
			id, err := registry.RegisterSchema(t.Context(), subjects[i], schema, -1, -1)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if _, err := registry.DeleteSubject(t.Context(), "two", sr.SoftDelete); err != nil {
			t.Fatal(err)
		}
		client.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A process killed while it wrote leaves half a line.
	journal := filepath.Join(dir, "registry.jsonl")
	whole, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(journal, append(bytes.Clone(whole), `{"method":"POST","pa`...), 0o600); err != nil {
		t.Fatal(err)
	}

	s := start(t, embedded.Config{DataDir: dir})
	if got := consume(t, s, "order.events", 1); got[0] != "kept" {
		t.Errorf("got %q", got)
	}
	registry := registryClient(t, s)
	for i, schema := range schemas[:2] {
		if found, err := registry.LookupSchema(t.Context(), subjects[i], schema); err != nil || found.ID != ids[i] {
			t.Errorf("schema %d: got id %d, %v, want %d", i, found.ID, err, ids[i])
		}
	}
	if _, err := registry.LookupSchema(t.Context(), "two", schemas[2]); err == nil {
		t.Error("a deleted subject is back")
	}
	if text, err := os.ReadFile(journal); err != nil || !bytes.Equal(text, whole) {
		t.Errorf("the half line is still there: %v", err)
	}
	if text, err := registry.SchemaByID(t.Context(), ids[2]); err != nil || text.Schema != schemas[2].Schema {
		t.Errorf("got %q, %v", text.Schema, err)
	}
}

func TestStartRefusesADamagedJournal(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "registry.jsonl"), []byte("{\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := embedded.Start(embedded.Config{DataDir: dir}); err == nil {
		t.Errorf("started %v", s)
	}
}
