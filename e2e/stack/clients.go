package stack

import (
	"context"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Kafka returns a client of the brokers, which the caller closes. It does not produce or ask for longer
// than opts say.
func (s *Stack) Kafka(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.Brokers...)}, opts...)...)
}

// Redis returns a client of Redis, which the caller closes.
func (s *Stack) Redis() (*redis.Client, error) { return redisClient(s.RedisURL) }

// AskRegistry makes a request to the registry's Confluent API; into takes the JSON of its answer, unless it
// is nil.
func (s *Stack) AskRegistry(ctx context.Context, method, path, body string, into any) error {
	return call(ctx, method, s.RegistryURL+path, body, into)
}
