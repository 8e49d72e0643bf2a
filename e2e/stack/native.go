//go:build unix

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/ledgerline/ledgerline/e2e/native"
)

// processes are the native services of one stack.
type processes struct {
	cfg       Config
	installed native.Installation
	addresses Addresses
	services  map[Service]*process
	// order is the one to start them in.
	order []Service

	closing sync.Once
	closed  error
	ownDir  bool
}

func startNative(ctx context.Context, cfg Config) (*Stack, error) {
	n := &processes{cfg: cfg, services: map[Service]*process{}}
	var err error
	if n.installed, err = native.Find(); err != nil {
		return nil, err
	}
	if cfg.Dir == "" {
		n.ownDir = true
		n.cfg.Dir, err = os.MkdirTemp("", "ledgerline-stack-")
	} else if n.cfg.Dir, err = filepath.Abs(cfg.Dir); err == nil {
		err = os.MkdirAll(n.cfg.Dir, 0o750)
	}
	if err != nil {
		return nil, fmt.Errorf("making the folder of the stack: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return New(ctx, Native, n.addresses, n)
}

func (n *processes) start(ctx context.Context) error {
	ports, err := FreePorts(2*n.cfg.Brokers + 3)
	if err != nil {
		return err
	}
	if err := n.addRedis(ports[0]); err != nil {
		return err
	}
	if err := n.addRegistry(ports[1], ports[2]); err != nil {
		return err
	}
	if err := n.addBrokers(ctx, ports[3:]); err != nil {
		return err
	}
	for _, s := range n.order {
		if err := n.services[s].start(); err != nil {
			return err
		}
	}
	began := time.Now()
	for _, s := range n.order {
		if err := n.await(ctx, s, true); err != nil {
			return err
		}
		n.cfg.Log.InfoContext(ctx, "service answers", "service", s, "took", time.Since(began).Round(time.Millisecond))
	}
	n.addresses.Versions.Kafka, err = kafkaVersionFromLog(n.services[Broker(1)].output)
	return err
}

// add adds a service with a folder of its own.
func (n *processes) add(s Service, args func(dir string) ([]string, error)) error {
	dir := filepath.Join(n.cfg.Dir, string(s))
	if err := os.Mkdir(dir, 0o750); err != nil {
		return fmt.Errorf("making the folder of %s: %w", s, err)
	}
	a, err := args(dir)
	if err != nil {
		return err
	}
	n.services[s] = &process{service: s, args: a, dir: dir, output: filepath.Join(dir, "output.log"), log: n.cfg.Log}
	n.order = append(n.order, s)
	return nil
}

func (n *processes) addRedis(port int) error {
	n.addresses.RedisURL = fmt.Sprintf("redis://127.0.0.1:%d", port)
	return n.add(Redis, func(dir string) ([]string, error) {
		return []string{
			n.installed.RedisServer, "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", dir,
			"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction",
		}, nil
	})
}

func (n *processes) addRegistry(port, managementPort int) error {
	n.addresses.RegistryURL = fmt.Sprintf("http://127.0.0.1:%d/apis/ccompat/v7", port)
	return n.add(Registry, func(dir string) ([]string, error) {
		return []string{
			n.installed.RegistryJava, "-Xmx384m", "-XX:+UseSerialGC",
			"-Dquarkus.http.host=127.0.0.1", fmt.Sprintf("-Dquarkus.http.port=%d", port),
			"-Dquarkus.management.host=127.0.0.1", fmt.Sprintf("-Dquarkus.management.port=%d", managementPort),
			// It forgets all schemas in a restart otherwise, and gives their ids to others.
			"-Dapicurio.datasource.url=jdbc:h2:file:" + filepath.Join(dir, "schemas"),
			"-Dapicurio.datasource.jdbc.initial-size=2", "-Dapicurio.datasource.jdbc.min-size=2",
			"-jar", filepath.Join(n.installed.RegistryHome, "quarkus-run.jar"),
		}, nil
	})
}

func (n *processes) addBrokers(ctx context.Context, ports []int) error {
	cluster := ClusterID(uuid.New())
	var voters []string
	for i := range n.cfg.Brokers {
		n.addresses.Brokers = append(n.addresses.Brokers, fmt.Sprintf("127.0.0.1:%d", ports[2*i]))
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i+1, ports[2*i+1]))
	}
	for i := range n.cfg.Brokers {
		err := n.add(Broker(i+1), func(dir string) ([]string, error) {
			return n.formatNode(ctx, dir, cluster, native.Node{
				ID: i + 1, Port: ports[2*i], ControllerPort: ports[2*i+1], Voters: strings.Join(voters, ","),
				Data: filepath.Join(dir, "data"), Replicas: n.cfg.Brokers, MinISR: min(n.cfg.Brokers, 2),
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// formatNode writes a node's settings and makes its data folder, and returns how to run it.
func (n *processes) formatNode(ctx context.Context, dir, cluster string, node native.Node) ([]string, error) {
	properties, err := node.Properties()
	if err != nil {
		return nil, err
	}
	settings, log4j := filepath.Join(dir, "server.properties"), filepath.Join(dir, "log4j2.xml")
	if err := errors.Join(os.WriteFile(settings, properties, 0o600), os.WriteFile(log4j, native.Log4j(), 0o600)); err != nil {
		return nil, fmt.Errorf("configuring %s: %w", Broker(node.ID), err)
	}
	java := []string{"-XX:+UseSerialGC", "-Dlog4j2.configurationFile=" + log4j, "-cp", filepath.Join(n.installed.KafkaLibs, "*")}
	format := exec.CommandContext(ctx, n.installed.KafkaJava, append(append([]string{"-XX:TieredStopAtLevel=1"}, java...), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", settings)...)
	if output, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("formatting the data folder of %s: %w: %s", Broker(node.ID), err, output)
	}
	return append(append([]string{n.installed.KafkaJava, "-Xms256m", "-Xmx512m"}, java...), "kafka.Kafka", settings), nil
}

// await waits until a service answers: for the first time, or after a restart.
func (n *processes) await(ctx context.Context, s Service, first bool) error {
	p := n.services[s]
	err := Await(ctx, string(s), p.ended(), func(ctx context.Context) error {
		switch {
		case s == Redis:
			return RedisAnswers(ctx, n.addresses.RedisURL)
		case s == Registry:
			return RegistryChecks(ctx, n.addresses.RegistryURL)
		case first:
			return BrokersWork(ctx, n.addresses.Brokers)
		default:
			return BrokerInSync(ctx, n.addresses.Brokers, n.nodeID(s))
		}
	})
	if err != nil {
		return fmt.Errorf("%w; %s ends with:\n%s", err, p.output, p.tail())
	}
	return nil
}

func (n *processes) nodeID(s Service) int32 {
	for i := range n.cfg.Brokers {
		if Broker(i+1) == s {
			return int32(i + 1)
		}
	}
	return 0
}

// Do does something to a service.
func (n *processes) Do(ctx context.Context, a Action, s Service) error {
	p := n.services[s]
	if p == nil {
		return fmt.Errorf("there is no such service; there are: %v", n.order)
	}
	switch a {
	case Kill:
		return p.kill()
	case Stop:
		return p.signal(syscall.SIGSTOP)
	case Continue:
		return p.signal(syscall.SIGCONT)
	case Restart:
		if err := p.end(ctx); err != nil {
			return err
		}
		if err := p.start(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		return n.await(ctx, s, false)
	default:
		return errors.ErrUnsupported
	}
}

// Close kills all services, since nothing of theirs is needed any more.
func (n *processes) Close() error {
	n.closing.Do(func() {
		for _, s := range n.order {
			n.closed = errors.Join(n.closed, n.services[s].kill())
		}
		if n.ownDir {
			n.closed = errors.Join(n.closed, os.RemoveAll(n.cfg.Dir))
		}
	})
	return n.closed
}

var loggedVersion = regexp.MustCompile(`Kafka version: (\S+)`)

// kafkaVersionFromLog returns the version that a broker tells nobody but its log.
func kafkaVersionFromLog(output string) (string, error) {
	text, err := os.ReadFile(output)
	if err != nil {
		return "", fmt.Errorf("looking for Kafka's version: %w", err)
	}
	found := loggedVersion.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("looking for Kafka's version: %s does not tell it", output)
	}
	return string(found[1]), nil
}
