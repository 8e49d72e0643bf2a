package stack

import (
	"context"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// KafkaOptions returns what a client needs to reach the brokers as a user, or as nobody if that is empty.
// Without Security everybody is nobody.
func (a Addresses) KafkaOptions(user string) ([]kgo.Opt, error) {
	options := []kgo.Opt{kgo.SeedBrokers(a.Brokers...)}
	if a.Security == nil {
		return options, nil
	}
	trust, err := a.Security.tlsConfig()
	if err != nil {
		return nil, err
	}
	options = append(options, kgo.DialTLSConfig(trust))
	if user == "" {
		return options, nil
	}
	secret, err := password(a.Security.KafkaUsers, user)
	if err != nil {
		return nil, err
	}
	return append(options, kgo.SASL(scram.Auth{User: user, Pass: secret}.AsSha512Mechanism())), nil
}

// RegistryClient returns a client that reaches the registry as a user, or as nobody if that is empty. It
// keeps no connection between requests.
func (a Addresses) RegistryClient(user string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	transport.DisableCompression = true // Apicurio 3.3.3 compresses what it answers over HTTP/2 twice
	if a.Security == nil {
		return &http.Client{Transport: transport}, nil
	}
	var err error
	if transport.TLSClientConfig, err = a.Security.tlsConfig(); err != nil {
		return nil, err
	}
	if user == "" {
		return &http.Client{Transport: transport}, nil
	}
	secret, err := password(a.Security.RegistryUsers, user)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: basicAuth{user: user, password: secret, next: transport}}, nil
}

type basicAuth struct {
	user, password string
	next           http.RoundTripper
}

func (b basicAuth) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context()) // the caller's is not to be changed
	r.SetBasicAuth(b.user, b.password)
	return b.next.RoundTrip(r)
}

// RedisOptions returns what a client needs to reach Redis as a user, or as nobody if that is empty.
func (a Addresses) RedisOptions(user string) (*redis.Options, error) {
	options, err := redis.ParseURL(a.RedisURL)
	if err != nil || a.Security == nil {
		return options, err
	}
	trust, err := a.Security.tlsConfig()
	if err != nil {
		return nil, err
	}
	options.TLSConfig = trust
	if user == "" {
		return options, nil
	}
	options.Username = user
	options.Password, err = password(a.Security.RedisUsers, user)
	return options, err
}

// kafkaClient returns a client of our own, for one question.
func (a Addresses) kafkaClient() (*kgo.Client, error) {
	options, err := a.KafkaOptions(Admin)
	if err != nil {
		return nil, err
	}
	return kgo.NewClient(append(options,
		kgo.ClientID("stack"), kgo.MetadataMinAge(20*time.Millisecond),
		kgo.RetryTimeout(tryTimeout), kgo.RecordDeliveryTimeout(tryTimeout),
	)...)
}

// Redis returns a client of Redis as the administrator, which the caller closes.
func (a Addresses) Redis() (*redis.Client, error) {
	options, err := a.RedisOptions(Admin)
	if err != nil {
		return nil, err
	}
	options.MaxRetries, options.ContextTimeoutEnabled = -1, true
	return redis.NewClient(options), nil
}

// Kafka returns a client of the brokers as the administrator, which the caller closes. It does not produce
// or ask for longer than opts say.
func (a Addresses) Kafka(opts ...kgo.Opt) (*kgo.Client, error) {
	options, err := a.KafkaOptions(Admin)
	if err != nil {
		return nil, err
	}
	return kgo.NewClient(append(options, opts...)...)
}

// AskRegistry makes a request to the registry's Confluent API as the administrator; into takes the JSON of
// its answer, unless it is nil.
func (a Addresses) AskRegistry(ctx context.Context, method, path, body string, into any) error {
	return a.call(ctx, method, a.RegistryURL+path, body, into)
}
