package ledgerline

import (
	"context"
	"time"

	"github.com/ledgerline/ledgerline/processing/kafka"
)

// ProvisionConfig configures a [Provision].
type ProvisionConfig struct {
	Connection
	// Partitions is how many partitions new topics get, for ever. Defaults to what there is, else 12.
	Partitions int32
	// ReplicationFactor of new topics. Defaults to 3, or as many as there are brokers.
	ReplicationFactor int16
	// IngestUser, ProcessorUser and RebuildUser are the Kafka users, without "User:", of the binaries:
	// each is allowed what its binary needs. Defaults to none, whose rights nobody looks after.
	IngestUser, ProcessorUser, RebuildUser string
}

// Provision makes the topics and registers the schemas of an App. It is the only part that needs the
// rights to do so.
type Provision struct {
	conn        Connection
	client      kafka.ClientConfig
	registry    *kafka.Registry
	provisioner *kafka.Provisioner
	description kafka.Description
}

// NewProvision checks app. It connects when it is used.
func NewProvision(app App, cfg ProvisionConfig) (*Provision, error) {
	bindings, err := app.check()
	if err != nil {
		return nil, err
	}
	p := &Provision{conn: cfg.Connection}
	clients, err := cfg.clients(app.Name)
	if err != nil {
		return nil, err
	}
	p.client = clients.kafka
	if p.registry, err = kafka.NewRegistry(clients.registry); err != nil {
		return nil, err
	}
	if p.provisioner, err = kafka.NewProvisioner(kafka.ProvisionerConfig{Client: p.client, Registry: p.registry}); err != nil {
		return nil, err
	}
	p.description.Topics = app.topics(cfg.Prefix, cfg.Partitions)
	for i := range p.description.Topics {
		p.description.Topics[i].ReplicationFactor = cfg.ReplicationFactor
	}
	p.description.Subjects, _ = app.subjects(cfg.Prefix, bindings)
	p.description.Grants = app.grants(cfg)
	return p, nil
}

// Close closes the connections.
func (p *Provision) Close() {
	p.provisioner.Close()
	p.registry.Close()
}

// Plan returns what differs from what the App needs. It changes nothing.
func (p *Provision) Plan(ctx context.Context) ([]kafka.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	changes, err := p.provisioner.Plan(ctx, p.description)
	return changes, p.unanswered(err)
}

// applyTimeout bounds all changes of a plan: a cold cluster takes its time over each.
const applyTimeout = 5 * time.Minute

// Apply makes the changes of a plan. It refuses all of them if one cannot be made.
func (p *Provision) Apply(ctx context.Context, changes []kafka.Change) error {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	return p.unanswered(p.provisioner.Apply(ctx, changes))
}

// unanswered adds what to type to an error of a service.
func (p *Provision) unanswered(err error) error {
	if kafka.IsRegistry(err) {
		return p.conn.registryError(err)
	}
	return brokersError(p.client, err)
}
