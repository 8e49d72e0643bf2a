package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kslog"
)

// ClientConfig says how to reach the brokers.
type ClientConfig struct {
	// Brokers are host:port addresses. Required.
	Brokers []string
	// ClientID names the process in broker logs. Defaults to "ledgerline".
	ClientID string
	// TLS is how connections are encrypted. Defaults to not at all.
	TLS *tls.Config
	// SASL says who the client is. Defaults to nobody.
	SASL *SASL
	// Dial makes connections, such as through a proxy; with TLS, it is what lies under it. Defaults to a
	// net.Dialer with a time-out of 10 s.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Log receives the client library's own messages from warnings up. Defaults to none.
	Log *slog.Logger
}

func (c ClientConfig) check() error {
	if len(c.Brokers) == 0 {
		return errors.New("no brokers: set --brokers")
	}
	if c.SASL != nil {
		_, err := c.SASL.mechanism()
		return err
	}
	return nil
}

// clientOptions returns what every client here has in common.
func clientOptions(c ClientConfig) []kgo.Opt {
	if c.ClientID == "" {
		c.ClientID = "ledgerline"
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		// franz-go turns NOT_LEADER and CONCURRENT_TRANSACTIONS into a wait for metadata, by default
		// of up to 5 s.
		kgo.MetadataMinAge(20 * time.Millisecond),
		// The cluster gives a dead broker's partitions and groups to others within seconds. The library's
		// pauses between tries, of 250 ms to 5 s, would outlast that; with shorter ones it is time that ends
		// the tries, not their number.
		kgo.RetryBackoffFn(retryBackoff),
		kgo.RequestRetries(100),
		// What a fetch brings takes a dozen times its size once it is uncompressed and read, for each broker.
		kgo.FetchMaxBytes(2 << 20),
		kgo.FetchMaxPartitionBytes(256 << 10),
		// Record batches of ours are small; a broker that is down must not hold a caller for long.
		kgo.RecordDeliveryTimeout(15 * time.Second),
	}
	opts = append(opts, securityOptions(c)...)
	if c.Log != nil {
		opts = append(opts, kgo.WithLogger(levelled{kslog.New(c.Log)}))
	}
	return opts
}

// levelled keeps the library's chatter below warnings out of the log.
type levelled struct{ kgo.Logger }

func (levelled) Level() kgo.LogLevel { return kgo.LogLevelWarn }

// retryBackoff is the pause before a request's n-th retry: 50 ms, then 100, 200, 400, then 500.
func retryBackoff(n int) time.Duration {
	return min(50*time.Millisecond<<min(max(n-1, 0), 10), 500*time.Millisecond)
}
