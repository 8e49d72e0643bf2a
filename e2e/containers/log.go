package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

// log returns what a service has printed.
func (s *services) log(ctx context.Context, one stack.Service) (string, error) {
	r, err := s.running[one].Logs(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the log of %s: %w", one, err)
	}
	text, err := io.ReadAll(r)
	return string(text), errors.Join(err, r.Close())
}

// keepLog writes a service's log to the stack's folder.
func (s *services) keepLog(ctx context.Context, one stack.Service) error {
	text, err := s.log(ctx, one)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.cfg.Dir, string(one))
	if err := errors.Join(os.MkdirAll(dir, 0o750), os.WriteFile(filepath.Join(dir, "output.log"), []byte(text), 0o600)); err != nil {
		return fmt.Errorf("keeping the log of %s: %w", one, err)
	}
	return nil
}

var loggedVersion = regexp.MustCompile(`Kafka version: (\S+)`)

// kafkaVersion returns the version that a broker tells nobody but its log; none if it does not, and
// then the stack guesses.
func (s *services) kafkaVersion(ctx context.Context) (string, error) {
	text, err := s.log(ctx, stack.Broker(1))
	if err != nil {
		return "", err
	}
	if found := loggedVersion.FindStringSubmatch(text); found != nil {
		return found[1], nil
	}
	return "", nil
}
