package suite_test

import (
	"context"
	"log/slog"
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
	suite.Run(t, s)
}
