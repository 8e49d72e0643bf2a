package suite_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/e2e/suite"
)

// TestSuite runs on the stack that the environment asks for: see stack.FromEnv.
func TestSuite(t *testing.T) {
	cfg, err := stack.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Secure {
		cfg.RedisRules = readmeRules(t)
	}
	suite.Run(t, start(t, cfg))
}

// readmeRules returns what the README has the user of Redis be allowed, for the keys of this suite.
func readmeRules(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	const before, keys = "ACL SETUSER ledgerline on >PASSWORD ", "~ledgerline:*"
	_, rules, ok := strings.Cut(string(text), before)
	rules, _, _ = strings.Cut(rules, "\n")
	if !ok || !strings.Contains(rules, keys) {
		t.Fatalf("README.md has no line with %s%s", before, keys)
	}
	return strings.Replace(rules, keys, "~e2e-*:*", 1)
}

func start(t *testing.T, cfg stack.Config) *stack.Stack {
	t.Helper()
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the stack: %v", err)
		}
	})
	return s
}

// TestFigures measures the embedded and then the native stack; e2e/run figures prints what it found.
func TestFigures(t *testing.T) {
	name := os.Getenv("LEDGERLINE_E2E_FIGURES")
	if name == "" {
		t.Skip("measures for a minute and more; type: make e2e-figures")
	}
	for _, provider := range []stack.Provider{stack.Embedded, stack.Native} {
		t.Run(string(provider), func(t *testing.T) {
			file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := json.NewEncoder(file).Encode(suite.Measure(t, start(t, stack.Config{Provider: provider}))); err != nil {
				t.Fatal(err)
			}
		})
	}
}
