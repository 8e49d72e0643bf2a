// Package kafka is the adapter to Kafka and the schema registry, and the only one that imports their
// clients.
//
// It owns the write loop ([Worker]), the reading of logs ([Log]), the group of processors
// ([Consumer]), the way in for commands ([Sender]), the shape of records on the wire, and the
// provisioning of topics and subjects. It decides nothing: what a command leads to is
// processing.Partition's business, what an event changes is processing.Follower's.
package kafka
