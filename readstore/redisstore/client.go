package redisstore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	dialTimeout = 5 * time.Second
	// answerTimeout leaves room for the scripts of a bulk build that queue before ours.
	answerTimeout = 15 * time.Second
)

// quiet drops what the client library writes to stderr on its own: every error comes back to a caller,
// who logs or returns it.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quiet{}) }

// ClientConfig says how to reach Redis.
type ClientConfig struct {
	// URL is redis://[user:password@]host[:port][/db], rediss:// for TLS, or unix://path. One or more
	// ?addr=host:port make it a cluster's. Required.
	URL string
	// RootCAs are the authorities whose certificates are trusted. Defaults to the system's.
	RootCAs *x509.CertPool
	// Password, if set, is asked at every authentication, in the place of the URL's user and password.
	Password func() (string, error)
	// User is who authenticates with Password. Defaults to Redis's default user.
	User string
	// Dial makes connections, such as through a proxy; with TLS, it makes those too. Defaults to the library's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewClient returns a client. It uses no network yet; the caller closes it. Its commands honour the
// deadlines of contexts and end within a minute without one. No error of it shows a password.
func NewClient(cfg ClientConfig) (redis.UniversalClient, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the Redis URL: %w: type it like redis://localhost:6379", withoutURL(err))
	}
	var credentials func(context.Context) (string, string, error)
	if cfg.Password != nil {
		credentials = func(context.Context) (string, string, error) {
			password, err := cfg.Password()
			return cfg.User, password, err
		}
	}
	quietly := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if u.Query().Has("addr") {
		options, err := redis.ParseClusterURL(cfg.URL)
		if err != nil {
			return nil, fmt.Errorf("reading the Redis URL: %w: type it like redis://localhost:7000?addr=localhost:7001", withoutURL(err))
		}
		options.DialTimeout, options.ReadTimeout, options.WriteTimeout = dialTimeout, answerTimeout, answerTimeout
		options.ContextTimeoutEnabled, options.DisableIdentity = true, true
		options.MaintNotificationsConfig = quietly
		options.CredentialsProviderContext, options.Dialer = credentials, cfg.Dial
		if options.TLSConfig != nil {
			options.TLSConfig.RootCAs = cfg.RootCAs
		}
		return redis.NewClusterClient(options), nil
	}
	options, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the Redis URL: %w: type it like redis://localhost:6379", withoutURL(err))
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = dialTimeout, answerTimeout, answerTimeout
	options.ContextTimeoutEnabled, options.DisableIdentity = true, true
	options.MaintNotificationsConfig = quietly
	options.CredentialsProviderContext, options.Dialer = credentials, cfg.Dial
	if options.TLSConfig != nil {
		options.TLSConfig.RootCAs = cfg.RootCAs
	}
	return redis.NewClient(options), nil
}

// withoutURL takes the URL out of an error, because it may hold a password.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
