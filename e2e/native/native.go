// Package native knows what e2e/native/install installs, and how it is configured: Apache Kafka, Apicurio
// Registry and redis-server, to be run as processes of this machine. It starts nothing and installs
// nothing: package stack starts them, and the script installs them.
package native

import (
	"bufio"
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// ErrNotInstalled is returned where the script has not run.
var ErrNotInstalled = errors.New("the native services are not installed; type: e2e/native/install")

// Installation is where things are. All paths are absolute.
type Installation struct {
	// KafkaLibs is the folder with Kafka's jars, KafkaJava the java that runs them.
	KafkaLibs, KafkaJava string
	// RegistryHome is the folder with Apicurio's quarkus-run.jar, RegistryJava the java that runs it.
	RegistryHome, RegistryJava string
	// RedisServer is the program.
	RedisServer string
}

// Node is what the settings of a broker are made of.
type Node struct {
	// ID is the node's, from 1.
	ID int
	// Port is where clients connect, ControllerPort where the nodes do; both on 127.0.0.1.
	Port, ControllerPort int
	// Voters are all nodes of the cluster, as ID@host:port of their controllers, with commas between.
	Voters string
	// Data is the folder of the log.
	Data string
	// Replicas is how many copies internal topics have, MinISR how many must be written.
	Replicas, MinISR int
	// Secure makes the listeners encrypted, the clients named and their rights few. Defaults to nil: a
	// broker that serves whoever comes.
	Secure *Secure
}

// Secure is what the settings of a broker hold that lets nobody in unasked.
type Secure struct {
	// KeyStore is a PEM file with the broker's certificate and its key as PKCS #8, TrustStore one with
	// the certificate that signed it. The certificate's common name is User.
	KeyStore, TrustStore string
	// User is the one who may do everything, Password proves it: the broker speaks to itself as User.
	User, Password string
}

//go:embed server.properties
var serverProperties string

//go:embed log4j2.xml
var log4j []byte

var serverTemplate = template.Must(template.New("server.properties").Option("missingkey=error").Parse(serverProperties))

// Properties returns the node's server.properties.
func (n Node) Properties() ([]byte, error) {
	var text bytes.Buffer
	if err := serverTemplate.Execute(&text, n); err != nil {
		return nil, fmt.Errorf("making server.properties of node %d: %w", n.ID, err)
	}
	return text.Bytes(), nil
}

// Log4j returns the configuration of a broker's log.
func Log4j() []byte { return bytes.Clone(log4j) }

// Find returns what the script has installed below LEDGERLINE_CACHE, which defaults to .cache in the
// folder of the project, looked for from the working directory upwards. The error is ErrNotInstalled,
// with the place looked at, if there is nothing or not all of it.
func Find() (Installation, error) {
	cache := cmp.Or(os.Getenv("LEDGERLINE_CACHE"), ".cache")
	if !filepath.IsAbs(cache) {
		root, err := projectRoot()
		if err != nil {
			return Installation{}, err
		}
		cache = filepath.Join(root, cache)
	}
	return read(filepath.Join(cache, "native", "env"))
}

func projectRoot() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for the project: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(at, "e2e", "native", "install")); err == nil {
			return at, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", fmt.Errorf("no folder above holds e2e/native/install: %w", ErrNotInstalled)
		}
		at = up
	}
}

// read reads what the script wrote: a line NAME=PATH for each thing.
func read(file string) (Installation, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Installation{}, fmt.Errorf("%w (%w)", ErrNotInstalled, err)
	}
	var i Installation
	fields := map[string]*string{
		"kafka_libs": &i.KafkaLibs, "kafka_java": &i.KafkaJava, "registry_home": &i.RegistryHome,
		"registry_java": &i.RegistryJava, "redis_server": &i.RedisServer,
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, path, _ := strings.Cut(lines.Text(), "=")
		if field := fields[name]; field != nil {
			*field = path
		}
	}
	for name, field := range fields {
		if _, err := os.Stat(*field); err != nil {
			return Installation{}, fmt.Errorf("%s in %s: %w (%w)", name, file, ErrNotInstalled, err)
		}
	}
	return i, nil
}
