package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// askVersions asks the services for the versions that are not known yet.
func (a *Addresses) askVersions(ctx context.Context) error {
	for _, one := range []struct {
		known *string
		what  string
		ask   func(context.Context) (string, error)
	}{
		{&a.Versions.Kafka, "the brokers", a.kafkaVersion},
		{&a.Versions.Registry, "the registry", a.registryVersion},
		{&a.Versions.Redis, "Redis", a.redisVersion},
	} {
		if *one.known != "" {
			continue
		}
		var err error
		if *one.known, err = one.ask(ctx); err != nil {
			return fmt.Errorf("asking %s for the version: %w", one.what, err)
		}
	}
	return nil
}

// kafkaVersion guesses by the requests that the brokers know: none of them tells the version.
func (a *Addresses) kafkaVersion(ctx context.Context) (string, error) {
	client, err := a.kafkaClient()
	if err != nil {
		return "", err
	}
	defer client.Close()
	brokers, err := kadm.NewClient(client).ApiVersions(ctx)
	if err != nil {
		return "", err
	}
	for _, b := range brokers.Sorted() {
		if b.Err == nil {
			return "speaks " + b.VersionGuess(), nil
		}
		err = b.Err
	}
	return "", err
}

// registryVersion asks as Apicurio's own API and then as Confluent's registry answers.
func (a *Addresses) registryVersion(ctx context.Context) (string, error) {
	root, err := url.Parse(a.RegistryURL)
	if err != nil {
		return "", err
	}
	// An answer of another registry to this is no answer.
	root.Path = "/apis/registry/v3/system/info"
	var apicurio struct{ Name, Version string }
	err = a.call(ctx, http.MethodGet, root.String(), "", &apicurio)
	if err == nil && apicurio.Version != "" {
		return strings.TrimSpace("apicurio " + apicurio.Version), nil
	}
	var confluent struct{ Version string }
	if err2 := a.call(ctx, http.MethodGet, a.RegistryURL+"/v1/metadata/version", "", &confluent); err2 != nil {
		return "", errors.Join(err, err2)
	}
	return "confluent " + confluent.Version, nil
}

func (a *Addresses) redisVersion(ctx context.Context) (string, error) {
	client, err := a.Redis()
	if err != nil {
		return "", err
	}
	defer client.Close()
	info, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	if v := info["Server"]["redis_version"]; v != "" {
		return v, nil
	}
	return "", errors.New("INFO server has no redis_version")
}
