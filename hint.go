package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

// brokersError adds to what brokers did at a start what to type.
func (l *link) brokersError(err error) error { return brokersError(l.kafka, err) }

func brokersError(c kafka.ClientConfig, err error) error {
	hint := kafka.Hint(c, err)
	if hint == "" {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the brokers %v did not answer in time: %w; %s", c.Brokers, err, hint)
	}
	return fmt.Errorf("the brokers %v: %w; %s", c.Brokers, err, hint)
}

// registryError adds to what the schema registry did at a start where it is and what to type.
func (c Connection) registryError(err error) error {
	where := ""
	if u, parseErr := url.Parse(c.RegistryURL); parseErr == nil {
		where = " " + u.Redacted()
	}
	return fmt.Errorf("the schema registry%s: %w; %s", where, err, kafka.RegistryHint(err))
}

// redisError adds to what Redis did at a start what to type.
func (l *link) redisError(err error) error {
	if hint := redisstore.Hint(l.redis, err); hint != "" {
		return fmt.Errorf("%w; %s", err, hint)
	}
	return err
}
