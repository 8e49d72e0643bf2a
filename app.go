// Package ledgerline makes an event-sourcing service of an [App]: its aggregates and read models.
//
// It owns the way from registration to exit code: flags, start-up checks, logging, HTTP and admin
// servers, and the four binaries ([RunIngest], [RunProcessor], [RunRebuild], [RunProvision]). The same
// parts can be put together otherwise: [Ingest], [Processor], [Rebuild], [Provision]. It decides
// nothing about events or read models: that is package processing's.
package ledgerline

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/schemas"
)

// App is what a service is made of. A new aggregate or read model is one line in it.
type App struct {
	// Name is the service's: it names consumer groups, client ids and the source of events. Required.
	Name string
	// Schemas holds the .avsc files, in a folder per aggregate. Required.
	Schemas fs.FS
	// Aggregates are the deciders, each by its Erase method. Required.
	Aggregates []*processing.Aggregate
	// ReadModels are the projections, each by its Erase method.
	ReadModels []*processing.ReadModel
}

// nameForm is what may stand in a topic's name, a Redis key with its hash tag, a position and a path alike.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

const badName = "want a name of lower-case letters, digits and '-', up to 64 of them, a letter first"

// check refuses an App that contradicts itself, and returns the bindings of its types.
func (a App) check() ([]schemas.Binding, error) {
	if a.Name == "" || a.Schemas == nil || len(a.Aggregates) == 0 {
		return nil, errors.New("app: name, schemas and aggregates are required")
	}
	seen := map[string]bool{}
	for _, g := range a.Aggregates {
		if !nameForm.MatchString(g.Name) {
			return nil, fmt.Errorf("app: aggregate %q: %s", g.Name, badName)
		}
		if seen[g.Name] {
			return nil, fmt.Errorf("app: aggregate %s is listed twice", g.Name)
		}
		seen[g.Name] = true
	}
	models := map[string]bool{}
	for _, m := range a.snapshots() {
		models[m.Name] = true
	}
	for _, m := range a.ReadModels {
		if !nameForm.MatchString(m.Name) {
			return nil, fmt.Errorf("app: read model %q: %s", m.Name, badName)
		}
		if models[m.Name] {
			return nil, fmt.Errorf("app: read model %s is listed twice, or keeps an aggregate's snapshots", m.Name)
		}
		models[m.Name] = true
		for _, g := range m.Aggregates {
			if !seen[g] {
				return nil, fmt.Errorf("app: read model %s is made of aggregate %s, which is not listed", m.Name, g)
			}
		}
	}
	return processing.Bindings(a.Schemas, a.Aggregates)
}

// Aggregate returns the aggregate of that name, or of that collection.
func (a App) Aggregate(name string) (*processing.Aggregate, bool) {
	for _, g := range a.Aggregates {
		if g.Name == name || g.Collection == name {
			return g, true
		}
	}
	return nil, false
}

// snapshots are the read models in which workers keep the states of aggregates.
func (a App) snapshots() []*processing.ReadModel {
	var all []*processing.ReadModel
	for _, g := range a.Aggregates {
		all = append(all, g.Snapshots())
	}
	return all
}

// models are all read models, the snapshots of aggregates last.
func (a App) models() []*processing.ReadModel {
	return append(slices.Clone(a.ReadModels), a.snapshots()...)
}

// ReadModel returns the read model of that name; also one that keeps an aggregate's snapshots.
func (a App) ReadModel(name string) (*processing.ReadModel, error) {
	var names []string
	for _, m := range a.models() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return nil, fmt.Errorf("no read model %q; there are: %s", name, strings.Join(names, ", "))
}

// aggregates are the names of all.
func (a App) aggregates() []string {
	var names []string
	for _, g := range a.Aggregates {
		names = append(names, g.Name)
	}
	return names
}

// eventAggregates are those whose events any read model is made of.
func (a App) eventAggregates() []string {
	var names []string
	for _, m := range a.ReadModels {
		for _, g := range m.Aggregates {
			if !slices.Contains(names, g) {
				names = append(names, g)
			}
		}
	}
	return names
}

// topics describes the topics of all aggregates; partitions 0 keeps what is there.
func (a App) topics(prefix string, partitions int32) []kafka.Topic {
	var topics []kafka.Topic
	for _, g := range a.Aggregates {
		topics = append(topics, kafka.Topics{Prefix: prefix}.Of(g.Name, partitions)...)
	}
	return topics
}

// subjects describes the subjects of all schemas, and names the full names per topic for a start-up
// check.
func (a App) subjects(prefix string, bindings []schemas.Binding) (subjects []kafka.Subject, byTopic map[string][]string) {
	byTopic = map[string][]string{}
	t := kafka.Topics{Prefix: prefix}
	add := func(topic string, b schemas.Binding) {
		subjects = append(subjects, kafka.Subject{Name: schemas.Subject(topic, b.Schema.FullName()), Schema: b.Schema.Text()})
		byTopic[topic] = append(byTopic[topic], b.Schema.FullName())
	}
	for _, g := range a.Aggregates {
		for _, b := range bindings {
			switch {
			case slices.ContainsFunc(g.Commands, func(c processing.Type) bool { return c.Go == b.Go }):
				add(t.Commands(g.Name), b)
			case slices.ContainsFunc(g.Events, func(e processing.Type) bool { return e.Go == b.Go }):
				add(t.Events(g.Name), b)
			case b.Go == outcomeType:
				add(t.Outcomes(g.Name), b)
			}
		}
	}
	return subjects, byTopic
}
