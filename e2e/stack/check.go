package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// startTimeout bounds the start of all services, which ends at once if one of them does. They need
	// 20 s of one processor; three minutes were too few on a machine with many times as much to do.
	startTimeout = 6 * time.Minute
	// tryTimeout bounds one question to a service.
	tryTimeout = 5 * time.Second
	// tryPause lies between two questions.
	tryPause = 100 * time.Millisecond
	// probeTopic is produced to, to see whether brokers work. It stays as long as the stack.
	probeTopic = "stack-probe"
	// compatibility is what schemas are held to.
	compatibility = "BACKWARD_TRANSITIVE"
)

// Await calls try, with a bound, until it returns nil, ctx ends, or ended is closed: the service is gone
// then, and its end is for the caller to tell. The error names what was waited for and the last error
// that came of a whole try.
func Await(ctx context.Context, what string, ended <-chan struct{}, try func(context.Context) error) error {
	began := time.Now()
	tick := time.NewTicker(tryPause)
	defer tick.Stop()
	var err error
	for {
		tctx, cancel := context.WithTimeout(ctx, tryTimeout)
		this := try(tctx)
		cancel()
		if this == nil {
			return nil
		}
		if err == nil || ctx.Err() == nil { // a try that ctx cut short tells nothing of the service
			err = this
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended: %w", what, err)
		case <-ctx.Done():
			return fmt.Errorf("%s did not answer in %s: %w", what, time.Since(began).Round(time.Second), errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// brokersAnswer asks for the cluster's metadata.
func (a Addresses) brokersAnswer(ctx context.Context) error {
	client, err := a.kafkaClient()
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).BrokerMetadata(ctx)
	return err
}

// BrokersWork returns nil once the cluster has as many brokers as there are addresses, and a record
// produced to a topic on all of them was acknowledged. It makes that topic.
func (a Addresses) BrokersWork(ctx context.Context) error {
	client, err := a.kafkaClient()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	metadata, err := admin.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	if n := len(metadata.Brokers); n != len(a.Brokers) {
		return fmt.Errorf("%d of %d brokers are up", n, len(a.Brokers))
	}
	if _, err := admin.CreateTopic(ctx, 1, int16(len(a.Brokers)), nil, probeTopic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	return client.ProduceSync(ctx, &kgo.Record{Topic: probeTopic, Value: []byte("probe")}).FirstErr()
}

// BrokerInSync returns nil once the broker itself answers, has caught up with every partition that it
// holds, and the cluster takes a record. The id is that of the address's place, from 1.
func (a Addresses) BrokerInSync(ctx context.Context, id int32) error {
	// The others may not have noticed yet that it was gone, so none of them is asked.
	one := a
	one.Brokers = a.Brokers[id-1 : id]
	only, err := one.kafkaClient()
	if err != nil {
		return err
	}
	defer only.Close()
	metadata, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, only.SeedBrokers()[0])
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(metadata.Brokers, func(b kmsg.MetadataResponseBroker) bool { return b.NodeID == id }) {
		return fmt.Errorf("broker %d is not part of the cluster yet", id)
	}
	for _, topic := range metadata.Topics {
		for _, p := range topic.Partitions {
			if slices.Contains(p.Replicas, id) && !slices.Contains(p.ISR, id) {
				return fmt.Errorf("broker %d has not caught up with partition %d of %s", id, p.Partition, *topic.Topic)
			}
		}
	}
	client, err := a.kafkaClient()
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, &kgo.Record{Topic: probeTopic, Value: []byte("probe")}).FirstErr()
}

// RegistryAnswers asks the registry for its rules.
func (a Addresses) RegistryAnswers(ctx context.Context) error {
	var rules struct{}
	return a.call(ctx, http.MethodGet, a.RegistryURL+"/config", "", &rules)
}

// RegistryChecks sets the registry to refuse schemas that cannot read what was written, and asks whether
// it does.
func (a Addresses) RegistryChecks(ctx context.Context) error {
	if err := a.call(ctx, http.MethodPut, a.RegistryURL+"/config", `{"compatibility":"`+compatibility+`"}`, nil); err != nil {
		return err
	}
	var rules struct {
		Level string `json:"compatibilityLevel"`
	}
	if err := a.call(ctx, http.MethodGet, a.RegistryURL+"/config", "", &rules); err != nil {
		return err
	}
	if rules.Level != compatibility {
		return fmt.Errorf("the registry's compatibility is %q, want %s", rules.Level, compatibility)
	}
	return nil
}

// call makes a request to the registry; into takes the JSON of its answer, unless it is nil.
func (a Addresses) call(ctx context.Context, method, url, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	}
	client, err := a.RegistryClient(Admin)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, url, answer.Status, text)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}

// RedisAnswers sends a PING.
func (a Addresses) RedisAnswers(ctx context.Context) error {
	client, err := a.Redis()
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ping(ctx).Err()
}
