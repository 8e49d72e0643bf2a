package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/schemas"
)

// DefaultCompatibility lets a new schema read everything that was ever written under its subject.
const DefaultCompatibility = "BACKWARD_TRANSITIVE"

// leaderPoll is how often new topics are looked at until they have leaders.
const leaderPoll = 20 * time.Millisecond

// Subject is one schema that a subject should have.
type Subject struct {
	Name string
	// Schema is Avro text.
	Schema string
}

// Description says what a cluster and a registry should hold. What it does not name stays as it is.
type Description struct {
	Topics   []Topic
	Subjects []Subject
	// Grants are what users must be allowed. What they are allowed beyond, nobody looks at.
	Grants []Grant
	// Compatibility is the level of each subject, in the registry's words. Defaults to
	// DefaultCompatibility.
	Compatibility string
}

// ChangeKind says what a [Change] is about.
type ChangeKind string

// The kinds of change. Those after RegisterSchema cannot be made: they carry a hint instead.
const (
	CreateTopic        ChangeKind = "create-topic"
	AlterConfig        ChangeKind = "alter-config"
	CreateACL          ChangeKind = "create-acl"
	SetCompatibility   ChangeKind = "set-compatibility"
	RegisterSchema     ChangeKind = "register-schema"
	WrongPartitions    ChangeKind = "wrong-partitions"
	WrongReplication   ChangeKind = "wrong-replication"
	IncompatibleSchema ChangeKind = "incompatible-schema"
)

// Change is one difference between what is and what should be.
type Change struct {
	Kind ChangeKind `json:"kind"`
	// Name is the topic's, subject's or user's.
	Name string `json:"name"`
	// Setting is what of it differs, "" if it does not exist.
	Setting string `json:"setting,omitempty"`
	Was     string `json:"was"`
	Want    string `json:"want"`
	// Hint says, of a change that cannot be made, why and what to do instead; else it is "".
	Hint string `json:"hint,omitempty"`

	topic  Topic  // of CreateTopic
	acl    acl    // of CreateACL
	schema string // of RegisterSchema
}

// String writes the change as "topic order.events: retention.ms is 1000, want -1".
func (c Change) String() string {
	noun, is := "topic", ""
	switch c.Kind {
	case SetCompatibility, RegisterSchema, IncompatibleSchema:
		noun = "subject"
	case CreateACL:
		noun = "user"
	}
	if c.Setting != "" {
		is = c.Setting + " is "
	}
	text := fmt.Sprintf("%s %s: %s%s, want %s", noun, c.Name, is, c.Was, c.Want)
	if c.Hint != "" {
		text += "; " + c.Hint
	}
	return text
}

// Done writes a change that is made, as "topic order.events: retention.ms set to -1".
func (c Change) Done() string {
	switch c.Kind {
	case CreateTopic:
		return fmt.Sprintf("topic %s: created, %s", c.Name, c.Want)
	case AlterConfig:
		return fmt.Sprintf("topic %s: %s set to %s", c.Name, c.Setting, c.Want)
	case CreateACL:
		return fmt.Sprintf("user %s: %s allowed", c.Name, c.Setting)
	case SetCompatibility:
		return fmt.Sprintf("subject %s: %s set to %s", c.Name, c.Setting, c.Want)
	case RegisterSchema:
		return fmt.Sprintf("subject %s: schema registered", c.Name)
	}
	return c.String()
}

// MismatchError says that something is not as it should be. Changes holds at least one.
type MismatchError struct{ Changes []Change }

func (e *MismatchError) Error() string {
	text := e.Changes[0].String()
	if e.Changes[0].Hint == "" {
		text += "; run: provision apply"
	}
	if more := len(e.Changes) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more: run: provision diff)", more)
	}
	return text
}

// ProvisionerConfig is what a Provisioner needs.
type ProvisionerConfig struct {
	// Client reaches the brokers. Required.
	Client ClientConfig
	// Registry is the schema registry; it stays the caller's to close. Required.
	Registry *Registry
}

// Provisioner finds what differs from a description and changes it. It needs the right to create and
// alter topics, describe their settings, and register schemas; with grants, also to describe and alter
// the cluster.
type Provisioner struct {
	cfg      ClientConfig
	client   *kgo.Client
	registry *Registry
}

// NewProvisioner returns a provisioner and connects to nothing yet.
func NewProvisioner(cfg ProvisionerConfig) (*Provisioner, error) {
	if err := cfg.Client.check(); err != nil {
		return nil, err
	}
	if cfg.Registry == nil {
		return nil, errors.New("making a provisioner: ProvisionerConfig.Registry is required")
	}
	cfg.Client.Log = nil // its errors come back to the caller
	client, err := kgo.NewClient(clientOptions(cfg.Client)...)
	if err != nil {
		return nil, fmt.Errorf("making a provisioner: %w", err)
	}
	return &Provisioner{cfg: cfg.Client, client: client, registry: cfg.Registry}, nil
}

// Close closes the connections to the brokers.
func (p *Provisioner) Close() { p.client.Close() }

// Plan returns what differs from d, none if nothing does: topics, ACLs, subjects, each in d's order.
// It changes nothing.
func (p *Provisioner) Plan(ctx context.Context, d Description) ([]Change, error) {
	client, kctx, end, err := newStartClient(ctx, p.cfg)
	if err != nil {
		return nil, err
	}
	defer end()
	state, err := readCluster(kctx, client, d.Topics)
	if err != nil {
		return nil, cause(kctx, err)
	}
	changes := state.changes(d.Topics)
	missing, err := missingACLs(kctx, client, d.Grants)
	if err != nil {
		return nil, cause(kctx, err)
	}
	for _, a := range missing {
		changes = append(changes, Change{Kind: CreateACL, Name: a.user, Setting: a.String(), Was: "not allowed", Want: "allowed", acl: a})
	}
	level := cmp.Or(d.Compatibility, DefaultCompatibility)
	for _, s := range d.Subjects {
		found, err := p.subjectChanges(ctx, s, level)
		if err != nil {
			return nil, err
		}
		changes = append(changes, found...)
	}
	return changes, nil
}

func (p *Provisioner) subjectChanges(ctx context.Context, s Subject, level string) ([]Change, error) {
	var setLevel []Change
	was, err := p.registry.compatibility(ctx, s.Name)
	if err != nil {
		return nil, err
	}
	if was != level {
		setLevel = []Change{{Kind: SetCompatibility, Name: s.Name, Setting: "compatibility level", Was: cmp.Or(was, "not set"), Want: level}}
	}
	if _, err = p.registry.SchemaID(ctx, s.Name, s.Schema); err == nil {
		return setLevel, nil
	}
	if !errors.Is(err, schemas.ErrNotRegistered) {
		return nil, err
	}
	older, err := p.registry.versions(ctx, s.Name)
	if err != nil {
		return nil, err
	}
	register := Change{Kind: RegisterSchema, Name: s.Name, Setting: "schema", Was: "not registered", Want: "registered", schema: s.Schema}
	if err := schemas.Compatible(s.Schema, older...); err != nil {
		register.Kind, register.Was, register.Want = IncompatibleSchema, "incompatible", "one that reads all earlier versions"
		register.Hint = fmt.Sprintf("%v; change the schema, or give the record a new name", err)
	}
	if len(older) == 0 {
		// Not every registry sets the level of a subject that does not exist.
		return append([]Change{register}, setLevel...), nil
	}
	return append(setLevel, register), nil
}

// Apply makes the changes that Plan returned, in their order, and returns when the topics that it
// created have leaders. If there is one that cannot be made, it makes none and returns a
// *MismatchError with all of those. After any other error some are made: plan again. A change that
// is made already does no harm.
func (p *Provisioner) Apply(ctx context.Context, changes []Change) error {
	var cannot []Change
	for _, c := range changes {
		if c.Hint != "" {
			cannot = append(cannot, c)
		}
	}
	if cannot != nil {
		return &MismatchError{Changes: cannot}
	}
	var created []Topic
	for _, c := range changes {
		var err error
		switch c.Kind {
		case CreateTopic:
			err = p.createTopic(ctx, c.topic)
			created = append(created, c.topic)
		case AlterConfig:
			err = p.alterConfig(ctx, c)
		case CreateACL:
			err = createACL(ctx, p.client, c.acl)
		case SetCompatibility:
			err = p.registry.setCompatibility(ctx, c.Name, c.Want)
		case RegisterSchema:
			err = p.registry.register(ctx, c.Name, c.schema)
		default:
			err = fmt.Errorf("applying changes: unknown kind %q", c.Kind)
		}
		if err != nil {
			return err
		}
	}
	return p.awaitLeaders(ctx, created)
}

func (p *Provisioner) createTopic(ctx context.Context, t Topic) error {
	configs := make(map[string]*string, len(t.Configs))
	for name, value := range t.Configs {
		configs[name] = &value
	}
	answer, err := kadm.NewClient(p.client).CreateTopic(ctx, t.Partitions, t.ReplicationFactor, configs, t.Name)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("creating topic %s: %w %s", t.Name, err, answer.ErrMessage)
	}
	return nil
}

func (p *Provisioner) alterConfig(ctx context.Context, c Change) error {
	set := kadm.AlterConfig{Op: kadm.SetConfig, Name: c.Setting, Value: &c.Want}
	answers, err := kadm.NewClient(p.client).AlterTopicConfigs(ctx, []kadm.AlterConfig{set}, c.Name)
	for _, answer := range answers {
		if answer.Err != nil {
			err = fmt.Errorf("%w %s", answer.Err, answer.ErrMessage)
		}
	}
	if err != nil {
		return fmt.Errorf("setting %s of topic %s: %w", c.Setting, c.Name, err)
	}
	return nil
}

// awaitLeaders waits until the broker that it asks knows a leader of every partition of the topics.
// Who produces earlier is turned away for some time.
func (p *Provisioner) awaitLeaders(ctx context.Context, topics []Topic) error {
	if len(topics) == 0 {
		return nil
	}
	poll := time.NewTicker(leaderPoll)
	defer poll.Stop()
	for {
		state, err := readTopics(ctx, p.client, topics)
		if err != nil {
			return err
		}
		led := func(t Topic) bool { return state.topics[t.Name].led == t.Partitions }
		if !slices.ContainsFunc(topics, func(t Topic) bool { return !led(t) }) {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for leaders of new topics: %w", ctx.Err())
		}
	}
}
