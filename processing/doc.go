// Package processing is Ledgerline's vocabulary and its engines.
//
// The vocabulary is what a domain and a projection are written in: [Decider], [Refusal], [Money],
// [Event], [ReadModel]. The engines are what runs them: [Partition] decides the commands of one
// partition, [Follower] folds events into one generation of a read model, [Build] and [Verify] make a
// generation and prove it.
//
// The package owns no connection: it knows neither Kafka nor Redis. What it needs of them it asks for
// through small interfaces, which processing/kafka and readstore/redisstore satisfy.
package processing
