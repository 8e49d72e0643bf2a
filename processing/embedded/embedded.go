// Package embedded runs a Kafka broker, a schema registry and a Redis inside the process, on loopback
// TCP ports, so that any client on the machine can use them: kcat, redis-cli, curl, another binary of
// ours.
//
// It owns the lives of the three and what the registry lacks on its own: a compatibility check and,
// with a data folder, a memory. It is for trying things out and for tests; it refuses to be more:
// there is one broker, no replication, no authentication unless asked for, and a process that is
// killed, rather than closed, may leave half a transaction behind.
package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"
)

// ClusterID is the Kafka cluster id of every embedded broker. What sets two of them apart is the ids
// of their topics.
const ClusterID = "ledgerline-embedded"

const (
	host = "127.0.0.1"
	// portsTried is how many ports from the preferred one upwards are tried.
	portsTried = 20
	// minSessionTimeout lets a test have its consumer groups notice a dead member soon.
	minSessionTimeout = 100 * time.Millisecond
	closeTimeout      = 5 * time.Second
)

// Config says where the services listen and what they keep.
type Config struct {
	// KafkaPort, RegistryPort and RedisPort are the preferred ports; if one is taken, the next free
	// one of the 20 from it upwards is used. Each defaults to any free port.
	KafkaPort, RegistryPort, RedisPort int
	// DataDir is where topics, consumer groups and schemas are kept, by one process at a time. Redis
	// is always empty at the start. Defaults to keeping nothing.
	DataDir string
	// TLS has all three speak TLS and nothing else. Defaults to plain text.
	TLS *tls.Config
	// KafkaAdmin, if set, may do everything; everybody else must be one of KafkaUsers, who may do what
	// ACLs allow them. All authenticate by SASL: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN. Defaults to
	// everybody doing everything.
	KafkaAdmin Login
	KafkaUsers []Login
	// Registry is who must authenticate with the registry, and Redis with Redis. Default to nobody.
	Registry, Redis Login
}

// Login is a user and the password.
type Login struct{ User, Password string }

// mechanisms are those by which the broker lets every user authenticate.
var mechanisms = []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"}

// Services are running services. Their addresses do not change.
type Services struct {
	// Brokers holds the one broker as host:port.
	Brokers []string
	// RegistryURL is the schema registry's, like http://127.0.0.1:8081.
	RegistryURL string
	// RedisURL is the Redis's, like redis://127.0.0.1:6379.
	RedisURL string

	kafka    *kfake.Cluster
	registry *registryServer
	redis    *miniredis.Miniredis
	// restart is the Config of a service that starts again: the ports are those that it has.
	restart Config
}

// Start starts all three services, or none. Each accepts connections when it returns.
func Start(cfg Config) (*Services, error) {
	if cfg.DataDir != "" {
		if err := os.MkdirAll(cfg.DataDir, 0o750); err != nil {
			return nil, fmt.Errorf("starting embedded services: %w", err)
		}
	}
	s := &Services{}
	if err := s.start(cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Services) start(cfg Config) error {
	if err := s.startKafka(cfg); err != nil {
		return fmt.Errorf("starting embedded broker: %w", err)
	}
	if err := s.startRegistry(cfg); err != nil {
		return fmt.Errorf("starting embedded schema registry: %w", err)
	}
	if err := s.startRedis(cfg); err != nil {
		return fmt.Errorf("starting embedded Redis: %w", err)
	}
	s.restart = Config{DataDir: cfg.DataDir, KafkaPort: portOf(s.Brokers[0]), RegistryPort: portOf(s.RegistryURL), RedisPort: portOf(s.RedisURL)}
	return nil
}

// portOf returns the port that an address of ours ends with.
func portOf(address string) int {
	port, _ := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:]) // we have written it
	return port
}

// RestartBroker ends the broker and starts it again at its address, with what the data folder keeps. After
// an error there is none.
func (s *Services) RestartBroker() error {
	s.kafka.Close()
	if err := s.startKafka(s.restart); err != nil {
		s.kafka = nil
		return fmt.Errorf("starting embedded broker again: %w", err)
	}
	return nil
}

// RestartRegistry ends the registry and starts it again at its address, with what the data folder keeps.
// After an error there is none.
func (s *Services) RestartRegistry() error {
	err := s.registry.close()
	s.registry = nil
	if err == nil {
		err = s.startRegistry(s.restart)
	}
	if err != nil {
		return fmt.Errorf("starting embedded schema registry again: %w", err)
	}
	return nil
}

// RestartRedis ends Redis and starts it again at its address, with nothing in it. After an error there is
// none.
func (s *Services) RestartRedis() error {
	s.redis.Close()
	s.redis = nil
	if err := s.startRedis(s.restart); err != nil {
		return fmt.Errorf("starting embedded Redis again: %w", err)
	}
	return nil
}

// Close stops the services, drops their connections and, with a data folder, saves the broker's
// state. It waits for what it can: the broker's goroutines end by themselves soon after. A second
// call does nothing.
func (s *Services) Close() error {
	var err error
	if s.registry != nil {
		err = s.registry.close()
		s.registry = nil
	}
	if s.redis != nil {
		s.redis.Close()
		s.redis = nil
	}
	if s.kafka != nil {
		s.kafka.Close()
		s.kafka = nil
	}
	return err
}

func (s *Services) startKafka(cfg Config) error {
	ln, err := listen(cfg.KafkaPort)
	if err != nil {
		return err
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID(ClusterID),
		kfake.GroupMinSessionTimeout(minSessionTimeout),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return ln, nil }),
	}
	if cfg.DataDir != "" {
		opts = append(opts, kfake.DataDir(filepath.Join(cfg.DataDir, "kafka")))
	}
	if cfg.TLS != nil {
		ln = tls.NewListener(ln, cfg.TLS)
	}
	if cfg.KafkaAdmin.User != "" {
		opts = append(opts, kfake.EnableSASL(), kfake.EnableACLs())
		for _, m := range mechanisms {
			opts = append(opts, kfake.Superuser(m, cfg.KafkaAdmin.User, cfg.KafkaAdmin.Password))
			for _, u := range cfg.KafkaUsers {
				opts = append(opts, kfake.User(m, u.User, u.Password))
			}
		}
	}
	if s.kafka, err = kfake.NewCluster(opts...); err != nil {
		return errors.Join(err, ln.Close())
	}
	s.Brokers = s.kafka.ListenAddrs()
	return nil
}

func (s *Services) startRegistry(cfg Config) error {
	handler, err := newRegistry(cfg.DataDir)
	if err != nil {
		return err
	}
	ln, err := listen(cfg.RegistryPort)
	if err != nil {
		return errors.Join(err, handler.close())
	}
	s.RegistryURL = "http://" + ln.Addr().String()
	if cfg.TLS != nil {
		ln = tls.NewListener(ln, cfg.TLS)
		s.RegistryURL = "https://" + ln.Addr().String()
	}
	s.registry = serveRegistry(handler, cfg.Registry, ln)
	return nil
}

func (s *Services) startRedis(cfg Config) error {
	redis := miniredis.NewMiniRedis()
	// Otherwise keys never expire.
	redis.ClockTTL(true)
	if cfg.Redis.User != "" {
		redis.RequireUserAuth(cfg.Redis.User, cfg.Redis.Password)
	}
	scheme, start := "redis://", redis.StartAddr
	if cfg.TLS != nil {
		scheme, start = "rediss://", func(address string) error { return redis.StartAddrTLS(address, cfg.TLS) }
	}
	if err := nearest(cfg.RedisPort, start); err != nil {
		return err
	}
	s.redis = redis
	s.RedisURL = scheme + redis.Addr()
	return nil
}

func listen(port int) (net.Listener, error) {
	var ln net.Listener
	err := nearest(port, func(address string) (err error) {
		ln, err = net.Listen("tcp", address)
		return err
	})
	return ln, err
}

// nearest calls open with the address of port and then of those above it until one can be opened, and
// returns the last error if none can.
func nearest(port int, open func(address string) error) error {
	if port == 0 {
		return open(net.JoinHostPort(host, "0"))
	}
	var err error
	for p := port; p < port+portsTried; p++ {
		if err = open(net.JoinHostPort(host, strconv.Itoa(p))); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no port from %d to %d is free: %w", port, port+portsTried-1, err)
}

type registryServer struct {
	handler *registry
	server  *http.Server
	served  chan error
}

func serveRegistry(handler *registry, login Login, ln net.Listener) *registryServer {
	s := &registryServer{
		handler: handler,
		server:  &http.Server{Handler: authenticated(login, handler.routes()), ReadHeaderTimeout: closeTimeout, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)},
		served:  make(chan error, 1),
	}
	go func() { s.served <- s.server.Serve(ln) }()
	return s
}

// authenticated lets nobody but the login through, or everybody if it is of no user.
func authenticated(login Login, next http.Handler) http.Handler {
	if login.User == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, ok := req.BasicAuth(); !ok || user != login.User || password != login.Password {
			refuse(w, http.StatusUnauthorized, http.StatusUnauthorized, "Unauthorized")
			return
		}
		next.ServeHTTP(w, req)
	})
}

func (s *registryServer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.server.Close())
	}
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err = errors.Join(err, s.handler.close()); err != nil {
		return fmt.Errorf("closing embedded schema registry: %w", err)
	}
	return nil
}
