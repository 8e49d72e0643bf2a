package ledgerline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ledgerline/ledgerline/processing/kafka"
)

// ingestGroup is the consumer group of the workers; their transactional ids begin with it and a dot.
func (a App) ingestGroup(prefix string) string { return prefix + a.Name + ".ingest" }

func (a App) processorGroups(prefix string) string { return prefix + a.Name + ".processor." }

// processorGroup is the consumer group of the processors that carry the same read models: two code
// versions side by side must both see all partitions.
func (a App) processorGroup(prefix string) string {
	var carried []string
	for _, m := range a.ReadModels {
		carried = append(carried, fmt.Sprintf("%s-%d", m.Name, m.CodeVersion))
	}
	slices.Sort(carried)
	return a.processorGroups(prefix) + strings.Join(carried, ".")
}

// topicAccess is what is needed of the four topics of every aggregate. Whoever starts looks at all of
// them and their settings: DescribeConfigs, and Describe where nothing else implies it.
func (a App) topicAccess(prefix string, commands, outcomes, deadLetters []kafka.Operation, events func(aggregate string) []kafka.Operation) []kafka.Access {
	var list []kafka.Access
	t := kafka.Topics{Prefix: prefix}
	add := func(topic string, operations []kafka.Operation) {
		if operations == nil {
			operations = []kafka.Operation{kafka.MayDescribe}
		}
		list = append(list, kafka.Access{Resource: kafka.TopicResource, Name: topic, Operations: append(slices.Clone(operations), kafka.MayDescribeConfigs)})
	}
	for _, g := range a.Aggregates {
		add(t.Commands(g.Name), commands)
		add(t.Events(g.Name), events(g.Name))
		add(t.Outcomes(g.Name), outcomes)
		add(t.DeadLetters(g.Name), deadLetters)
	}
	return list
}

var (
	reads  = []kafka.Operation{kafka.MayRead}
	writes = []kafka.Operation{kafka.MayWrite}
	both   = []kafka.Operation{kafka.MayRead, kafka.MayWrite}
)

// ingestAccess is what ingest needs. Commands are written by HTTP, and by workers to their right
// partition; events and outcomes are read back at a takeover. Without slots it is what every instance
// needs: all transactional ids that begin as theirs do.
func (a App) ingestAccess(prefix string, slots ...string) []kafka.Access {
	group := a.ingestGroup(prefix)
	list := append(a.topicAccess(prefix, both, both, writes, func(string) []kafka.Operation { return both }), kafka.Access{Resource: kafka.GroupResource, Name: group, Operations: reads})
	if len(slots) == 0 {
		return append(list, kafka.Access{Resource: kafka.TransactionalResource, Name: group + ".", Prefixed: true, Operations: writes})
	}
	for _, slot := range slots {
		list = append(list, kafka.Access{Resource: kafka.TransactionalResource, Name: slot, Operations: writes})
	}
	return list
}

// senderAccess is what it takes to send commands and learn of their outcomes.
func (a App) senderAccess(prefix string) []kafka.Access {
	return a.topicAccess(prefix, writes, reads, nil, func(string) []kafka.Operation { return nil })
}

// processorAccess is what processor needs in a group. Without one it is what every code version needs.
func (a App) processorAccess(prefix string, group string) []kafka.Access {
	one := kafka.Access{Resource: kafka.GroupResource, Name: group, Operations: reads}
	if group == "" {
		one.Name, one.Prefixed = a.processorGroups(prefix), true
	}
	return append(a.readAccess(prefix, a.eventAggregates()), one)
}

// lettersAccess is what it takes to read dead letters and parked events, and to send commands again.
func (a App) lettersAccess(prefix string, redrive bool) []kafka.Access {
	if redrive {
		return a.rebuildUserAccess(prefix)
	}
	return a.topicAccess(prefix, nil, nil, reads, func(string) []kafka.Operation { return reads })
}

// rebuildUserAccess is what the user of all verbs of rebuild needs.
func (a App) rebuildUserAccess(prefix string) []kafka.Access {
	return a.topicAccess(prefix, writes, reads, reads, func(string) []kafka.Operation { return reads })
}

// rebuildAccess is what rebuild needs: it reads all events, in no group, for every aggregate has snapshots.
func (a App) rebuildAccess(prefix string) []kafka.Access {
	return a.readAccess(prefix, a.aggregates())
}

// migrateAccess is what it takes to copy from a prefix. To copy to one takes what ingest needs, a slot's name and all.
func (a App) migrateAccess(prefix string) []kafka.Access {
	list := a.topicAccess(prefix, reads, reads, nil, func(string) []kafka.Operation { return reads })
	return append(list, kafka.Access{Resource: kafka.GroupResource, Name: a.ingestGroup(prefix), Operations: reads})
}

// readAccess is what it takes to read the events of some aggregates.
func (a App) readAccess(prefix string, readable []string) []kafka.Access {
	return a.topicAccess(prefix, nil, nil, nil, func(aggregate string) []kafka.Operation {
		if slices.Contains(readable, aggregate) {
			return reads
		}
		return nil
	})
}

// grants are the rights of the users that are named.
func (a App) grants(cfg ProvisionConfig) []kafka.Grant {
	var list []kafka.Grant
	add := func(user string, access []kafka.Access) {
		if user != "" {
			list = append(list, kafka.Grant{User: user, Access: access})
		}
	}
	add(cfg.IngestUser, a.ingestAccess(cfg.Prefix))
	add(cfg.ProcessorUser, a.processorAccess(cfg.Prefix, ""))
	add(cfg.RebuildUser, a.rebuildUserAccess(cfg.Prefix))
	return list
}

// userFlag names the flag of provision that grants access.
func (a App) userFlag(access []kafka.Access) string {
	flag := "--rebuild-user"
	for _, one := range access {
		_, kind := kafka.Topics{}.Parse(one.Name)
		switch {
		case kind == "dead-letters" && slices.Contains(one.Operations, kafka.MayRead): // nobody else does
			return "--rebuild-user"
		case slices.Contains(one.Operations, kafka.MayWrite), one.Resource == kafka.GroupResource && strings.HasSuffix(one.Name, a.ingestGroup("")):
			flag = "--ingest-user"
		case one.Resource == kafka.GroupResource && flag != "--ingest-user":
			flag = "--processor-user"
		}
	}
	return flag
}
