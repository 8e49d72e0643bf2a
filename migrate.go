package ledgerline

import (
	"context"

	"github.com/ledgerline/ledgerline/processing/kafka"
)

// Migrate copies the events and outcomes of all aggregates to the topics of another prefix: see
// docs/guides/migrate.md.
type Migrate struct {
	from, to  *link
	migration *kafka.Migration
}

// MigrateConfig configures a [Migrate].
type MigrateConfig struct {
	// Connection is to the old prefix.
	Connection
	// ToPrefix is the new one. Required, and other than Connection.Prefix.
	ToPrefix string
	// Progress is told now and then how many offsets are dealt with, of how many. Defaults to nobody.
	Progress func(done, total int64)
	// MaxBatch is the most records in a transaction. Defaults to 2000.
	MaxBatch int
}

// NewMigrate checks the topics, rights and schemas of both prefixes and connects. It copies nothing.
func NewMigrate(ctx context.Context, app App, cfg MigrateConfig) (*Migrate, error) {
	slot := app.ingestGroup(cfg.ToPrefix) + ".migrate"
	g := &Migrate{}
	var err error
	if g.from, err = connect(ctx, app, cfg.Connection, app.migrateAccess(cfg.Prefix)); err != nil {
		return nil, err
	}
	to := cfg.Connection
	to.Prefix, to.Metrics = cfg.ToPrefix, nil
	if g.to, err = connect(ctx, app, to, app.ingestAccess(cfg.ToPrefix, slot)); err == nil {
		err = g.to.preload(ctx)
	}
	if err == nil {
		g.migration, err = kafka.NewMigration(kafka.MigrationConfig{
			Client: g.from.kafka, From: g.from.topics, To: g.to.topics, Aggregates: app.Aggregates, Codec: g.to.codec,
			FromGroup: app.ingestGroup(cfg.Prefix), ToGroup: app.ingestGroup(cfg.ToPrefix), Slot: slot, MaxBatch: cfg.MaxBatch, Progress: cfg.Progress,
		})
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Close closes the connections.
func (g *Migrate) Close() {
	if g.migration != nil {
		g.migration.Close()
	}
	for _, l := range []*link{g.from, g.to} {
		if l != nil {
			l.close()
		}
	}
}

// Plan says what Run would do, as [kafka.Migration.Plan] does.
func (g *Migrate) Plan(ctx context.Context) (kafka.MigrationPlan, error) {
	return g.migration.Plan(ctx)
}

// Run copies, as [kafka.Migration.Run] does.
func (g *Migrate) Run(ctx context.Context) (kafka.MigrationPlan, error) { return g.migration.Run(ctx) }

// Verify compares the topics of both prefixes, as [kafka.Migration.Verify] does.
func (g *Migrate) Verify(ctx context.Context) (kafka.MigrationCheck, error) {
	return g.migration.Verify(ctx)
}
