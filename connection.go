package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
	"github.com/ledgerline/ledgerline/schemas"
)

// Connection says where the services are that everything works on.
type Connection struct {
	// Brokers are Kafka's, as host:port.
	Brokers []string
	// RegistryURL is the schema registry's, RedisURL Redis's.
	RegistryURL, RedisURL string
	// Prefix is put before the names of topics, groups, transactional ids and keys. Defaults to "".
	Prefix string
	// Log takes what happens. Defaults to nothing.
	Log *slog.Logger
	// Metrics takes the process's metrics (docs/metrics.md); two parts in one process need one each, say
	// with a label of their own. Defaults to registering nothing.
	Metrics prometheus.Registerer
	// Tracing makes spans of HTTP requests, and of the commands and events that come with a sampled
	// traceparent. Defaults to none: a traceparent is handed on all the same.
	Tracing trace.TracerProvider
	// Security defaults to plain text and nobody.
	Security
}

// tracer returns what makes the spans of a process.
func (c Connection) tracer() trace.Tracer {
	if c.Tracing == nil {
		return processing.NoTracer
	}
	return c.Tracing.Tracer(tracerName)
}

// startTimeout is how long a start waits for services that do not answer.
const startTimeout = 30 * time.Second

var outcomeType = reflect.TypeFor[processing.Outcome]()

// link is an App on a Connection: what every part needs.
type link struct {
	app    App
	conn   Connection
	topics kafka.Topics
	clients
	registry *kafka.Registry
	codec    *schemas.Codec
	schema   httpapi.JSONSchema
	requests *httpapi.Metrics
	byTopic  map[string][]string // full names of schemas
	cluster  kafka.Cluster
}

// connect checks app against itself and the topics, the rights of the user against access, and makes
// the codec.
func connect(ctx context.Context, app App, conn Connection, access []kafka.Access) (*link, error) {
	bindings, err := app.check()
	if err != nil {
		return nil, err
	}
	if conn.Log == nil {
		conn.Log = slog.New(slog.DiscardHandler)
	}
	l := &link{app: app, conn: conn, topics: kafka.Topics{Prefix: conn.Prefix}, schema: jsonSchemas(bindings), requests: httpapi.NewMetrics(conn.Metrics)}
	if l.clients, err = conn.clients(app.Name); err != nil {
		return nil, err
	}
	if conn.isExposed() {
		conn.Log.WarnContext(ctx, "kafka user authenticates without encryption: set --kafka-tls")
	}
	if l.registry, err = kafka.NewRegistry(l.clients.registry); err != nil {
		return nil, err
	}
	if l.codec, err = schemas.NewCodec(l.registry, bindings...); err != nil {
		return nil, err
	}
	_, l.byTopic = app.subjects(conn.Prefix, bindings)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := l.checkAccess(ctx, access); err != nil {
		return nil, err
	}
	if l.cluster, err = kafka.Describe(ctx, l.kafka, app.topics(conn.Prefix, 0)); err != nil {
		return nil, l.brokersError(err)
	}
	return l, nil
}

// checkAccess refuses a user who is not allowed all of access.
func (l *link) checkAccess(ctx context.Context, access []kafka.Access) error {
	missing, err := kafka.CheckAccess(ctx, l.kafka, access)
	if err != nil || len(missing) == 0 {
		return l.brokersError(err)
	}
	more := ""
	if len(missing) > 1 {
		more = fmt.Sprintf(" (and %d rights more)", len(missing)-1)
	}
	user := "an anonymous client"
	if l.conn.KafkaUser != "" {
		user = "user " + l.conn.KafkaUser
	}
	return fmt.Errorf("the brokers do not allow %s %s%s; run: provision apply %s USER, or set --kafka-user to one who is allowed", user, missing[0], more, l.app.userFlag(access))
}

// preload finds out whether the schemas that will be written are registered.
func (l *link) preload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for topic, names := range l.byTopic {
		for _, name := range names {
			err := l.codec.Preload(ctx, topic, name)
			if err != nil && !errors.Is(err, schemas.ErrNotRegistered) {
				err = l.conn.registryError(err)
			}
			if err != nil {
				return err // the first tells enough: what mends it mends the others
			}
		}
	}
	return nil
}

// watch looks at topics of every aggregate, each of the kinds given.
func (l *link) watch(metrics *kafka.Metrics, kinds ...func(kafka.Topics, string) string) (*kafka.Watch, error) {
	var names []string
	for _, a := range l.app.Aggregates {
		for _, kind := range kinds {
			names = append(names, kind(l.topics, a.Name))
		}
	}
	return kafka.NewWatch(kafka.WatchConfig{Client: l.kafka, Topics: l.topics, Names: names, Metrics: metrics})
}

// enforced refuses a registry that would take any schema for what is written.
func (l *link) enforced(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, topic := range slices.Sorted(maps.Keys(l.byTopic)) {
		for _, name := range l.byTopic[topic] {
			err := l.registry.CheckCompatibility(ctx, schemas.Subject(topic, name))
			if _, unchecked := errors.AsType[*kafka.UncheckedError](err); err != nil && !unchecked {
				err = l.conn.registryError(err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// servedByRegistry refuses a registry that turns this client away. One that does not answer is asked
// again when there is something to ask: what is in Redis can be read without it.
func (l *link) servedByRegistry(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := l.registry.Ping(ctx)
	if err != nil && !kafka.IsRefused(err) {
		l.conn.Log.WarnContext(ctx, "schema registry does not answer, events wait for it", "err", err)
		return nil
	}
	if err != nil {
		return l.conn.registryError(err)
	}
	return nil
}

// close closes what connect opened.
func (l *link) close() { l.registry.Close() }

// partitions returns how many partitions an aggregate's topics have.
func (l *link) partitions(aggregate string) int32 {
	return l.cluster.Topics[l.topics.Events(aggregate)].Partitions
}

// log configures readers of the events that read models are made of.
func (l *link) log() kafka.LogConfig {
	return kafka.LogConfig{Client: l.kafka, Topics: l.topics, Aggregates: l.app.eventAggregates(), Codec: l.codec}
}

// redisPrefix is what Redis keys begin with: two Apps may share a Redis.
func (l *link) redisPrefix() string { return l.conn.Prefix + l.app.Name }

// openStore makes a store that connects to Redis when it is used.
func (l *link) openStore() (*redisstore.Store, func(), error) {
	client, err := redisstore.NewClient(l.redis)
	if err != nil {
		return nil, nil, err
	}
	closeClient := func() { _ = client.Close() }
	store, err := redisstore.New(redisstore.Config{Client: client, Prefix: l.redisPrefix()})
	if err != nil {
		closeClient()
	}
	return store, closeClient, err
}

// store connects to Redis and refuses one that would lose read models.
func (l *link) store(ctx context.Context) (*redisstore.Store, func(), error) {
	store, closeClient, err := l.openStore()
	if err == nil {
		cctx, cancel := context.WithTimeout(ctx, startTimeout)
		if err = store.Check(cctx); err != nil {
			err = l.redisError(err)
		}
		cancel()
		if err != nil {
			closeClient()
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return store, closeClient, nil
}

// sameLog refuses read models that were built from another cluster or from topics that are gone.
func (l *link) sameLog(ctx context.Context, store readstore.Catalogs, models []*processing.ReadModel) error {
	for _, m := range models {
		c, err := store.Catalog(ctx, m.Name)
		if err != nil {
			return l.redisError(fmt.Errorf("reading generations of %s: %w", m.Name, err))
		}
		for _, g := range c.Generations {
			if g.State == readstore.Retired {
				continue
			}
			hint := fmt.Sprintf("set --redis-url or --prefix, or delete the keys %s:{%s*", l.redisPrefix(), m.Name)
			if g.ClusterID != l.cluster.ID {
				return fmt.Errorf("generation %s of %s in Redis was built from Kafka cluster %s, this one is %s: %s", g.ID, m.Name, g.ClusterID, l.cluster.ID, hint)
			}
			for a, id := range g.TopicIDs {
				if have := l.cluster.Topics[l.topics.Events(a)].ID; have != id {
					return fmt.Errorf("generation %s of %s in Redis was built from another topic %s (id %s, now %s: it was recreated): %s", g.ID, m.Name, l.topics.Events(a), id, have, hint)
				}
			}
		}
	}
	return nil
}
