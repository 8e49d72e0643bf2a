// Package containers runs the services of a test stack in containers: the fourth provider of package
// stack. It is a module of its own, so that nobody else needs a Docker client and what it brings along.
//
// It owns the containers and a network of one stack, and needs a Docker engine that this process may
// talk to. It takes images as their makers publish them and builds none.
package containers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"

	"github.com/ledgerline/ledgerline/e2e/native"
	"github.com/ledgerline/ledgerline/e2e/stack"
)

// The images. Their versions are those of the native stack, but for Redis, whose is the newest.
const (
	kafkaImage    = "apache/kafka:4.3.1"
	registryImage = "quay.io/apicurio/apicurio-registry:3.3.3"
	redisImage    = "redis:8.8.1-alpine"
)

// The ports inside.
const (
	clientPort     = 9094
	internalPort   = 9092
	controllerPort = 9093
	registryPort   = 8080
	redisPort      = 6379
)

// writable is the folder that the user of any image may write to.
const writable = "/tmp"

const (
	startTimeout  = 5 * time.Minute // images may have to be fetched
	answerTimeout = 2 * time.Minute
	stopTimeout   = 30 * time.Second
)

// services are the containers of one stack.
type services struct {
	cfg       stack.Config
	docker    *testcontainers.DockerProvider
	network   *testcontainers.DockerNetwork
	addresses stack.Addresses
	running   map[stack.Service]*testcontainers.DockerContainer
	// order is the one that they were started in.
	order []stack.Service

	closing sync.Once
	closed  error
}

// Start is stack.Start for containers. Addresses are ports of 127.0.0.1 that stay over restarts. With a
// Dir, Close leaves the services' logs there.
func Start(ctx context.Context, cfg stack.Config) (*stack.Stack, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Brokers == 0 {
		cfg.Brokers = 1
	}
	s := &services{cfg: cfg, running: map[stack.Service]*testcontainers.DockerContainer{}}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return stack.New(ctx, stack.Containers, s.addresses, s)
}

func (s *services) start(ctx context.Context) error {
	var err error
	if s.docker, err = testcontainers.NewDockerProvider(); err != nil {
		return fmt.Errorf("talking to the Docker engine: %w; is it running?", err)
	}
	if s.network, err = tcnetwork.New(ctx); err != nil {
		return fmt.Errorf("making a network: %w; is the Docker engine running?", err)
	}
	ports, err := stack.FreePorts(s.cfg.Brokers + 2)
	if err != nil {
		return err
	}
	s.addresses.RedisURL = fmt.Sprintf("redis://127.0.0.1:%d", ports[0])
	s.addresses.RegistryURL = fmt.Sprintf("http://127.0.0.1:%d/apis/ccompat/v7", ports[1])
	for _, p := range ports[2:] {
		s.addresses.Brokers = append(s.addresses.Brokers, fmt.Sprintf("127.0.0.1:%d", p))
	}
	// The port is on our loopback alone; seen from inside, that is another machine.
	err = s.run(ctx, stack.Redis, redisImage, redisPort, ports[0],
		testcontainers.WithCmd("redis-server", "--protected-mode", "no", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"))
	if err != nil {
		return err
	}
	err = s.run(ctx, stack.Registry, registryImage, registryPort, ports[1], testcontainers.WithEnv(map[string]string{
		// It forgets all schemas in a restart otherwise, and gives their ids to others.
		"APICURIO_DATASOURCE_URL": "jdbc:h2:file:" + writable + "/schemas",
	}))
	if err != nil {
		return err
	}
	cluster := stack.ClusterID(uuid.New())
	for i, p := range ports[2:] {
		env, err := s.brokerEnv(i+1, p)
		if err != nil {
			return err
		}
		env["CLUSTER_ID"], env["KAFKA_HEAP_OPTS"] = cluster, "-Xms256m -Xmx512m"
		if err := s.run(ctx, stack.Broker(i+1), kafkaImage, clientPort, p, testcontainers.WithEnv(env)); err != nil {
			return err
		}
	}
	for _, one := range s.order {
		if err := s.await(ctx, one, true); err != nil {
			return err
		}
	}
	s.addresses.Versions.Kafka, err = s.kafkaVersion(ctx)
	return err
}

// run starts a container in the network, under its service's name there, with its port on ours.
func (s *services) run(ctx context.Context, one stack.Service, image string, inside, outside int, opts ...testcontainers.ContainerCustomizer) error {
	port := network.MustParsePort(strconv.Itoa(inside) + "/tcp")
	opts = append(opts,
		testcontainers.WithExposedPorts(port.String()),
		tcnetwork.WithNetwork([]string{string(one)}, s.network),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.PortBindings = network.PortMap{port: {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(outside)}}}
		}),
	)
	c, err := testcontainers.Run(ctx, image, opts...)
	if c != nil { // one that failed to start is to be removed, too
		s.running[one] = c
		s.order = append(s.order, one)
	}
	if err != nil {
		return fmt.Errorf("starting %s in a container of %s: %w", one, image, err)
	}
	return nil
}

// brokerEnv says in the image's way what the native stack's server.properties say, so that both are
// configured alike. A third listener is for clients outside of the network.
func (s *services) brokerEnv(id, port int) (map[string]string, error) {
	var voters []string
	for i := range s.cfg.Brokers {
		voters = append(voters, fmt.Sprintf("%d@%s:%d", i+1, stack.Broker(i+1), controllerPort))
	}
	properties, err := native.Node{
		ID: id, Port: internalPort, ControllerPort: controllerPort, Voters: strings.Join(voters, ","),
		Data: "/var/lib/kafka/data", Replicas: s.cfg.Brokers, MinISR: min(s.cfg.Brokers, 2),
	}.Properties()
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for line := range strings.Lines(string(properties)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			env["KAFKA_"+strings.ToUpper(strings.ReplaceAll(name, ".", "_"))] = value
		}
	}
	env["KAFKA_LISTENERS"] = fmt.Sprintf("PLAINTEXT://:%d,CONTROLLER://:%d,CLIENT://:%d", internalPort, controllerPort, clientPort)
	env["KAFKA_ADVERTISED_LISTENERS"] = fmt.Sprintf("PLAINTEXT://%s,CLIENT://%s",
		net.JoinHostPort(string(stack.Broker(id)), strconv.Itoa(internalPort)), net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:PLAINTEXT"
	return env, nil
}

// await waits until a service answers: for the first time, or after a restart.
func (s *services) await(ctx context.Context, one stack.Service, first bool) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := stack.Await(ctx, string(one), nil, func(ctx context.Context) error {
		switch {
		case one == stack.Redis:
			return s.addresses.RedisAnswers(ctx)
		case one == stack.Registry:
			return s.addresses.RegistryChecks(ctx)
		case first:
			return s.addresses.BrokersWork(ctx)
		default:
			id, err := strconv.ParseInt(strings.TrimPrefix(string(one), "broker-"), 10, 32)
			return errors.Join(err, s.addresses.BrokerInSync(ctx, int32(id)))
		}
	})
	if err != nil {
		log, _ := s.log(context.WithoutCancel(ctx), one)
		return fmt.Errorf("%w; its log ends with:\n%s", err, log[max(0, len(log)-2000):])
	}
	s.cfg.Log.InfoContext(ctx, "service answers", "service", one)
	return nil
}

// Do implements stack.Control.
func (s *services) Do(ctx context.Context, a stack.Action, one stack.Service) error {
	c := s.running[one]
	if c == nil {
		return fmt.Errorf("there is no such service; there are: %v", s.order)
	}
	engine, id := s.docker.Client(), c.GetContainerID()
	var err error
	switch a {
	case stack.Kill:
		if _, err = engine.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"}); err == nil {
			err = s.awaitEnd(ctx, c)
		}
	case stack.Stop:
		_, err = engine.ContainerPause(ctx, id, client.ContainerPauseOptions{})
	case stack.Continue:
		_, err = engine.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{})
	case stack.Restart:
		err = s.restart(ctx, one, c)
	default:
		err = errors.ErrUnsupported
	}
	return err
}

func (s *services) restart(ctx context.Context, one stack.Service, c *testcontainers.DockerContainer) error {
	state, err := c.State(ctx)
	if err != nil {
		return err
	}
	if state.Paused { // it hears nothing else
		if _, err := s.docker.Client().ContainerUnpause(ctx, c.GetContainerID(), client.ContainerUnpauseOptions{}); err != nil {
			return err
		}
	}
	if one == stack.Broker(1) && len(s.addresses.Brokers) == 1 { // see docs/guides/hanging-transactions.md
		if err := s.Do(ctx, stack.Kill, one); err != nil && state.Running {
			return err
		}
	}
	timeout := stopTimeout
	if err := c.Stop(ctx, &timeout); err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return err
	}
	return s.await(ctx, one, false)
}

func (s *services) awaitEnd(ctx context.Context, c *testcontainers.DockerContainer) error {
	return stack.Await(ctx, "the end of the container", nil, func(ctx context.Context) error {
		state, err := c.State(ctx)
		if err == nil && state.Running {
			err = errors.New("it is still running")
		}
		return err
	})
}

// Close removes the containers, with what they kept, and the network.
func (s *services) Close() error {
	s.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		for _, one := range slices.Backward(s.order) {
			c := s.running[one]
			if s.cfg.Dir != "" {
				s.closed = errors.Join(s.closed, s.keepLog(ctx, one))
			}
			if state, err := c.State(ctx); err == nil && state.Running { // a paused one cannot be stopped
				_, err := s.docker.Client().ContainerKill(ctx, c.GetContainerID(), client.ContainerKillOptions{Signal: "KILL"})
				s.closed = errors.Join(s.closed, err)
			}
			s.closed = errors.Join(s.closed, c.Terminate(ctx))
		}
		if s.network != nil {
			s.closed = errors.Join(s.closed, s.network.Remove(ctx))
		}
		if s.docker != nil {
			s.closed = errors.Join(s.closed, s.docker.Close())
		}
	})
	return s.closed
}
