// Package schemas says how commands, events and outcomes look as bytes.
//
// It owns the .avsc files ([FS]), the names of subjects ([Subject]), the codec between Go values and
// framed Avro ([Codec]), the strict way from plain JSON to Avro ([Schema.FromJSON]) and the rules by
// which a schema may change ([Compatible]). There is one decode path: whoever reads a record, live or
// in a replay, calls [Codec.Decode].
//
// It refuses to guess. A record with bytes left over, a JSON field that the schema does not name, a
// fraction where an integer belongs, a struct that does not fit its schema: each is an error. It knows
// no topic's content, no HTTP and no Kafka; it reaches a schema registry through [Registry] only, and
// never registers anything.
package schemas
