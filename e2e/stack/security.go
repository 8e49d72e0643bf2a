package stack

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Admin is the user who may do everything. This package's own checks are made as Admin.
const Admin = "admin"

// Security is how to be let in where not everybody is.
type Security struct {
	// CAFile is a PEM file with the certificate that those of all services are signed with.
	CAFile string
	// KafkaUsers, RegistryUsers and RedisUsers name a file for every user, which holds the user's
	// password and a line's end. Each has an Admin.
	KafkaUsers, RegistryUsers, RedisUsers map[string]string
}

// caFile is the name of CAFile in a folder that ReadSecurity reads.
const caFile = "ca.pem"

// ReadSecurity returns what a folder holds: ca.pem, and below kafka, registry and redis a file for every
// user, called like the user. A native stack makes such a folder, called security, in its Dir.
func ReadSecurity(dir string) (*Security, error) {
	s := &Security{CAFile: filepath.Join(dir, caFile)}
	_, err := s.tlsConfig()
	for service, users := range map[string]*map[string]string{
		"kafka": &s.KafkaUsers, "registry": &s.RegistryUsers, "redis": &s.RedisUsers,
	} {
		*users = map[string]string{}
		files, readErr := os.ReadDir(filepath.Join(dir, service))
		for _, f := range files {
			(*users)[f.Name()] = filepath.Join(dir, service, f.Name())
		}
		if readErr == nil {
			_, readErr = password(*users, Admin)
		}
		if readErr != nil {
			err = errors.Join(err, fmt.Errorf("passwords for %s: %w", service, readErr))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the secrets of a stack in %s: %w", dir, err)
	}
	return s, nil
}

func (s *Security) tlsConfig() (*tls.Config, error) {
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", s.CAFile)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

func password(users map[string]string, user string) (string, error) {
	file, ok := users[user]
	if !ok {
		return "", fmt.Errorf("there is no user %q; there are: %v", user, slices.Sorted(maps.Keys(users)))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the password of %s: %w", user, err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}
