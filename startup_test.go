package ledgerline_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/ledgerline/ledgerline"
)

// starting is what connects at its start.
var starting = map[string]program{
	"ingest serve": ledgerline.RunIngest, "processor serve": ledgerline.RunProcessor,
	"rebuild status": ledgerline.RunRebuild, "provision check": ledgerline.RunProvision,
}

var (
	everybody   = []string{"ingest serve", "processor serve", "rebuild status", "provision check"}
	ofTopics    = []string{"ingest serve", "processor serve", "rebuild status"}
	ofRegistry  = []string{"ingest serve", "processor serve", "rebuild status", "provision check"}
	ofRedis     = []string{"processor serve", "rebuild status"}
	ofSnapshots = append([]string{"ingest serve"}, ofRedis...)
)

// refusal is a start that must end with exit code 2 and one line which holds the words.
type refusal struct {
	name  string
	by    []string
	conn  ledgerline.Connection
	words []string
	// silent is for who gets no answer: what stands for the bound of a start, which is longer than a
	// test should take, ends it.
	silent bool
	// drift is what `provision check` prints, with exit code 1.
	drift string
}

const (
	// silence stands for the bound of a start.
	silence = time.Second
	// atOnce is far less than a start waits for an answer.
	atOnce = 15 * time.Second
)

// TestStartRefuses starts each binary on services that it must not work on: it ends with exit code 2
// and one line on stderr, at the usual level of the log, that says what is wrong and what to type.
func TestStartRefuses(t *testing.T) {
	t.Parallel()
	for _, rows := range []func(*testing.T) []refusal{driftedTopics, laxServices, deniedRights, wrongPasswords, wrongTLS, unreachable} {
		for _, row := range rows(t) {
			for _, name := range row.by {
				t.Run(row.name+"/"+name, func(t *testing.T) {
					t.Parallel()
					row.check(t, name)
				})
			}
			if row.drift != "" {
				if p := run(t, ledgerline.RunProvision, row.conn, "check"); p.code != ledgerline.ExitFailed || !strings.Contains(p.stdout, row.drift) {
					t.Errorf("%s: provision check: exit %d: %s%s, want %q", row.name, p.code, p.stdout, p.stderr, row.drift)
				}
			}
		}
	}
}

func (row refusal) check(t *testing.T, name string) {
	t.Helper()
	bound := patience
	if row.silent {
		bound = silence
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	args := strings.Fields(name)[1:]
	if args[0] == "serve" {
		args = append(args, "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0")
	}
	began := time.Now()
	p := runWith(ctx, starting[name], nil, append(args, connectArgs(row.conn)...)...)
	if took := time.Since(began); took > atOnce || row.silent && took > silence+atOnce/3 {
		t.Errorf("it took %s", took)
	}
	if p.code != ledgerline.ExitMisuse || len(lines(p.stderr)) != 1 || p.stdout != "" {
		t.Errorf("exit %d, want 2 with one line\nstdout: %s\nstderr: %s", p.code, p.stdout, p.stderr)
	}
	for _, word := range append(row.words, strings.Fields(name)[0]+": ") {
		if !strings.Contains(p.stderr, word) {
			t.Errorf("%q is not in: %s", word, p.stderr)
		}
	}
	t.Log(strings.TrimSpace(p.stderr))
}

// provisioned starts services with topics and schemas.
func provisioned(t *testing.T) (ledgerline.Connection, *plain) {
	t.Helper()
	_, conn := startEmbedded(t, "")
	provision(t, conn, 1)
	return conn, newPlain(t, conn)
}

func driftedTopics(t *testing.T) []refusal {
	t.Helper()
	setting := func(name, value string) func(*kadm.Client) error {
		return func(adm *kadm.Client) error {
			_, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, "order.events")
			return err
		}
	}
	var rows []refusal
	for _, drift := range []struct {
		name   string
		change func(*kadm.Client) error
		words  []string
	}{
		{"another number of partitions", func(adm *kadm.Client) error {
			_, err := adm.CreatePartitions(t.Context(), 2, "order.events")
			return err
		}, []string{"topic order.events: number of partitions is 3, want 1", "set --partitions 3, or choose another --prefix"}},
		{"a topic is missing", func(adm *kadm.Client) error {
			_, err := adm.DeleteTopic(t.Context(), "payment.outcomes")
			return err
		}, []string{"topic payment.outcomes: missing, want 1 partitions", "run: provision apply"}},
		{"retention", setting("retention.ms", "1000"), []string{"topic order.events: retention.ms is 1000, want -1; run: provision apply"}},
		{"compaction", setting("cleanup.policy", "compact"), []string{"topic order.events: cleanup.policy is compact, want delete; run: provision apply"}},
		{"too many in-sync replicas", setting("min.insync.replicas", "2"), []string{"topic order.events: min.insync.replicas is 2, want 1; run: provision apply"}},
	} {
		conn, p := provisioned(t)
		if err := drift.change(kadm.NewClient(p.kgo)); err != nil {
			t.Fatal(err)
		}
		told, _, _ := strings.Cut(drift.words[0], "; ")
		rows = append(rows, refusal{name: drift.name, by: ofTopics, conn: conn, words: drift.words, drift: told})
	}
	return rows
}

// laxServices would lose or mix up data without an error.
func laxServices(t *testing.T) []refusal {
	t.Helper()
	old, p := provisioned(t)
	req := kmsg.NewPtrUpdateFeaturesRequest()
	update := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	update.Feature, update.MaxVersionLevel, update.AllowDowngrade, update.UpgradeType = "transaction.version", 1, true, 2
	req.FeatureUpdates = append(req.FeatureUpdates, update)
	if answer, err := req.RequestWith(t.Context(), p.kgo); err != nil || answer.ErrorCode != 0 {
		t.Fatalf("lowering transaction.version: %v, %+v", err, answer)
	}
	const subject = "order.events-ledgerline.order.OrderPlaced"
	own, p := provisioned(t)
	p.configure(http.MethodPut, "/config/"+subject, `{"compatibility":"NONE"}`)
	global, p := provisioned(t)
	p.configure(http.MethodDelete, "/config/"+subject, "")
	p.configure(http.MethodPut, "/config", `{"compatibility":"NONE"}`)

	evicting, _ := provisioned(t)
	lru := miniredis.RunT(t)
	if err := lru.Server().Register("CONFIG", func(c *server.Peer, _ string, _ []string) {
		c.WriteMapLen(2)
		for _, text := range []string{"maxmemory", "100000000", "maxmemory-policy", "allkeys-lru"} {
			c.WriteBulk(text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	evicting.RedisURL = "redis://" + lru.Addr()
	return []refusal{
		{name: "transaction version 1", by: []string{"ingest serve"}, conn: old, words: []string{"transaction.version=1", "kafka-features.sh --bootstrap-server " + old.Brokers[0], "--allow-transaction-version-1"}},
		{name: "a subject without compatibility", by: []string{"ingest serve"}, conn: own, words: []string{"subject " + subject + " (compatibility NONE)", "run: provision apply"}, drift: "subject " + subject + ": compatibility level is NONE, want BACKWARD_TRANSITIVE"},
		{name: "a registry without compatibility", by: []string{"ingest serve"}, conn: global, words: []string{"subject " + subject + " (compatibility NONE)", "run: provision apply"}, drift: "subject " + subject + ": compatibility level is not set, want BACKWARD_TRANSITIVE"},
		{name: "a Redis that evicts", by: ofSnapshots, conn: evicting, words: []string{"maxmemory-policy allkeys-lru", "redis-cli CONFIG SET maxmemory-policy noeviction"}},
	}
}

// configure changes the registry's settings.
func (p *plain) configure(method, path, body string) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), method, p.conn.RegistryURL+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := p.http.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		p.t.Fatalf("%s %s: %s", method, path, answer.Status)
	}
}

// admin returns an administrator's client.
func (s *secured) admin(t *testing.T) *kadm.Client {
	t.Helper()
	pool := x509.NewCertPool()
	text, err := os.ReadFile(s.ca)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatalf("reading the authority: %v", err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.DialTLSConfig(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}),
		kgo.SASL(scram.Auth{User: s.KafkaAdmin.User, Pass: s.KafkaAdmin.Password}.AsSha512Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// deniedRights takes one right from each of some users.
func deniedRights(t *testing.T) []refusal {
	t.Helper()
	denials := []struct {
		by       string
		resource string
		remove   *kadm.ACLBuilder
		words    []string
	}{
		{"ingest serve", "topic to write", kadm.NewACLs().Topics("order.events").Operations(kadm.OpWrite), []string{"Write on topic order.events", "provision apply --ingest-user"}},
		{"ingest serve", "topic to read", kadm.NewACLs().Topics("payment.outcomes").Operations(kadm.OpRead), []string{"Read on topic payment.outcomes"}},
		{"ingest serve", "settings", kadm.NewACLs().Topics("payment.dead-letters").Operations(kadm.OpDescribeConfigs), []string{"DescribeConfigs on topic payment.dead-letters"}},
		{"ingest serve", "topic at all", kadm.NewACLs().Topics("account.dead-letters").Operations(kadm.OpWrite), []string{"Write on topic account.dead-letters"}},
		{"ingest serve", "group", kadm.NewACLs().Groups("ledgerline.ingest").Operations(kadm.OpRead), []string{"Read on group ledgerline.ingest", "provision apply --ingest-user"}},
		{"ingest serve", "transactional id", kadm.NewACLs().TransactionalIDs("ledgerline.ingest.").Operations(kadm.OpWrite), []string{"Write on transactional-id ledgerline.ingest.", "provision apply --ingest-user"}},
		{"processor serve", "topic", kadm.NewACLs().Topics("order.events").Operations(kadm.OpRead), []string{"Read on topic order.events", "provision apply --processor-user"}},
		{"processor serve", "group", kadm.NewACLs().Groups("ledgerline.processor.").Operations(kadm.OpRead), []string{"Read on group ledgerline.processor.", "provision apply --processor-user"}},
		{"rebuild status", "topic", kadm.NewACLs().Topics("order.events").Operations(kadm.OpRead), []string{"Read on topic order.events", "provision apply --rebuild-user"}},
	}
	userOf := func(i int) string { return fmt.Sprintf("denied-%d", i) }
	var users []string
	for i := range denials {
		users = append(users, userOf(i))
	}
	s := startSecured(t, append(users, "nobody")...)
	adm := s.admin(t)
	if p := run(t, ledgerline.RunProvision, s.as(t, "admin"), "apply", "--partitions", "1"); p.code != ledgerline.ExitOK {
		t.Fatalf("provision apply: exit %d: %s", p.code, p.stderr)
	}
	var rows []refusal
	for i, d := range denials {
		name := strings.Fields(d.by)[0]
		if p := run(t, ledgerline.RunProvision, s.as(t, "admin"), "apply", "--"+name+"-user", userOf(i)); p.code != ledgerline.ExitOK {
			t.Fatalf("provision apply: exit %d: %s", p.code, p.stderr)
		}
		gone, err := adm.DeleteACLs(t.Context(), d.remove.ResourcePatternType(kadm.ACLPatternAny).Allow("User:"+userOf(i)).AllowHosts())
		if err != nil || len(gone) != 1 || len(gone[0].Deleted) != 1 {
			t.Fatalf("taking %s from %s: %v, %+v", d.words[0], userOf(i), err, gone)
		}
		rows = append(rows, refusal{name: "no right to a " + d.resource, by: []string{d.by}, conn: s.as(t, userOf(i)), words: append(d.words, "do not allow user "+userOf(i))})
	}
	return append(rows,
		refusal{name: "no rights", by: ofTopics, conn: s.as(t, "nobody"), words: []string{"do not allow user nobody", "rights more)", "run: provision apply --"}},
		refusal{name: "no rights", by: []string{"provision check"}, conn: s.as(t, "nobody"), words: []string{"TOPIC_AUTHORIZATION_FAILED", "set --kafka-user to one who is allowed"}})
}

func wrongPasswords(t *testing.T) []refusal {
	t.Helper()
	s := startSecured(t)
	if p := run(t, ledgerline.RunProvision, s.as(t, "admin"), "apply", "--partitions", "1"); p.code != ledgerline.ExitOK {
		t.Fatalf("provision apply: exit %d: %s", p.code, p.stderr)
	}
	wrong := secret(t, "wrong")
	with := func(change func(*ledgerline.Connection)) ledgerline.Connection {
		conn := s.as(t, "admin")
		change(&conn)
		return conn
	}
	kafka, registry, redis := []string{"--kafka-user", "--kafka-password-file"}, []string{"set --registry-user and --registry-password-file"}, []string{"set --redis-user and --redis-password-file"}
	return []refusal{
		{name: "Kafka's password", by: everybody, conn: with(func(c *ledgerline.Connection) { c.KafkaPasswordFile = wrong }), words: kafka},
		{name: "Kafka's password, scram-sha-256", by: everybody, conn: with(func(c *ledgerline.Connection) { c.KafkaPasswordFile, c.KafkaSASL = wrong, "scram-sha-256" }), words: kafka},
		{name: "Kafka's password, plain", by: everybody, conn: with(func(c *ledgerline.Connection) { c.KafkaPasswordFile, c.KafkaSASL = wrong, "plain" }), words: kafka},
		{name: "an unknown Kafka user", by: everybody, conn: with(func(c *ledgerline.Connection) { c.KafkaUser = "stranger" }), words: kafka},
		{name: "no Kafka user", by: everybody, conn: with(func(c *ledgerline.Connection) { c.KafkaUser, c.KafkaPasswordFile = "", "" }), words: []string{"set --kafka-user"}},
		{name: "the registry's password", by: ofRegistry, conn: with(func(c *ledgerline.Connection) { c.RegistryPasswordFile = wrong }), words: registry},
		{name: "no registry user", by: ofRegistry, conn: with(func(c *ledgerline.Connection) { c.RegistryUser, c.RegistryPasswordFile = "", "" }), words: registry},
		{name: "Redis's password", by: ofSnapshots, conn: with(func(c *ledgerline.Connection) { c.RedisPasswordFile = wrong }), words: redis},
		{name: "no Redis user", by: ofSnapshots, conn: with(func(c *ledgerline.Connection) { c.RedisUser, c.RedisPasswordFile = "", "" }), words: redis},
		{name: "a user without a password", by: everybody, conn: with(func(c *ledgerline.Connection) { c.KafkaPasswordFile = "" }), words: []string{"--kafka-user needs a password: set --kafka-password-file"}},
		{name: "a password without a user", by: everybody, conn: with(func(c *ledgerline.Connection) { c.RegistryUser = "" }), words: []string{"set --registry-user"}},
		{name: "a password file that is not there", by: everybody, conn: with(func(c *ledgerline.Connection) { c.RedisPasswordFile = "not-there" }), words: []string{"not-there", "set --redis-password-file"}},
		{name: "an empty password file", by: everybody, conn: with(func(c *ledgerline.Connection) { c.KafkaPasswordFile = secret(t, "\n") }), words: []string{"is empty", "set --kafka-password-file"}},
		{name: "an authorities file that is not there", by: everybody, conn: with(func(c *ledgerline.Connection) { c.CAFile = "not-there" }), words: []string{"not-there", "set --ca-file"}},
		{name: "an authorities file without any", by: everybody, conn: with(func(c *ledgerline.Connection) { c.CAFile = wrong }), words: []string{"no certificate in PEM", "set --ca-file"}},
	}
}

func wrongTLS(t *testing.T) []refusal {
	t.Helper()
	plainText, _ := provisioned(t)
	s := startSecured(t)
	if p := run(t, ledgerline.RunProvision, s.as(t, "admin"), "apply", "--partitions", "1"); p.code != ledgerline.ExitOK {
		t.Fatalf("provision apply: exit %d: %s", p.code, p.stderr)
	}
	another, _ := authority(t)
	with := func(conn ledgerline.Connection, change func(*ledgerline.Connection)) ledgerline.Connection {
		change(&conn)
		return conn
	}
	encrypted := s.as(t, "admin")
	hangsUp := listening(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4)) })
	return []refusal{
		// As Apache Kafka does: a client hello looks like a request that is too large.
		{name: "TLS to brokers without", by: everybody, conn: with(plainText, func(c *ledgerline.Connection) { c.Brokers, c.KafkaTLS = []string{hangsUp}, true }), words: []string{"leave out --kafka-tls"}},
		{name: "plain text to brokers with TLS", by: everybody, conn: with(encrypted, func(c *ledgerline.Connection) { c.KafkaTLS = false }), words: []string{"set --kafka-tls"}},
		{name: "brokers of another authority", by: everybody, conn: with(encrypted, func(c *ledgerline.Connection) { c.CAFile = another }), words: []string{"set --ca-file"}},
		{name: "TLS to a registry without", by: ofRegistry, conn: with(plainText, func(c *ledgerline.Connection) { c.RegistryURL = strings.Replace(c.RegistryURL, "http:", "https:", 1) }), words: []string{"set --registry-url to http://"}},
		{name: "plain text to a registry with TLS", by: ofRegistry, conn: with(encrypted, func(c *ledgerline.Connection) { c.RegistryURL = strings.Replace(c.RegistryURL, "https:", "http:", 1) }), words: []string{"set --registry-url", "https://"}},
		{name: "a registry of another authority", by: ofRegistry, conn: with(plainText, func(c *ledgerline.Connection) { c.RegistryURL, c.CAFile = s.RegistryURL, another }), words: []string{"set --ca-file"}},
		{name: "TLS to a Redis without", by: ofRedis, conn: with(plainText, func(c *ledgerline.Connection) { c.RedisURL = strings.Replace(c.RedisURL, "redis:", "rediss:", 1) }), words: []string{"set --redis-url to redis://"}},
		{name: "plain text to a Redis with TLS", by: ofRedis, conn: with(encrypted, func(c *ledgerline.Connection) { c.RedisURL = strings.Replace(c.RedisURL, "rediss:", "redis:", 1) }), words: []string{"set --redis-url to rediss://"}},
		{name: "a Redis of another authority", by: ofRedis, conn: with(plainText, func(c *ledgerline.Connection) { c.RedisURL, c.CAFile = s.RedisURL, another }), words: []string{"set --ca-file"}},
	}
}

// listening returns the address of a server that does one thing with each connection, then closes it.
func listening(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(conn)
				_ = conn.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

// unreachable is what does not answer, or not as it should.
func unreachable(t *testing.T) []refusal {
	t.Helper()
	conn, _ := provisioned(t)
	with := func(change func(*ledgerline.Connection)) ledgerline.Connection {
		conn := conn
		change(&conn)
		return conn
	}
	nobody := freeAddr(t)
	mute := listening(t, func(net.Conn) { <-t.Context().Done() })
	protected := listening(t, func(c net.Conn) {
		_, _ = c.Write([]byte("-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user.\r\n"))
	})
	limited := miniredis.RunT(t)
	limited.SetError("NOPERM User models has no permissions to run the 'ping' command")
	return []refusal{
		{name: "no brokers", silent: true, by: everybody, conn: with(func(c *ledgerline.Connection) { c.Brokers = []string{nobody} }), words: []string{nobody, "set --brokers"}},
		{name: "mute brokers", silent: true, by: everybody, conn: with(func(c *ledgerline.Connection) { c.Brokers = []string{mute} }), words: []string{mute, "did not answer", "set --brokers"}},
		{name: "no registry", by: []string{"ingest serve", "provision check"}, conn: with(func(c *ledgerline.Connection) { c.RegistryURL = "http://" + nobody }), words: []string{nobody, "set --registry-url"}},
		{name: "a mute registry", silent: true, by: []string{"ingest serve", "provision check"}, conn: with(func(c *ledgerline.Connection) { c.RegistryURL = "http://" + mute }), words: []string{mute, "set --registry-url"}},
		{name: "no Redis", by: ofRedis, conn: with(func(c *ledgerline.Connection) { c.RedisURL = "redis://" + nobody }), words: []string{nobody, "set --redis-url"}},
		{name: "a mute Redis", silent: true, by: ofRedis, conn: with(func(c *ledgerline.Connection) { c.RedisURL = "redis://" + mute }), words: []string{"set --redis-url"}},
		{name: "Redis in protected mode", by: ofRedis, conn: with(func(c *ledgerline.Connection) { c.RedisURL = "redis://" + protected }), words: []string{"DENIED", "protected mode", "set --redis-user and --redis-password-file"}},
		{name: "a Redis user without rights", by: ofRedis, conn: with(func(c *ledgerline.Connection) { c.RedisURL = "redis://" + limited.Addr() }), words: []string{"NOPERM", "'ping'", "README.md"}},
	}
}
