//go:build !unix

package stack

import (
	"context"
	"errors"
	"fmt"
)

func startNative(context.Context, Config) (*Stack, error) {
	return nil, fmt.Errorf("native services need a Unix: %w", errors.ErrUnsupported)
}
