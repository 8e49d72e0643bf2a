package ledgerline

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

// Security says how services are spoken to and who is speaking. The zero Security is nobody, in plain
// text. The registry is spoken to with TLS by https:// in its URL, Redis by rediss://.
//
// Password files hold a password and, if need be, a newline after it. They are read at every
// authentication: a password may be changed while processes run.
type Security struct {
	// KafkaTLS has the brokers spoken to with TLS. Defaults to false.
	KafkaTLS bool
	// CAFile holds certificates of authorities in PEM, which are trusted beside the system's, by
	// clients of all three services. Defaults to none.
	CAFile string
	// KafkaUser authenticates with the brokers by SASL. Defaults to "", nobody.
	KafkaUser, KafkaPasswordFile string
	// KafkaSASL is the mechanism: scram-sha-512, scram-sha-256 or plain. Defaults to scram-sha-512.
	KafkaSASL string
	// RegistryUser authenticates with the schema registry, in the place of a user in its URL. Defaults
	// to "", nobody.
	RegistryUser, RegistryPasswordFile string
	// RedisUser authenticates with Redis, in the place of a user in its URL. Without a name, but with a
	// file, it is Redis's default user. Defaults to "", nobody.
	RedisUser, RedisPasswordFile string
}

// securityFlags are the flags of Security, the same in everything that connects.
type securityFlags struct {
	KafkaTLS             bool   `name:"kafka-tls" env:"LEDGERLINE_KAFKA_TLS" help:"Speak TLS with the brokers."`
	CAFile               string `name:"ca-file" env:"LEDGERLINE_CA_FILE" placeholder:"FILE" help:"PEM file of certificate authorities that are trusted beside the system's, for brokers, registry and Redis."`
	KafkaUser            string `env:"LEDGERLINE_KAFKA_USER" help:"User of the brokers, by SASL."`
	KafkaPasswordFile    string `env:"LEDGERLINE_KAFKA_PASSWORD_FILE" placeholder:"FILE" help:"File with the password of --kafka-user, read at every authentication."`
	KafkaSASL            string `name:"kafka-sasl" env:"LEDGERLINE_KAFKA_SASL" enum:"scram-sha-512,scram-sha-256,plain" default:"scram-sha-512" help:"SASL mechanism of --kafka-user: scram-sha-512, scram-sha-256 or plain (default ${default})."`
	RegistryUser         string `env:"LEDGERLINE_REGISTRY_USER" help:"User of the schema registry, by basic authentication."`
	RegistryPasswordFile string `env:"LEDGERLINE_REGISTRY_PASSWORD_FILE" placeholder:"FILE" help:"File with the password of --registry-user, read at every request."`
	RedisUser            string `env:"LEDGERLINE_REDIS_USER" help:"User of Redis (default: Redis's default user, once there is a password file)."`
	RedisPasswordFile    string `env:"LEDGERLINE_REDIS_PASSWORD_FILE" placeholder:"FILE" help:"File with the password of --redis-user, read at every authentication."`
}

// passwordFile is where a password is, and the flag that says so.
type passwordFile struct{ flag, path string }

func (f passwordFile) read() (string, error) {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w; set %s to a file that can be read", err, f.flag)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if password == "" {
		return "", fmt.Errorf("the password file %s is empty; set %s to one with a password", f.path, f.flag)
	}
	return password, nil
}

// login returns where a user's password is asked for, nil for nobody, and whether it is there now.
func login(userFlag, user, fileFlag, path string) (func() (string, error), error) {
	if path == "" {
		if user != "" {
			return nil, fmt.Errorf("%s needs a password: set %s", userFlag, fileFlag)
		}
		return nil, nil
	}
	file := passwordFile{fileFlag, path}
	_, err := file.read()
	return file.read, err
}

// clients is how the clients of a Connection are made.
type clients struct {
	kafka    kafka.ClientConfig
	registry kafka.RegistryConfig
	redis    redisstore.ClientConfig
}

// clients reads the files that the connection names. clientID names the process to the brokers.
func (c Connection) clients(clientID string) (clients, error) {
	made := clients{
		kafka:    kafka.ClientConfig{Brokers: c.Brokers, ClientID: clientID},
		registry: kafka.RegistryConfig{URL: c.RegistryURL, User: c.RegistryUser},
		redis:    redisstore.ClientConfig{URL: c.RedisURL, User: c.RedisUser},
	}
	if c.Log != nil {
		made.kafka.Log = processing.Sparing(c.Log) // one for all clients: a broker that is down is told of once
	}
	if len(c.Brokers) == 0 {
		return made, errors.New("no brokers: set --brokers")
	}
	authorities, err := c.authorities()
	if err != nil {
		return made, err
	}
	made.registry.RootCAs, made.redis.RootCAs = authorities, authorities
	if c.KafkaTLS {
		made.kafka.TLS = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
	}
	password, err := login("--kafka-user", c.KafkaUser, "--kafka-password-file", c.KafkaPasswordFile)
	if err != nil {
		return made, err
	}
	if password != nil && c.KafkaUser == "" {
		return made, errors.New("--kafka-password-file is of no use without a user: set --kafka-user")
	}
	if password != nil {
		mechanism := c.KafkaSASL
		if mechanism == "" {
			mechanism = kafka.ScramSHA512
		}
		made.kafka.SASL = &kafka.SASL{Mechanism: mechanism, User: c.KafkaUser, Password: password}
	}
	if made.registry.Password, err = login("--registry-user", c.RegistryUser, "--registry-password-file", c.RegistryPasswordFile); err != nil {
		return made, err
	}
	if made.registry.Password != nil && c.RegistryUser == "" {
		return made, errors.New("--registry-password-file is of no use without a user: set --registry-user")
	}
	made.redis.Password, err = login("--redis-user", c.RedisUser, "--redis-password-file", c.RedisPasswordFile)
	return made, err
}

// authorities returns the system's certificate authorities with those of CAFile, nil without one.
func (s Security) authorities() (*x509.CertPool, error) {
	if s.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading certificate authorities: %w; set --ca-file to a file that can be read", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil { // a system without any
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM; set --ca-file to one that does", s.CAFile)
	}
	return pool, nil
}

// isExposed reports whether a Kafka user authenticates in plain text with another machine.
func (c Connection) isExposed() bool {
	if c.KafkaUser == "" || c.KafkaTLS {
		return false
	}
	for _, broker := range c.Brokers {
		host, _, err := net.SplitHostPort(broker)
		if err != nil {
			host = broker
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return true
		}
	}
	return false
}

// redisCLI returns the redis-cli command that reaches Redis, without any password: it asks for one.
func (c Connection) redisCLI() string {
	line := "redis-cli -u " + c.RedisURL
	u, err := url.Parse(c.RedisURL)
	if err != nil {
		return "redis-cli" // no client could be made either
	}
	user := c.RedisUser
	asks := c.RedisPasswordFile != ""
	if u.User != nil {
		if !asks {
			user, asks = u.User.Username(), true
		}
		u.User = nil
		line = "redis-cli -u " + u.String()
	}
	if u.Scheme == "rediss" && c.CAFile != "" {
		line += " --cacert " + c.CAFile
	}
	if asks && user != "" {
		line += " --user " + user
	}
	if asks {
		line += " --askpass"
	}
	return line
}
