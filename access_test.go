package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/embedded"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/processing/projection/orderstatus"
	"github.com/ledgerline/ledgerline/schemas"
)

// small is an App with one aggregate and one read model.
var small = App{
	Name: "small", Schemas: schemas.FS,
	Aggregates: []*processing.Aggregate{order.Decider.Erase()},
	ReadModels: []*processing.ReadModel{orderstatus.ReadModel.Erase()},
}

// TestNoRightIsTooMany takes one of the rights that provision gives from a binary's user, and leaves
// out the check that a start makes of them: something fails every time, for want of that right. With
// all of them, nothing does.
func TestNoRightIsTooMany(t *testing.T) {
	t.Parallel()
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		if err := everything(t, nil); err != nil {
			t.Errorf("with all rights: %v", err)
		}
	})
	cfg := ProvisionConfig{IngestUser: "ingest", ProcessorUser: "processor", RebuildUser: "rebuild"}
	rights := 0
	for _, g := range small.grants(cfg) {
		for _, a := range g.Access {
			for _, op := range a.Operations {
				rights++
				t.Run(fmt.Sprintf("%s/%s on %s", g.User, op, a.Name), func(t *testing.T) {
					t.Parallel()
					err := everything(t, &lacking{g.User, a, op})
					if err == nil {
						t.Fatal("nothing failed: the right is not needed")
					}
					t.Log(err)
				})
			}
		}
	}
	if rights != 13+9+8 {
		t.Errorf("there are %d rights", rights)
	}
}

// lacking is a right that is taken away.
type lacking struct {
	user      string
	access    kafka.Access
	operation kafka.Operation
}

// take deletes the ACL of the right.
func (l *lacking) take(t *testing.T, adm *kadm.Client) {
	t.Helper()
	b := kadm.NewACLs().ResourcePatternType(kadm.ACLPatternAny).Allow("User:" + l.user).AllowHosts()
	switch l.access.Resource {
	case kafka.TopicResource:
		b = b.Topics(l.access.Name)
	case kafka.GroupResource:
		b = b.Groups(l.access.Name)
	default:
		b = b.TransactionalIDs(l.access.Name)
	}
	op := map[kafka.Operation]kadm.ACLOperation{kafka.MayRead: kadm.OpRead, kafka.MayWrite: kadm.OpWrite, kafka.MayDescribe: kadm.OpDescribe, kafka.MayDescribeConfigs: kadm.OpDescribeConfigs}
	gone, err := adm.DeleteACLs(t.Context(), b.Operations(op[l.operation]))
	if err != nil || len(gone) != 1 || len(gone[0].Deleted) != 1 {
		t.Fatalf("taking the right away: %v, %+v", err, gone)
	}
}

// denials is a log that knows whether somebody was not allowed something.
type denials struct {
	slog.Handler
	mu   sync.Mutex
	last string
	stop context.CancelFunc
}

func (d *denials) Enabled(context.Context, slog.Level) bool { return true }

func (d *denials) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == "" && strings.Contains(text, "AUTHORIZATION_FAILED") {
		d.last = text
		if d.stop != nil {
			d.stop()
		}
	}
	return nil
}

func (d *denials) WithAttrs([]slog.Attr) slog.Handler { return d }
func (d *denials) WithGroup(string) slog.Handler      { return d }

// err returns what was denied first.
func (d *denials) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == "" {
		return nil
	}
	return errors.New(d.last)
}

// withUsers starts services that know the binaries' users, and returns how each connects.
func withUsers(t *testing.T) (*embedded.Services, func(user string) Connection) {
	t.Helper()
	cfg := embedded.Config{KafkaAdmin: embedded.Login{User: "admin", Password: "admin-secret"}}
	for _, u := range []string{"ingest", "processor", "rebuild"} {
		cfg.KafkaUsers = append(cfg.KafkaUsers, embedded.Login{User: u, Password: u + "-secret"})
	}
	services, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = services.Close() })
	return services, func(user string) Connection {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte(user+"-secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		return Connection{Brokers: services.Brokers, RegistryURL: services.RegistryURL, RedisURL: services.RedisURL, Security: Security{KafkaUser: user, KafkaPasswordFile: path}}
	}
}

// everything provisions, takes a right away, and has each binary do what it is for. It returns what
// was denied, and fails the test if something else went wrong.
func everything(t *testing.T, without *lacking) error {
	t.Helper()
	log := &denials{}
	services, connection := withUsers(t)
	as := func(user string) Connection {
		c := connection(user)
		c.Log = slog.New(log)
		return c
	}
	admin, err := kgo.NewClient(kgo.SeedBrokers(services.Brokers...), kgo.SASL(scram.Auth{User: "admin", Pass: "admin-secret"}.AsSha512Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	p, err := NewProvision(small, ProvisionConfig{Connection: as("admin"), Partitions: 1, IngestUser: "ingest", ProcessorUser: "processor", RebuildUser: "rebuild"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	changes, err := p.Plan(t.Context())
	if err == nil {
		err = p.Apply(t.Context(), changes)
	}
	if err != nil {
		t.Fatal(err)
	}
	if without != nil {
		without.take(t, kadm.NewClient(admin))
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	defer stop()
	log.stop = stop // what was denied is tried again until the end
	err = work(running, as, admin)
	if denied := log.err(); denied != nil {
		return denied
	}
	if err != nil && !strings.Contains(err.Error(), "AUTHORIZATION_FAILED") {
		t.Fatalf("failed, but not for want of a right: %v", err)
	}
	return err
}

// work decides a command and one that nobody can decode, shows the first, rebuilds what shows it and redrives the other.
func work(ctx context.Context, as func(user string) Connection, admin *kgo.Client) (err error) {
	ctx, stop := context.WithCancel(ctx)
	group, gctx := errgroup.WithContext(ctx)
	defer func() {
		stop()
		err = errors.Join(err, group.Wait())
	}()
	ingest, endIngest, err := decide(ctx, as("ingest"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endIngest()) }()
	l, err := connect(ctx, small, as("processor"), nil)
	if err != nil {
		return err
	}
	processor := &Processor{link: l}
	defer processor.Close()
	if err := processor.start(ctx, ProcessorConfig{Connection: l.conn}); err != nil {
		return err
	}
	group.Go(func() error { return processor.Run(gctx) })
	if l, err = connect(ctx, small, as("rebuild"), nil); err != nil {
		return err
	}
	rebuild := &Rebuild{link: l}
	defer rebuild.Close()
	if rebuild.store, rebuild.closeStore, err = l.store(ctx); err != nil {
		return err
	}
	if rebuild.log, err = kafka.NewLog(kafka.LogConfig{Client: l.kafka, Topics: l.topics, Aggregates: small.eventAggregates(), Codec: l.codec}); err != nil {
		return err
	}
	if err := use(ctx, ingest, processor, rebuild, admin); err != nil {
		return err
	}
	// A worker that takes over reads back what has happened.
	again, endAgain, err := decide(ctx, as("ingest"))
	if err != nil {
		return err
	}
	return errors.Join(endIngest(), until(ctx, again.Ready), endAgain())
}

// TestMigrateAsIngest migrates as the user of ingest, who needs no right beyond those of both prefixes' ingest.
func TestMigrateAsIngest(t *testing.T) {
	t.Parallel()
	services, as := withUsers(t)
	conn := func(user, prefix string) Connection {
		c := as(user)
		c.Log, c.Prefix = nil, prefix
		return c
	}
	for _, prefix := range []string{"", "new."} {
		p, err := NewProvision(small, ProvisionConfig{Connection: conn("admin", prefix), Partitions: 1, IngestUser: "ingest", ProcessorUser: "processor", RebuildUser: "rebuild"})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		changes, err := p.Plan(t.Context())
		if err == nil {
			err = p.Apply(t.Context(), changes)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ingest, end, err := decide(ctx, conn("ingest", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(placeOne(ctx, ingest), end()); err != nil {
		t.Fatal(err)
	}
	if _, err := NewMigrate(ctx, small, MigrateConfig{Connection: conn("rebuild", ""), ToPrefix: "new."}); err == nil || !strings.Contains(err.Error(), "provision apply --ingest-user USER") {
		t.Errorf("as another user: %v", err)
	}
	m, err := NewMigrate(ctx, small, MigrateConfig{Connection: conn("ingest", ""), ToPrefix: "new."})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	plan, err := m.Run(ctx)
	if err != nil || plan.Topics[0].Records != 1 || plan.Topics[1].Records != 1 {
		t.Fatalf("migrating on %v: %v, %+v", services.Brokers, err, plan)
	}
	if found, err := m.Verify(ctx); err != nil || !found.OK() {
		t.Errorf("verifying: %v, %+v", err, found)
	}
}

// placeOne has an order placed.
func placeOne(ctx context.Context, ingest *Ingest) error {
	if err := until(ctx, ingest.Ready); err != nil {
		return err
	}
	aggregate, _ := small.Aggregate("order")
	place, _ := aggregate.Command("PlaceOrder")
	o, err := ingest.Sender().Send(ctx, processing.Request{
		Aggregate: aggregate, AggregateID: "o-1", Type: place, ID: uuid.Must(uuid.NewV7()).String(),
		Data: order.PlaceOrder{CustomerID: "ada", TotalAmount: processing.Money{MinorUnits: 1, Currency: "GBP"}},
	})
	if err != nil || o.Status != processing.Accepted {
		return fmt.Errorf("the command: %+v, %w", o, err)
	}
	return nil
}

// decide runs ingest until end is called, which may be done again.
func decide(ctx context.Context, conn Connection) (ingest *Ingest, end func() error, err error) {
	l, err := connect(ctx, small, conn, nil)
	if err != nil {
		return nil, nil, err
	}
	ingest = &Ingest{link: l}
	if err := ingest.start(ctx, IngestConfig{Connection: conn, Instance: uuid.NewString()}); err != nil {
		ingest.Close()
		return nil, nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- ingest.Run(ctx) }()
	return ingest, sync.OnceValue(func() error {
		stop()
		err := <-ended
		ingest.Close()
		return err
	}), nil
}

// use is what clients and operators do.
func use(ctx context.Context, ingest *Ingest, processor *Processor, rebuild *Rebuild, admin *kgo.Client) error {
	if err := until(ctx, func() error { return errors.Join(ingest.Ready(), processor.Ready()) }); err != nil {
		return err
	}
	if err := admin.ProduceSync(ctx, &kgo.Record{Topic: "order.commands", Key: []byte("o-1"), Value: []byte("what?")}).FirstErr(); err != nil {
		return err
	}
	if err := placeOne(ctx, ingest); err != nil {
		return err
	}
	if err := until(ctx, func() error {
		list, err := rebuild.Status(ctx, "order-status")
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list, func(g GenerationStatus) bool { return g.Active && g.Behind == 0 }) {
			return fmt.Errorf("generations: %+v", list)
		}
		return nil
	}); err != nil {
		return err
	}
	g, err := rebuild.Run(ctx, "order-status", nil)
	if err != nil {
		return err
	}
	found, err := rebuild.Verify(ctx, "order-status", g.ID, nil)
	if err != nil || !found.OK() || found.Events != 1 {
		return fmt.Errorf("verified: %+v, %w", found, err)
	}
	if _, err = rebuild.Promote(ctx, "order-status", g.ID); err != nil {
		return err
	}
	var letter kafka.Letter
	if err := rebuild.log.DeadLetters(ctx, "order", func(l kafka.Letter) error { letter = l; return nil }); err != nil {
		return err
	}
	sender, err := rebuild.link.sender(ctx)
	if err != nil {
		return err
	}
	defer sender.Close()
	done, _, err := redrive(ctx, sender, letter)
	if err == nil && !done.DeadLetter {
		err = fmt.Errorf("redriven: %+v", done)
	}
	return err
}

// TestLettersAskForTheirRights has those who may do everything else of rebuild be told who may redrive.
func TestLettersAskForTheirRights(t *testing.T) {
	t.Parallel()
	for _, redrive := range []bool{false, true} {
		if flag := small.userFlag(small.lettersAccess("", redrive)); flag != "--rebuild-user" {
			t.Errorf("the rights of dead letters are said to be given by %s", flag)
		}
	}
	for flag, access := range map[string][]kafka.Access{
		"--ingest-user": small.ingestAccess("a.b."), "--processor-user": small.processorAccess("a.b.", ""), "--rebuild-user": small.rebuildAccess("a.b."),
	} {
		if got := small.userFlag(access); got != flag {
			t.Errorf("rights of %s are said to be given by %s", flag, got)
		}
	}
	if got := small.userFlag(small.senderAccess("")); got != "--ingest-user" {
		t.Errorf("rights of one who sends are said to be given by %s", got)
	}
}

// until calls try until it returns nil.
func until(ctx context.Context, try func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
