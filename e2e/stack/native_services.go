//go:build unix

package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/ledgerline/ledgerline/e2e/native"
)

// redisRules are what the user ledgerline may do unless Config.RedisRules says otherwise.
const redisRules = "~* &* +@all -@admin -@dangerous +info +role +config|get"

// add starts a service in a folder of its own.
func (n *processes) add(s Service, args func(dir string) ([]string, error)) error {
	dir := filepath.Join(n.cfg.Dir, string(s))
	if err := os.Mkdir(dir, 0o750); err != nil {
		return fmt.Errorf("making the folder of %s: %w", s, err)
	}
	a, err := args(dir)
	if err != nil {
		return fmt.Errorf("configuring %s: %w", s, err)
	}
	n.services[s] = &process{service: s, args: a, dir: dir, output: filepath.Join(dir, "output.log"), log: n.cfg.Log}
	n.order = append(n.order, s)
	return n.services[s].start()
}

// server is the file with the services' key and certificate.
func (n *processes) server() string { return filepath.Join(n.cfg.Dir, securityDir, serverFile) }

func (n *processes) addRedis(port int) error {
	scheme := "redis"
	settings := []string{
		"bind 127.0.0.1", `save ""`, "appendonly no", "maxmemory-policy noeviction",
	}
	if security := n.addresses.Security; security == nil {
		settings = append(settings, fmt.Sprintf("port %d", port))
	} else {
		scheme = "rediss"
		admin, err := password(security.RedisUsers, Admin)
		if err != nil {
			return err
		}
		ledgerline, err := password(security.RedisUsers, "ledgerline")
		if err != nil {
			return err
		}
		settings = append(settings,
			"port 0", fmt.Sprintf("tls-port %d", port), "tls-auth-clients no",
			fmt.Sprintf("tls-cert-file %q", n.server()), fmt.Sprintf("tls-key-file %q", n.server()),
			"user default off", "user "+Admin+" on >"+admin+" ~* &* +@all",
			"user ledgerline on >"+ledgerline+" "+cmp.Or(n.cfg.RedisRules, redisRules),
		)
	}
	n.addresses.RedisURL = fmt.Sprintf("%s://127.0.0.1:%d", scheme, port)
	return n.add(Redis, func(dir string) ([]string, error) {
		file := filepath.Join(dir, "redis.conf")
		return []string{n.installed.RedisServer, file}, writeLines(file, settings)
	})
}

func (n *processes) addRegistry(port, managementPort int) error {
	settings := []string{
		"quarkus.http.host=127.0.0.1", "quarkus.management.host=127.0.0.1", fmt.Sprintf("quarkus.management.port=%d", managementPort),
		"apicurio.datasource.jdbc.initial-size=2", "apicurio.datasource.jdbc.min-size=2",
	}
	scheme := "http"
	if security := n.addresses.Security; security == nil {
		settings = append(settings, fmt.Sprintf("quarkus.http.port=%d", port))
	} else {
		scheme = "https"
		settings = append(settings,
			"quarkus.http.insecure-requests=disabled", fmt.Sprintf("quarkus.http.ssl-port=%d", port),
			"quarkus.http.ssl.certificate.files="+n.server(), "quarkus.http.ssl.certificate.key-files="+n.server(),
			"quarkus.http.auth.basic=true", "apicurio.authn.enabled=true", "apicurio.authn.mechanism.priority=basic",
			"apicurio.auth.role-based-authorization=true", "quarkus.security.users.embedded.plain-text=true",
		)
		for user, role := range map[string]string{Admin: "sr-admin", "ledgerline": "sr-readonly"} {
			secret, err := password(security.RegistryUsers, user)
			if err != nil {
				return err
			}
			settings = append(settings, "quarkus.security.users.embedded.users."+user+"="+secret, "quarkus.security.users.embedded.roles."+user+"="+role)
		}
	}
	n.addresses.RegistryURL = fmt.Sprintf("%s://127.0.0.1:%d/apis/ccompat/v7", scheme, port)
	return n.add(Registry, func(dir string) ([]string, error) {
		// It forgets all schemas in a restart otherwise, and gives their ids to others.
		settings = append(settings, "apicurio.datasource.url=jdbc:h2:file:"+filepath.Join(dir, "schemas"))
		// Quarkus looks for this file below the folder that it runs in.
		file := filepath.Join(dir, "config", "application.properties")
		java := []string{n.installed.RegistryJava, "-Xmx384m", "-XX:+UseSerialGC", "-jar", filepath.Join(n.installed.RegistryHome, "quarkus-run.jar")}
		return java, errors.Join(os.Mkdir(filepath.Dir(file), 0o750), writeLines(file, settings))
	})
}

// writeLines writes settings, which may hold passwords: a command line would show them to everybody.
func writeLines(file string, lines []string) error {
	return os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (n *processes) addBrokers(ctx context.Context, ports []int) error {
	cluster := ClusterID(uuid.New())
	secure, err := n.secureBroker()
	if err != nil {
		return err
	}
	var voters []string
	for i := range n.cfg.Brokers {
		n.addresses.Brokers = append(n.addresses.Brokers, fmt.Sprintf("127.0.0.1:%d", ports[2*i]))
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i+1, ports[2*i+1]))
	}
	for i := range n.cfg.Brokers {
		err := n.add(Broker(i+1), func(dir string) ([]string, error) {
			return n.formatNode(ctx, dir, cluster, native.Node{
				ID: i + 1, Port: ports[2*i], ControllerPort: ports[2*i+1], Voters: strings.Join(voters, ","),
				Data: filepath.Join(dir, "data"), Replicas: n.cfg.Brokers, MinISR: min(n.cfg.Brokers, 2), Secure: secure,
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// secureBroker returns nil if the brokers serve whoever comes.
func (n *processes) secureBroker() (*native.Secure, error) {
	security := n.addresses.Security
	if security == nil {
		return nil, nil //nolint:nilnil // it is a setting, and there is none
	}
	admin, err := password(security.KafkaUsers, Admin)
	return &native.Secure{KeyStore: n.server(), TrustStore: security.CAFile, User: Admin, Password: admin}, err
}

// formatNode writes a node's settings and makes its data folder, and returns how to run it.
func (n *processes) formatNode(ctx context.Context, dir, cluster string, node native.Node) ([]string, error) {
	properties, err := node.Properties()
	if err != nil {
		return nil, err
	}
	settings, log4j := filepath.Join(dir, "server.properties"), filepath.Join(dir, "log4j2.xml")
	if err := errors.Join(os.WriteFile(settings, properties, 0o600), os.WriteFile(log4j, native.Log4j(), 0o600)); err != nil {
		return nil, err
	}
	java := []string{"-XX:+UseSerialGC", "-Dlog4j2.configurationFile=" + log4j, "-cp", filepath.Join(n.installed.KafkaLibs, "*")}
	args := append(append([]string{"-XX:TieredStopAtLevel=1"}, java...), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", settings)
	if security := n.addresses.Security; security != nil {
		for user := range security.KafkaUsers {
			secret, err := password(security.KafkaUsers, user)
			if err != nil {
				return nil, err
			}
			args = append(args, "--add-scram", fmt.Sprintf("SCRAM-SHA-512=[name=%s,password=%s]", user, secret))
		}
	}
	if output, err := exec.CommandContext(ctx, n.installed.KafkaJava, args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("formatting the data folder: %w: %s", err, output)
	}
	return append(append([]string{n.installed.KafkaJava, "-Xms256m", "-Xmx512m"}, java...), "kafka.Kafka", settings), nil
}
