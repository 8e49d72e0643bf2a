package stack

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestAwaitTellsWhy has the time run out during a try, after one that told what is wrong.
func TestAwaitTellsWhy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tries := 0
	err := Await(ctx, "the service", nil, func(ctx context.Context) error {
		if tries++; tries == 1 {
			return errors.New("not enough replicas")
		}
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "not enough replicas") {
		t.Errorf("got %v", err)
	}
}
