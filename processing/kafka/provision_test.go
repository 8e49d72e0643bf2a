package kafka

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/ledgerline/ledgerline/processing/embedded"
)

const placedSubject = "order.events-ledgerline.order.OrderPlaced"

func describedOrders() Description {
	return Description{Topics: Topics{}.Of("order", 6), Subjects: []Subject{{Name: placedSubject, Schema: placedV1}}}
}

type provisioning struct {
	*Provisioner
	t        *testing.T
	services *embedded.Services
	admin    *kadm.Client
}

func startProvisioning(t *testing.T) provisioning {
	t.Helper()
	services := startServices(t)
	p, err := NewProvisioner(ProvisionerConfig{Client: ClientConfig{Brokers: services.Brokers}, Registry: openRegistry(t, services.RegistryURL)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(services.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return provisioning{p, t, services, kadm.NewClient(client)}
}

func (p provisioning) plan(d Description) []Change {
	p.t.Helper()
	changes, err := p.Plan(p.t.Context(), d)
	if err != nil {
		p.t.Fatal(err)
	}
	return changes
}

func (p provisioning) apply(d Description) {
	p.t.Helper()
	if err := p.Apply(p.t.Context(), p.plan(d)); err != nil {
		p.t.Fatal(err)
	}
}

func (p provisioning) describe(d Description) (Cluster, error) {
	return Describe(p.t.Context(), ClientConfig{Brokers: p.services.Brokers}, d.Topics)
}

// wantChanges compares kind, name and setting.
func wantChanges(t *testing.T, got []Change, want ...Change) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(g, w Change) bool { return g.Kind == w.Kind && g.Name == w.Name && g.Setting == w.Setting }) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestProvisionFromNothingAndAgain(t *testing.T) {
	p, d := startProvisioning(t), describedOrders()

	var missing *MismatchError
	if _, err := p.describe(d); !errors.As(err, &missing) || len(missing.Changes) != 4 || !strings.Contains(err.Error(), "order.commands") || !strings.Contains(err.Error(), "provision apply") {
		t.Errorf("before: got %v, want a missing topic's name and what to type", err)
	}
	changes := p.plan(d)
	wantChanges(t, changes,
		Change{Kind: CreateTopic, Name: "order.commands"},
		Change{Kind: CreateTopic, Name: "order.events"},
		Change{Kind: CreateTopic, Name: "order.outcomes"},
		Change{Kind: CreateTopic, Name: "order.dead-letters"},
		Change{Kind: RegisterSchema, Name: placedSubject, Setting: "schema"},
		Change{Kind: SetCompatibility, Name: placedSubject, Setting: "compatibility level"},
	)
	for range 2 { // the same changes a second time do no harm
		if err := p.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		if left := p.plan(d); len(left) != 0 {
			t.Errorf("left to do: %v", left)
		}
	}

	cluster, err := p.describe(d)
	if err != nil {
		t.Fatal(err)
	}
	if cluster.ID != embedded.ClusterID || cluster.TransactionVersion != 2 || len(cluster.Topics) != 4 {
		t.Errorf("got %+v", cluster)
	}
	ids := map[string]bool{}
	for name, info := range cluster.Topics {
		ids[info.ID] = true
		if want := map[bool]int32{true: 1, false: 6}[name == "order.dead-letters"]; info.Partitions != want || len(info.ID) != 22 {
			t.Errorf("%s: got %+v, want %d partitions and an id", name, info, want)
		}
	}
	if len(ids) != 4 {
		t.Errorf("topic ids are not unique: %v", cluster.Topics)
	}
}

func TestProvisionNamesDrift(t *testing.T) {
	p, d := startProvisioning(t), describedOrders()
	p.apply(d)
	ctx := t.Context()

	short := "1000"
	if _, err := p.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &short}}, "order.events"); err != nil {
		t.Fatal(err)
	}
	if err := p.registry.setCompatibility(ctx, placedSubject, "NONE"); err != nil {
		t.Fatal(err)
	}
	d.Subjects[0].Schema = placedV2
	changes := p.plan(d)
	wantChanges(t, changes,
		Change{Kind: AlterConfig, Name: "order.events", Setting: "retention.ms"},
		Change{Kind: SetCompatibility, Name: placedSubject, Setting: "compatibility level"},
		Change{Kind: RegisterSchema, Name: placedSubject, Setting: "schema"},
	)
	for i, want := range []string{
		"topic order.events: retention.ms is 1000, want -1",
		"subject " + placedSubject + ": compatibility level is NONE, want BACKWARD_TRANSITIVE",
		"subject " + placedSubject + ": schema is not registered, want registered",
	} {
		if got := changes[i].String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var mismatch *MismatchError
	if _, err := p.describe(d); !errors.As(err, &mismatch) || !strings.Contains(err.Error(), "retention.ms is 1000, want -1") {
		t.Errorf("at start: got %v", err)
	}
	if err := p.Apply(ctx, changes); err != nil {
		t.Fatal(err)
	}
	if left := p.plan(d); len(left) != 0 {
		t.Errorf("left to do: %v", left)
	}
	// What the description does not name is the operator's.
	if _, err := p.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "segment.ms", Value: &short}}, "order.events"); err != nil {
		t.Fatal(err)
	}
	if left := p.plan(d); len(left) != 0 {
		t.Errorf("a setting of the operator's is drift: %v", left)
	}
}

func TestProvisionRefusesWhatCannotBeChanged(t *testing.T) {
	p, d := startProvisioning(t), describedOrders()
	if _, err := p.admin.CreateTopic(t.Context(), 4, 1, nil, "order.outcomes"); err != nil {
		t.Fatal(err)
	}
	d.Topics[2].ReplicationFactor = 3
	err := p.Apply(t.Context(), p.plan(d))
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) {
		t.Fatalf("got %v, want a MismatchError", err)
	}
	wantChanges(t, mismatch.Changes,
		Change{Kind: WrongPartitions, Name: "order.outcomes", Setting: "number of partitions"},
		Change{Kind: WrongReplication, Name: "order.outcomes", Setting: "replication factor"},
	)
	if !strings.Contains(err.Error(), "order.outcomes: number of partitions is 4, want 6") || !strings.Contains(err.Error(), "--partitions 4") {
		t.Errorf("got %v, want what is wrong and what to type", err)
	}
	if topics, err := p.admin.ListTopics(t.Context()); err != nil || len(topics) != 1 {
		t.Errorf("a refused plan was applied in part: %v, %v", topics.Names(), err)
	}
}

// A process that is told no number takes what there is, if it is one number.
func TestDescribeWantsEqualPartitions(t *testing.T) {
	p, d := startProvisioning(t), describedOrders()
	p.apply(d)
	d.Topics = Topics{}.Of("order", 0)
	if cluster, err := p.describe(d); err != nil || cluster.Topics["order.events"].Partitions != 6 {
		t.Errorf("got %v, %v", cluster, err)
	}
	if _, err := p.admin.CreatePartitions(t.Context(), 1, "order.events"); err != nil {
		t.Fatal(err)
	}
	_, err := p.describe(d)
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) {
		t.Fatalf("got %v, want a MismatchError", err)
	}
	wantChanges(t, mismatch.Changes, Change{Kind: WrongPartitions, Name: "order.events", Setting: "number of partitions"})
}

func TestProvisionRefusesAnIncompatibleSchema(t *testing.T) {
	p, d := startProvisioning(t), describedOrders()
	p.apply(d)
	d.Subjects[0].Schema = placedV2
	p.apply(d)
	d.Subjects[0].Schema = placedBad
	changes := p.plan(d)
	wantChanges(t, changes, Change{Kind: IncompatibleSchema, Name: placedSubject, Setting: "schema"})
	if err := p.Apply(t.Context(), changes); err == nil || !strings.Contains(err.Error(), "customer_id") || !strings.Contains(err.Error(), placedSubject) {
		t.Errorf("got %v, want the subject and the field", err)
	}
	if versions, err := p.registry.versions(t.Context(), placedSubject); err != nil || len(versions) != 2 {
		t.Errorf("got versions %v, %v, want the two before", versions, err)
	}
	// The registry refuses it too, if somebody registers one between plan and apply.
	err := p.registry.register(t.Context(), placedSubject, placedBad)
	var answer *sr.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusConflict || !strings.Contains(fmt.Sprint(err), "customer_id") {
		t.Errorf("got %v, want 409 with the field", err)
	}
}
